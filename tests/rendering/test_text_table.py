from __future__ import annotations

import pytest

from attnlab.rendering._text_table import Aligned, column_blocks, entry, fold_text, pad_text, width
from tests.rendering.capture import drawn


def test_names_stand_left_numbers_right_and_cells_have_lines() -> None:
    table = Aligned(
        ("name",), ("2", "16"), [(("a",), [entry("1", "2-3"), entry("10")]), (("long",), [entry("-"), entry("7", "8")])]
    )
    assert drawn(table) == [
        "name    2  16",
        "─────────────",
        "a       1  10",
        "      2-3",
        "long    -   7",
        "            8",
        "",
    ]


def test_a_name_wider_than_a_third_is_folded() -> None:
    lines = drawn(Aligned(("name",), ("x",), [(("abcdefghijklmnopqrstuvwxyz",), [entry("1")])]), width=42)
    assert lines[2:5] == ["abcdefghijkl  1", "mnopqrstuvwx", "yz"]


@pytest.mark.parametrize(
    ("sizes", "wide", "requested"),
    [
        ([3, 3, 3], 13, [range(3)]),
        ([3, 3, 3], 12, [range(2), range(2, 3)]),
        ([9, 9], 4, [range(1), range(1, 2)]),
        ([], 10, [range(0)]),
    ],
)
def test_columns_are_dealt_out(sizes: list[int], wide: int, requested: list[range]) -> None:
    assert list(column_blocks(sizes, wide)) == requested


def test_wide_letters_take_two_places() -> None:
    assert width(entry("数")) == 2
    assert pad_text("数", 4, right=True) == "  数"


def test_names_break_after_marks_where_they_can() -> None:
    assert fold_text("dape:kernel=3,hidden=64", 14) == ["dape:kernel=3,", "hidden=64"]
    assert fold_text("abcdef", 4) == ["abcd", "ef"]
    assert fold_text("", 4) == [""]
