"""Sequences of a task, with the targets marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from attnlab.tasks import Task
from attnlab.tasks.base import Batch, Cell

LABELS = ("inputs", "targets")
MIN_REPEATS = 4
"""A token that is repeated at the end at least this often is shown once, with the number of repeats."""


@dataclass(frozen=True)
class Sequences:
    """Sequences of a batch: tokens above, targets below, query positions in color."""

    task: Task
    batch: Batch

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Two aligned lines for each section that fits the width."""
        for row in range(len(self.batch.inputs_BT)):
            cells = self.task.render(self.batch, row)
            yield from _sections(_shortened(cells), options.max_width)
            yield Text("")


def _shortened(cells: Sequence[Cell]) -> Sequence[Cell]:
    """The cells, with a token that is repeated at the end without targets (padding) written once, and its count."""
    count = next((n for n, cell in enumerate(reversed(cells)) if cell.target or cell != cells[-1]), len(cells))
    return cells if count < MIN_REPEATS else [*cells[: len(cells) - count + 1], Cell(f"x{count}", "")]


def _sections(cells: Sequence[Cell], width: int) -> list[Text]:
    """The lines of one sequence."""
    size = max(len(text) for cell in cells for text in cell) + 1
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
