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
class HelpPage:
    """The usage line, the purpose of the program, and a table for each heading."""

    usage: str
    purpose: str
    sections: Mapping[str, Sequence[tuple[str, str]]]
    """Heading -> options or commands, each with its help text."""

    def __rich__(self) -> RenderableType:
        """Render the usage, the purpose, and a panel for each heading."""
        head, colon, rest = self.usage.partition(": ")
        usage = Text.assemble((head + colon, "yellow"), (rest, "bold"))
        panels = [_panel(heading, rows) for heading, rows in self.sections.items()]
        return Group(Padding(usage, 1), Padding(Text(self.purpose), (0, 1, 1, 1)), *panels)


def _panel(heading: str, rows: Sequence[tuple[str, str]]) -> Panel:
    """Make the panel of one heading."""
    table = Table(show_header=False, expand=True, box=None, pad_edge=False, padding=(0, 1))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(ratio=10)
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    return Panel(table, title=heading, title_align="left", border_style="dim")
