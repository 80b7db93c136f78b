"""Render a value on a console of 80 columns of plain text."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, RenderableType

WIDTH = 80


def console(*, width: int = WIDTH, terminal: bool = False) -> Console:
    return Console(file=StringIO(), width=width, color_system=None, force_terminal=terminal, legacy_windows=False)


def output(console: Console) -> str:
    """The text that was written to a console made here."""
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def drawn(value: RenderableType, *, width: int = WIDTH) -> list[str]:
    """The lines of a value, without trailing blanks; none is wider than the console."""
    screen = console(width=width)
    screen.print(value, highlight=False)
    lines = output(screen).splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]
