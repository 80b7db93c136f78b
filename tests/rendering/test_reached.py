"""What is solved on a single level, in words."""

from __future__ import annotations

import json

from attnlab.records import Record
from attnlab.rendering.export import FORMATS
from attnlab.rendering.html import html_page
from attnlab.rendering.reached import reached
from attnlab.rendering.report import report
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import run, seeds

RIGHT, WRONG = 0.995, 0.4
WIDTHS = (16, 32, 64)


def by_width(attention: str, *solved: int) -> list[Record]:
    return [run(attention, width=width, accuracy=RIGHT if width in solved else WRONG) for width in WIDTHS]


def words(records: list[Record]) -> str:
    return reached(report(records).panels[0])


def test_each_variant_is_told_from_which_width_on_it_is_solved() -> None:
    records = [*by_width("softmax", 32, 64), *by_width("linear"), *by_width("gla", 64), *by_width("delta", 64)]
    assert words(records) == (
        "recall, pairs 4: 99 % is reached by softmax from width 32 on; by gla and delta at width 64; "
        "by linear at no width. One seed each: another may differ."
    )


def test_widths_that_are_solved_below_one_that_is_not_are_listed() -> None:
    assert "by softmax at width 16 and 32;" in words([*by_width("softmax", 16, 32), *by_width("linear")])
    assert "by softmax at width 16 and 64;" in words([*by_width("softmax", 16, 64), *by_width("linear")])
    assert "by softmax from width 16 on;" in words([*by_width("softmax", *WIDTHS), *by_width("linear")])


def test_without_a_varied_number_the_variants_are_listed() -> None:
    right, half, wrong = ((RIGHT, RIGHT, RIGHT), (RIGHT, WRONG), (RIGHT, WRONG, WRONG))
    records = [*seeds(right, attention="softmax"), *seeds(half, attention="gla"), *seeds(wrong, attention="linear")]
    assert words(records) == (
        "recall, pairs 4: 99 % is reached by softmax and gla; not by linear. Reached: by at least half of 2 to 3 seeds."
    )


def test_where_no_variant_solves_the_level_none_is_said() -> None:
    records = [*seeds((WRONG, WRONG), attention="softmax"), *seeds((WRONG, WRONG), attention="gla")]
    assert words(records) == (
        "recall, pairs 4: 99 % is reached by none of softmax and gla. Reached: by at least half of 2 seeds."
    )


def test_nothing_is_told_of_several_levels_of_one_row_or_of_many() -> None:
    assert words([run(name, pairs) for name in ("softmax", "linear") for pairs in (2, 4)]) == ""
    assert words(seeds((RIGHT, RIGHT))) == ""
    assert words([run(f"variant-{index}", accuracy=RIGHT) for index in range(9)]) == ""


def test_a_variant_of_which_every_run_failed_is_not_solved() -> None:
    failed = [run("linear", status="failed", accuracy=0.0)]
    assert "by softmax; not by linear" in words([run(accuracy=RIGHT), *failed])


def test_the_words_open_the_report_and_its_files() -> None:
    result = report([*by_width("softmax", 32, 64), *by_width("linear")])
    assert result.opening == [reached(result.panels[0])]
    assert " ".join(drawn(result)).startswith(result.opening[0])
    assert FORMATS["markdown"](result).decode().startswith(result.opening[0])
    assert json.loads(FORMATS["json"](result))["opening"] == result.opening
    assert f'<p class="answer">{result.opening[0]}' in html_page(result, "attnlab report").decode()
