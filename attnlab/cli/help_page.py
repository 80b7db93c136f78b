"""The page that ``attnlab --help`` shows, drawn as typer draws that of each command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Front:
    """How to use the program, what it is for, and what its words mean."""

    usage: str
    purpose: str
    words: Mapping[str, Sequence[tuple[str, str]]]
    """By heading: words, and what each does."""

    def __rich__(self) -> RenderableType:
        """The sentences, and a panel for each heading."""
        head, colon, rest = self.usage.partition(": ")
        usage = Text.assemble((head + colon, "yellow"), (rest, "bold"))
        panels = [_panel(heading, rows) for heading, rows in self.words.items()]
        return Group(Padding(usage, 1), Padding(Text(self.purpose), (0, 1, 1, 1)), *panels)


def _panel(heading: str, rows: Sequence[tuple[str, str]]) -> Panel:
    table = Table(show_header=False, expand=True, box=None, pad_edge=False, padding=(0, 1))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(ratio=10)
    for word, meaning in rows:
        table.add_row(Text(word), Text(meaning))
    return Panel(table, title=heading, title_align="left", border_style="dim")
