"""Sequences of a task, with the answers marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from attnlab.tasks import Task
from attnlab.tasks.base import Batch, Cell

LABELS = ("inputs", "targets")
FEW = 4
"""From this length on a run of one token is told rather than shown."""


@dataclass(frozen=True)
class Sequences:
    """Rows of a batch: tokens above, due answers below, questions in color."""

    task: Task
    batch: Batch

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Two aligned lines per stretch that fits the width."""
        for row in range(len(self.batch.inputs_BT)):
            cells = self.task.render(self.batch, row)
            yield from _stretches(_shortened(cells), options.max_width)
            yield Text("")


def _shortened(cells: Sequence[Cell]) -> Sequence[Cell]:
    """A run of one token at the end, in which nothing is asked, such as padding: once, and how often."""
    run = next((count for count, cell in enumerate(reversed(cells)) if cell.target or cell != cells[-1]), len(cells))
    return cells if run < FEW else [*cells[: len(cells) - run + 1], Cell(f"x{run}", "")]


def _stretches(cells: Sequence[Cell], width: int) -> list[Text]:
    size = max(len(word) for cell in cells for word in cell) + 1
    margin = max(map(len, LABELS)) + 1
    fit = max(1, (width - margin) // size)
    lines = []
    for start in range(0, len(cells), fit):
        upper, lower = (Text.assemble((label.ljust(margin), "dim")) for label in LABELS)
        for cell in cells[start : start + fit]:
            upper.append(cell.token.rjust(size - 1) + " ", style="bold cyan" if cell.target else "")
            lower.append((cell.target or ".").rjust(size - 1) + " ", style="bold green" if cell.target else "dim")
        lines += [upper, lower]
    for line in lines:
        line.rstrip()
    return lines
