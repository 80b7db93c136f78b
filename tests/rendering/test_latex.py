from __future__ import annotations

import re

from attnlab.rendering.latex import escaped, report_latex
from attnlab.rendering.report import report
from tests.rendering.fake_runs import run, seeds
from tests.rendering.learned_runs import learned_runs


def test_tables_have_the_rules_of_booktabs_and_a_row_for_each_variant() -> None:
    text = report_latex(report(learned_runs())).decode()
    assert text.count("\\toprule") == text.count("\\midrule") == text.count("\\bottomrule") == 2
    assert "\\hline" not in text
    tables = re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL)
    assert len(tables) == 2
    for (columns, body), chances in zip(tables, (1, 0), strict=True):
        lines = [line for line in body.splitlines() if line.endswith("\\\\")]
        assert len(lines) == 1 + 2 * 2 + chances
        assert all(line.count(" & ") + line.count("&  &") // 2 >= len(columns) - 2 for line in lines)
        assert all(len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1 for line in lines)
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(set(labels)) == 2


def test_numbers_are_those_of_the_report() -> None:
    text = report_latex(report([*seeds([1.0, 1.0], pairs=2), *seeds([0.5, 0.6], pairs=4)])).decode()
    assert "\\textbf{100.0}" in text
    assert "$55.0$" in text
    assert "accuracy in \\% by pairs" in text


def test_chance_is_the_last_row_and_seeds_are_counted_as_on_a_screen() -> None:
    even = [*seeds([1.0] * 3, pairs=2), *seeds([0.5, 0.6, 0.7], pairs=4)]
    text = report_latex(report(even)).decode()
    first = text.split("\\end{table}")[0].splitlines()
    assert first[first.index("\\bottomrule") - 1] == "chance & $25.0$ & $25.0$ \\\\"
    assert "means over 3 seeds; below, their 95 \\% intervals over seeds." in text
    assert "n=" not in text
    uneven = report_latex(report([*even, run("gpam", 2)])).decode()
    assert " & {\\footnotesize $n=3$} & {\\footnotesize $n=3$} \\\\" in uneven
    assert " & {\\footnotesize $n=1$} &  \\\\" in uneven
    assert "means over seeds; below, their 95 \\% intervals over seeds and the numbers of seeds." in uneven
    assert "chance" not in report_latex(report(even, metric="loss")).decode()


def test_text_is_escaped() -> None:
    hostile = r"a_b & 50 % {$x^2$} #1 ~ \input{secret} <|>"
    text = report_latex(report([run(hostile, 2), run("softmax", 2)])).decode()
    assert "\\input{" not in text
    assert escaped(hostile) in text
    assert not re.search(r"(?<!\\)[%#$_^~]", escaped(hostile))
    assert escaped("one\n\ntwo") == "one two"


def test_characters_that_mean_something_beside_others_are_escaped() -> None:
    assert escaped("[1cm] * -- ?` !` '' \"") == (
        r"{[}1cm] {*} {-}{-} {?}\textasciigrave{} {!}\textasciigrave{} "
        r"\textquotesingle{}\textquotesingle{} \char34{}"
    )
    text = report_latex(report([run(name, pairs) for name in ("[1]", "*x") for pairs in (2, 4)])).decode()
    lines = [line.lstrip() for line in text.splitlines()]
    assert not any(line.startswith(("[", "*")) for line in lines)  # an option of the row above


def test_ranks_have_dashes_between_numbers() -> None:
    records = [
        one
        for name in ("softmax", "gpam")
        for pairs in (2, 4)
        for one in seeds([0.5, 0.6, 0.7], attention=name, pairs=pairs)
    ]
    text = report_latex(report(records)).decode()
    assert text.count("& 1--2 ") == 2
    assert "{-}" not in text


def test_letters_that_pdflatex_lacks_are_told() -> None:
    first = report_latex(report([run("softmax", 2), run("caf\u00e9", 2)])).decode()
    assert first.startswith("% \\usepackage{booktabs}")
    second = report_latex(report([run("softmax", 2), run("\u4e2d", 2)])).decode()
    assert second.startswith("% Names have characters that pdflatex lacks")
    assert "\u4e2d" in second


def test_labels_are_unique() -> None:
    records = [run(task=task, pairs=pairs) for task in ("a-b", "a_b") for pairs in (2, 4)]
    labels = re.findall(r"\\label\{(.*?)\}", report_latex(report(records)).decode())
    assert len(set(labels)) == len(labels) == 4


def test_without_intervals_no_line_is_empty_and_no_caption_tells_of_them() -> None:
    text = report_latex(report([*seeds([1.0, 1.0], pairs=2), *seeds([0.5, 0.6], pairs=4)])).decode()
    assert not any(set(line) <= set("& \\") for line in text.splitlines() if line)
    assert "intervals" not in text
