from __future__ import annotations

import json
import math
from typing import Any

import pytest

from attnlab.analysis.claims import check_claims
from attnlab.config.experiment import Claim, Experiment, LadderLevels, ReportLayout
from attnlab.formatting import between
from attnlab.records import Record, Score
from attnlab.rendering import _tables as tables
from attnlab.rendering._tables import capacity_table, grid_table
from attnlab.rendering.export import FORMATS
from attnlab.rendering.failure_mode_table import failure_mode_table
from attnlab.rendering.latex import report_latex
from attnlab.rendering.report import Report, report
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import run, seeds


def ladder(curves: dict[str, list[list[float]]], levels: list[Any] | None = None, **fields: Any) -> list[Record]:
    levels = levels or [2**power for power in range(1, 1 + max(map(len, curves.values())))]
    return [
        one
        for attention, cells in curves.items()
        for pairs, cell in zip(levels, cells, strict=False)
        for one in seeds(cell, attention=attention, pairs=pairs, **fields)
    ]


THREE = {
    "softmax": [[1.0, 1.0, 1.0], [0.8, 0.9, 1.0], [0.3, 0.4, 0.3]],
    "expressive": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.9, 0.95, 0.99]],
}


def experiment(**fields: Any) -> Experiment:
    return Experiment(name="x", question="Which?", ladders=(LadderLevels(ladder="recall"),), **fields)


def test_a_complete_report() -> None:
    lines = drawn(report(ladder(THREE)))
    answer, lines = " ".join(lines[: lines.index("")]), lines[lines.index("") + 1 :]
    assert answer.startswith(
        "recall: expressive solves up to 4 pairs, softmax up to 2 pairs, each in at least half of the seeds. Which of "
        "softmax and expressive is ahead is undecided with 3 seeds. About "
    )
    assert answer.endswith(" would decide it.")
    assert lines == [
        "recall  accuracy in % by pairs, means over 3 seeds",
        "attention             2            4          8",
        "───────────────────────────────────────────────",
        "softmax           100.0         90.0       33.3",
        "             46.9-100.0    43.8-98.7  27.1-80.8",
        "            3/3: 29-100    1/3: 1-91  0/3: 0-71",
        "expressive        100.0        100.0       94.7",
        "             46.9-100.0   46.9-100.0  45.3-98.9",
        "            3/3: 29-100  3/3: 29-100  1/3: 1-91",
        "chance             25.0         25.0       25.0",
        "",
        *lines[11:],
    ]
    heads = next(line for line in lines if "max solved" in line)
    assert heads.split() == ["attention", "curve", "max", "solved", "solved", "C50", "C90", "rank"]
    (softmax,) = (line for line in lines if line.startswith("softmax") and "/" in line)
    assert softmax.split()[2:] == ["2", "4/9", "5.6", "3.36", "1-2"]
    (expressive,) = (line for line in lines if line.startswith("expressive") and "/" in line)
    assert expressive.split()[2:] == ["4", "7/9", ">8", ">8", "1-2"]


def test_of_many_rows_a_screen_lists_the_first_and_files_have_all(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("softmax", "linear", "delta", "gla", "expressive")
    curves = {name: [[1.0, 0.9, 0.8 - place / 10], [0.5, 0.6, 0.4]] for place, name in enumerate(names)}
    whole, complete = drawn(report(ladder(curves))), report(ladder(curves))
    data = FORMATS["json"](complete)
    assert not any("The tables list" in line for line in whole)
    monkeypatch.setattr(tables, "MOST_ROWS", 4)
    monkeypatch.setattr(tables, "FIRST_ROWS", 3)
    for shown in (report(ladder(curves)), complete):  # of the second, everything was computed before
        lines = drawn(shown)
        told, first = ([line.split() for line in one if line.startswith(names)] for one in (lines, whole))
        assert told == [words for words in first if words[0] in names[:3]]
        assert [words[0] for words in told] == [*names[:3]] * 3
        text = " ".join(lines)
        assert "The tables list the first 3 of 5 rows; --csv FILE and --json have all of them, --index" in text
        assert FORMATS["json"](shown) == data


def test_the_footnotes() -> None:
    assert report(ladder(THREE)).footnotes() == [
        "18 runs.",
        "Above: decided by the ranks; where these are shared, by evidence on single levels, which may be looked at "
        "after every seed. A wrong difference has a probability of at most 5 % by either.",
        "Below each mean: its 95 % interval over seeds (Gaffke), the solved runs, and the 95 % interval of P(solve) "
        "in % (Clopper-Pearson).",
        "With 3 seeds that all agree, the interval still spans 71 % of the range from chance to 1.",
        "C50 and C90 are read off the closest fit that never rises; their 95 % intervals end at levels: they assume "
        "that accuracy falls with the level, and nothing between two levels.",
        "Ranks are by C50, corrected for all comparisons in the report; variants that are not told apart share ranks.",
    ]
    single = report([run()])
    assert single.footnotes() == ["1 run."]


def test_the_number_of_tuned_values_is_in_the_footnotes() -> None:
    records = [one for lr in (1e-3, 3e-3, 1e-2) for one in seeds([0.5] * 5, lr=lr)]
    result = report(records, experiment(grid={"lr": (1e-3, 3e-3, 1e-2)}))
    assert "lr: up to 3 values tried per cell; the best validation accuracy is chosen." in result.footnotes()
    assert result.panels[0].row_fields == ("attention",)


def test_failed_and_diverged_runs_are_counted() -> None:
    records = [run(), run(seed=1, status="failed"), run(seed=2, status="diverged"), run(seed=3, status="diverged")]
    notes = " ".join(report(records).footnotes())
    assert "Left out: 1 failed run;" in notes
    assert "2 runs diverged" in notes
    assert "failed" in " ".join(drawn(report([run(status="failed")])))


def test_how_diverged_runs_count_is_told_of_the_metric_that_is_shown() -> None:
    lost: dict[str, Any] = {"status": "diverged", "loss": math.nan, "history": ()}
    records = [run(), run(seed=1), run(seed=2, **lost), run(seed=3, **lost)]

    def note(metric: str, runs: list[Record] = records) -> str:
        (found,) = (text for text in report(runs, metric=metric).footnotes() if "diverged" in text)
        return found

    counted = "what was reached until then counts, but never as solved."
    assert note("accuracy") == f"2 runs diverged; {counted}"
    assert note("steps", [run(), run(seed=3, **lost)]) == f"1 run diverged; {counted}"
    left_out = "left out of the means, and counted as not solved."
    for metric in ("loss", "perplexity", "validation_accuracy"):
        assert len(report(records, metric=metric).panels[0].cells[("softmax",), 4].values) == 2
        words = metric.replace("_", " ")
        assert note(metric) == f"2 runs diverged without a value of {words}: {left_out}"
    some = "3 runs diverged, never counted as solved; 2 of them without a value of loss"
    assert note("loss", [*records, run(seed=4, status="diverged")]) == f"{some}: {left_out}"
    assert note("time_to_solve") == "2 runs diverged: not solved to the end of the budget."


def test_records_of_joined_stores_count_each_run_once() -> None:
    records = [*seeds([0.5, 0.6, 0.7], pairs=4), *seeds([0.3, 0.4, 0.5], pairs=8, attention="gpam")]
    once, joined = report(records), report([*records, *records[:4]])
    assert joined.footnotes()[0] == "6 runs."
    assert drawn(joined) == drawn(once)
    assert FORMATS["json"](joined) == FORMATS["json"](once)
    claim = Claim(says="x", of={"level": 4}, expect="at least", bound=0.5)
    assert check_claims([claim], [*records, *records]) == check_claims([claim], records)
    modes = failure_mode_table([*records, *records])
    assert len(modes.modes) == 6
    assert modes.panels == failure_mode_table(records).panels


def test_the_kind_of_the_intervals_is_in_the_footnotes() -> None:
    loss = report(ladder(THREE), metric="loss").footnotes()
    assert loss[1].startswith("Below each mean: its 95 % interval over seeds (Student's t), the solved runs, and the")
    assert not any("still spans" in note for note in loss)
    solved = report(ladder(THREE), metric="solved").footnotes()
    assert solved[1] == "Below each mean: its 95 % interval over seeds (Clopper-Pearson)."
    assert solved[2].endswith("still spans 71 % of the metric's range.")


def test_variants_that_are_not_told_apart_share_ranks() -> None:
    high, low = [1.0] * 6, [0.3] * 6
    curves = {
        "low": [high, low, low, low, low, low],
        "middle": [high, high, high, [1.0, 0.9, 0.8] * 2, low, low],
        "alike": [high, high, high, [0.95, 0.85, 0.8] * 2, low, low],
        "high": [high] * 6,
    }
    result = report(ladder(curves))
    (panel,) = result.panels
    assert list(result.ranks_of(panel).values()) == ["4", "2-3", "2-3", "1"]
    several = report([one for task in "abcdefgh" for one in ladder(curves, task=task)])
    assert len(several.ranks) == 8
    assert {own["alike",] for own in several.ranks} <= {"2-3", "1-3", "2-4", "1-4"}


def test_two_seeds_or_one_variant_give_no_ranks() -> None:
    result = report(ladder({"a": [[1.0, 1.0], [0.3, 0.3]], "b": [[1.0, 1.0], [1.0, 1.0]]}))
    assert set(result.ranks_of(result.panels[0]).values()) == {"-"}
    result = report(ladder({"a": [[1.0] * 3, [0.3] * 3]}))
    assert set(result.ranks_of(result.panels[0]).values()) == {"-"}
    single = report(ladder({"a": [[1.0] * 6], "b": [[0.3] * 6]}))
    assert set(single.ranks_of(single.panels[0]).values()) == {"-"}


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_wide_ladders_continue_below(width: int) -> None:
    levels = [2**power for power in range(10)]
    curves = {name: [[0.9, 0.95, 1.0]] * 10 for name in ("softmax", "dape:" + "kernel=3,hidden=64" * 2)}
    result = report(ladder(curves, levels))
    (panel,) = result.panels
    lines = drawn(grid_table(panel), width=width)
    heads = [line.split()[1:] for line in lines if line.startswith("attention")]
    assert [int(head) for line in heads for head in line] == levels
    assert len(heads) == {40: 5, 60: 3, 80: 3, 120: 1}[width] or len(heads) > 1
    ends = between(panel.cells[panel.rows[0], 1].interval, "accuracy")
    assert sum(line.split().count(ends) for line in lines) == 20
    assert sum(line.split().count("1/3:") for line in lines) == 20
    assert drawn(capacity_table(panel, result.ranks_of(panel)), width=max(width, 60))


def test_cells_have_the_number_of_seeds_where_it_differs() -> None:
    text = "\n".join(drawn(report(ladder({"a": [[0.5, 0.6, 0.7], [0.5, 0.6]]}))))
    assert "means over" not in text
    assert "n=3" in text
    assert "n=2" in text


def test_over_all_levels_and_tasks() -> None:
    records = ladder(THREE) + ladder(THREE, task="copy") + [run("lone", pairs=2)]
    first, second = report(records).overall
    assert (first.row, second.row) == (("softmax",), ("expressive",))
    assert second.mean[0] > first.mean[0]
    lines = drawn(report(records))
    title = lines.index("normalized accuracy over all levels and tasks (0 = chance, 100 = perfect)")
    assert lines[title + 1].endswith("interquartile mean  P(better than softmax) in %")
    assert second.improvement[0] == pytest.approx((0.5 + (1 * 6 + 0.5 * 3) / 9 + 1) / 3)


def test_a_normalized_accuracy_below_chance_is_explained() -> None:
    def words(accuracies: list[float]) -> str:
        records = [
            run(name, pairs=pairs, seed=seed, accuracy=one)
            for name in "ab"
            for pairs in (2, 4)
            for seed, one in enumerate(accuracies)
        ]
        return " ".join(" ".join(drawn(report(records))).split())

    assert "below 0: worse than a guess among the answers that are possible" in words([0.01, 0.02])
    assert "below 0" not in words([0.99, 1.0])


def test_subtasks_of_a_mixture_do_not_count_twice() -> None:
    records = [
        run(name, pairs=pairs, seed=seed, accuracy=accuracy, subtasks={"copy": 0.1})
        for name, accuracy in (("a", 0.5), ("b", 0.9))
        for pairs in (2, 4)
        for seed in range(3)
    ]
    result = report(records)
    assert len(result.panels) == 2
    assert result.overall[1].mean[0] == pytest.approx((0.9 - 0.25) / 0.75)


@pytest.mark.parametrize(("metric", "shown"), [("seconds", "21"), ("loss", "1"), ("steps", "1200"), ("rank", "3.5")])
def test_other_metrics_have_no_max_solved_level(metric: str, shown: str) -> None:
    records = [record.model_copy(update={"diagnostics": {"rank": 3.5}}) for record in ladder(THREE)]
    lines = drawn(report(records, metric=metric))
    assert lines[0].startswith(f"recall  {metric} by pairs")
    assert shown in lines[3].split()
    assert not any("max solved" in line for line in lines)


def test_the_experiment_sets_the_layout() -> None:
    result = report(
        ladder(THREE), experiment(report=ReportLayout(index=("level",), columns="attention", metric="exact_match"))
    )
    assert result.panels[0].columns == ("expressive", "softmax")
    assert drawn(result)[0] == "Which?"


def test_claims_are_below_with_their_evidence() -> None:
    claim = Claim(
        says="Expressive solves what softmax does not.",
        of={"attention": "expressive", "level": 4},
        than={"attention": "softmax"},
        expect="greater",
    )
    six = ladder({"softmax": [[1.0] * 6, [0.3] * 6], "expressive": [[1.0] * 6] * 2})
    result = report(six, experiment(claims=(claim,)))
    assert result.claims_hold
    text = [line.strip() for line in drawn(result)]
    assert any(line.split() == ["holds", *claim.says.split()] for line in text)
    assert any(line.startswith("difference of accuracy in % 70.0 [") for line in text)
    opposite = claim.model_copy(update={"expect": "less"})
    assert not report(six, experiment(claims=(opposite,))).claims_hold


def test_a_slope_of_an_interrupted_sweep_is_undecided_and_all_else_is_shown() -> None:
    sides: dict[str, Any] = {"of": {"attention": "expressive"}, "than": {"attention": "softmax"}, "expect": "greater"}
    at_two = sides | {"of": {"attention": "expressive", "level": 2}}
    claims = (Claim(says="It grows.", slope=True, **sides), Claim(says="It leads.", **at_two))
    ladders = (LadderLevels(ladder="recall", levels=(2, 4, 8)),)
    begun = ladder({"softmax": [[0.3] * 6], "expressive": [[1.0] * 6]})
    result = report(begun, experiment(claims=claims).model_copy(update={"ladders": ladders}))
    assert [one.outcome for one in result.claims] == ["undecided", "holds"]
    assert result.claims[0].evidence == "run on one level so far (2), not yet on 4, 8"
    assert any("accuracy in % by pairs" in line for line in drawn(result))


def test_no_records() -> None:
    assert drawn(report([])) == ["0 runs."]
    assert report([]) == Report(())


def test_fields_that_are_averaged_over_or_differ_along_are_in_the_footnotes() -> None:
    records = [run(width=width, seed=seed) for width in (32, 64) for seed in range(3)]
    assert "Averaged, within each seed, over width." in report(records, index=("attention",)).footnotes()
    along = [run(name, width=width) for name, width in (("a", 32), ("b", 64))]
    assert "Differs between cells: width." in report(along).footnotes()


def test_a_row_that_is_not_monotone_says_so() -> None:
    lines = drawn(report(ladder({"softmax": [[0.30], [0.91], [1.0], [0.997]]})))
    assert any("not monotone" in line for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "Not monotone: softmax is worse on pairs 2, 4 than on a higher one" in text
    assert "the fit of C50 and C90 averages them" in text
    assert "onotone" not in " ".join(drawn(report(ladder(THREE))))


def test_two_seeds_have_a_range_and_no_95_percent() -> None:
    text = " ".join(" ".join(drawn(report(ladder({"softmax": [[0.9, 1.0], [0.3, 0.5]]})))).split())
    assert "range 90.0-100.0" in text
    assert "an interval takes at least 3" in text
    assert "95 %" not in text
    assert "1/2:" not in text
    mixed = " ".join(drawn(report(ladder({"softmax": [[0.9, 1.0], [0.3, 0.5, 0.4]]}))))
    assert "range 90.0-100.0" in mixed
    assert "95 % interval" in mixed
    assert "Where there are two seeds, the range" in " ".join(mixed.split())
    single = " ".join(" ".join(drawn(report(ladder({"softmax": [[0.9], [0.3, 0.5, 0.4]]})))).split())
    assert "two seeds" not in single
    assert "An interval takes at least 3 seeds." in single


def test_levels_that_only_some_were_run_on_are_not_compared() -> None:
    uneven = ladder({"softmax": [[0.9] * 3, [0.8] * 3, [0.3] * 3], "gpam": [[0.9] * 3, [0.2] * 3]})
    text = " ".join(" ".join(drawn(report(uneven))).split())
    assert "normalized accuracy over the 2 of 3 levels that all were run on" in text


def test_capacities_say_nothing_of_levels_on_which_a_variant_was_not_run() -> None:
    found = report(ladder({"softmax": [[1.0] * 3] * 3}) + seeds([0.9] * 3, attention="linear", pairs=4))
    latex = report_latex(found).decode()
    for text, above, below, wrong in (
        ("\n".join(drawn(found)), ">4", "<4", ">8"),
        (FORMATS["markdown"](found).decode(), ">4", "<4", ">8"),
        (latex.replace("\\textgreater{}", ">").replace("\\textless{}", "<"), ">4", "<4", ">8"),
    ):
        lines = [line for line in text.splitlines() if "linear" in line]
        assert any(above in line and below in line for line in lines), text
        assert not any(wrong in line for line in lines)


def test_chance_is_not_told_for_columns_that_do_not_set_it() -> None:
    records = [
        run(attention=attention, pairs=pairs, seed=seed).model_copy(
            update={"accuracy": Score(correct=8, total=10, chance=1 / pairs)}
        )
        for attention in ("softmax", "linear")
        for pairs in (2, 4)
        for seed in range(2)
    ]
    assert any(line.startswith("chance") and "50.0" in line and "25.0" in line for line in drawn(report(records)))
    for columns in ("attention", "seed"):
        layout = experiment(report=ReportLayout(index=("level",), columns=columns))
        lines = drawn(report(records, layout))
        assert not any(line.startswith("chance") for line in lines)


def test_chance_is_told_whatever_the_numbers_of_seeds() -> None:
    chance = 0.658951
    records = [
        run(name, seed=seed).model_copy(update={"accuracy": Score(correct=70 + seed, total=100, chance=chance)})
        for name, count in (("softmax", 30), ("gpam", 9))
        for seed in range(count)
    ]
    result = report(records)
    assert [line.split() for line in drawn(result) if line.startswith("chance")] == [["chance", "65.9"]]
    cells = json.loads(FORMATS["json"](result))["cells"]
    assert [cell["chance"] for cell in cells] == [chance, chance]


def test_what_chance_is_stands_below_the_tables() -> None:
    records = [run(vocabulary=128, chance_guess="a guess among the values of the context")]
    assert "Chance: a guess among the values of the context; a guess among all 128 tokens: 0.8 %." in (
        report(records).footnotes()
    )
