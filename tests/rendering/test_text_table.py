from __future__ import annotations

import pytest
from rich.table import Table

from attnlab.rendering._text_table import FoldedText, TextTable, cell_text, column_blocks, fold_text, pad_text, width
from tests.rendering.capture import drawn


def test_names_are_left_numbers_are_right_and_cells_have_lines() -> None:
    table = TextTable(
        ("name",),
        ("2", "16"),
        [(("a",), [cell_text("1", "2-3"), cell_text("10")]), (("long",), [cell_text("-"), cell_text("7", "8")])],
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
    lines = drawn(TextTable(("name",), ("x",), [(("abcdefghijklmnopqrstuvwxyz",), [cell_text("1")])]), width=42)
    assert lines[2:5] == ["abcdefghijkl  1", "mnopqrstuvwx", "yz"]


@pytest.mark.parametrize(
    ("sizes", "available", "blocks"),
    [
        ([3, 3, 3], 13, [range(3)]),
        ([3, 3, 3], 12, [range(2), range(2, 3)]),
        ([9, 9], 4, [range(1), range(1, 2)]),
        ([], 10, [range(0)]),
    ],
)
def test_columns_that_do_not_fit_continue_in_another_block(
    sizes: list[int], available: int, blocks: list[range]
) -> None:
    assert list(column_blocks(sizes, available)) == blocks


def test_wide_letters_take_two_columns() -> None:
    assert width(cell_text("数")) == 2
    assert pad_text("数", 4, right=True) == "  数"


def test_names_break_after_marks_where_they_can() -> None:
    assert fold_text("dape:kernel=3,hidden=64", 14) == ["dape:kernel=3,", "hidden=64"]
    assert fold_text("abcdef", 4) == ["abcd", "ef"]
    assert fold_text("", 4) == [""]
    assert fold_text("titans_pytorch:NeuralMemory", 13) == ["titans_", "pytorch:", "NeuralMemory"]
    assert fold_text("torch.nn:TransformerEncoderLayer", 15) == ["torch.nn:", "Transformer", "EncoderLayer"]
    assert fold_text("x_transformers:Attention", 15) == ["x_transformers:", "Attention"]
    assert fold_text("a · learned", 9) == ["a ·", "learned"]


def test_a_name_in_a_narrow_column_of_rich_breaks_after_a_comma() -> None:
    table = Table.grid()
    table.add_row(FoldedText("dape:kernel=3,width=16"), "12345678")
    assert drawn(table, width=23) == ["dape:kernel=3, 12345678", "width=16"]
