"""Names from elsewhere write no control character to a terminal, and no formula to a spreadsheet."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from attnlab.rendering._exporters import csv_bytes
from attnlab.rendering.console import Console

NAME = "soft\x1b[2Jmax\x07\x9b\u202e"


def test_no_text_moves_the_cursor() -> None:
    table = Table(title=NAME)
    table.add_column(NAME)
    table.add_row(NAME, style="bold")
    for shown in (table, NAME, f"{NAME}\nx"):
        screen = io.StringIO()
        Console(file=screen, width=40, force_terminal=True).print(shown, markup=False, highlight=False)
        text = screen.getvalue()
        assert "soft[2Jmax" in text
        assert not set("\x07\x9b\u202e") & set(text)
        assert "\x1b[2J" not in text


def test_colors_of_our_own_are_as_ever() -> None:
    screen = io.StringIO()
    Console(file=screen, force_terminal=True, color_system="standard").print(Text("no", style="red"))
    assert screen.getvalue() == "\x1b[31mno\x1b[0m\n"


def test_strings_are_no_markup() -> None:
    name = "[bold]a[/bold] [/] :smile:"
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    for shown in (name, table):
        screen = io.StringIO()
        Console(file=screen, width=60).print(shown)
        assert screen.getvalue().count(name) == (1 if shown is name else 3)


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_a_cell_is_no_formula(name: str) -> None:
    rows = [{"attention": name, "accuracy": -0.5}]
    assert csv_bytes(rows).decode() in (f"attention,accuracy\n'{name},-0.5\n", f'attention,accuracy\n"\'{name}",-0.5\n')
