"""Interference: what each task of a mixture comes to alone, beside each other one, and among all.

Every cell is a training of its own. All take the same number of steps and sequences, so a subtask of a mixture of two
sees half as many sequences of its own as it does alone: that is the price of company which the matrix shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.analysis.statistics import Interval, stratified
from attnlab.formatting import percent
from attnlab.records import Record

Members = tuple[str, ...]


@dataclass(frozen=True)
class JointCell:
    """How one task fares in one company."""

    task: str
    others: Members
    accuracies: tuple[float, ...]
    """One for each seed."""
    loss: float
    """Mean accuracy alone less mean accuracy here."""
    interval: Interval
    """Of the loss, over seeds."""


@dataclass(frozen=True)
class Interference:
    """The matrix of one variant."""

    variant: str
    tasks: Members
    cells: dict[tuple[str, Members], JointCell]

    def __rich__(self) -> RenderableType:
        """A row for each task: alone, beside each other one, among all."""
        table = Table(box=box.SIMPLE_HEAD, title=Text(self.variant, style="bold"), title_justify="left")
        table.collapse_padding = True
        companies = [(), *((other,) for other in self.tasks)]
        whole = len(self.tasks) > 2
        table.add_column("accuracy of", overflow="fold")
        for head in ("alone", *(f"with {name}" for name in self.tasks), *(["with all"] if whole else [])):
            table.add_column(head, justify="right", overflow="fold")
        for task in self.tasks:
            rest = tuple(name for name in self.tasks if name != task)
            wanted = [*companies, *([rest] if whole else [])]
            table.add_row(task, *(self._text(task, company) for company in wanted))
        words = (
            "Below each: accuracy lost to company, with its 95 % interval over seeds; what it excludes 0 is in color."
        )
        return Group(table, Text(words, style="dim"))

    def data(self) -> list[dict[str, object]]:
        """The cells as plain data."""
        return [
            {
                "variant": self.variant,
                "task": cell.task,
                "with": list(cell.others),
                "accuracies": list(cell.accuracies),
                "lost": cell.loss,
                "interval": list(cell.interval),
            }
            for cell in self.cells.values()
        ]

    def _text(self, task: str, company: Members) -> Text:
        cell = self.cells.get((task, company))
        if cell is None:
            return Text("", style="dim")
        mean = percent(sum(cell.accuracies) / len(cell.accuracies))
        if not company:
            return Text(f"{mean}\nn={len(cell.accuracies)}")
        low, high = cell.interval
        style = "red" if low > 0 else "green" if high < 0 else "dim"
        ends = "" if math.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"
        return Text.assemble(mean, "\n", (f"{100 * cell.loss:+.1f}{ends}", style))


def interference(records: Iterable[Record]) -> list[Interference]:
    """The matrices of all variants among the records of mixtures."""
    seen: dict[str, dict[tuple[str, Members], list[float]]] = {}
    order: dict[str, None] = {}
    for record in records:
        if record.status == "failed" or record.spec.task.name != "mixture":
            continue
        here = [reading for reading in record.evaluations if reading.level == record.spec.task.level]
        names = tuple(reading.subtask for reading in here)
        variant = f"{record.spec.variant} · {record.spec.model.position}"
        for reading in here:
            order[reading.subtask] = None
            company = tuple(name for name in names if name != reading.subtask)
            seen.setdefault(variant, {}).setdefault((reading.subtask, company), []).append(reading.accuracy.mean)
    return [_matrix(variant, tuple(order), cells) for variant, cells in seen.items()]


def _matrix(variant: str, tasks: Members, seen: dict[tuple[str, Members], list[float]]) -> Interference:
    cells = {}
    for (task, company), accuracies in seen.items():
        alone = seen.get((task, ()), [])
        loss, ends = _lost(alone, accuracies) if company and alone else (0.0, (0.0, 0.0))
        cells[task, company] = JointCell(task, company, tuple(accuracies), loss, ends)
    return Interference(variant, tasks, cells)


def _lost(alone: Sequence[float], beside: Sequence[float]) -> tuple[float, Interval]:
    """Mean alone less mean in company, seeds of each resampled by themselves."""
    return stratified(lambda drawn: drawn[0].mean(axis=1) - drawn[1].mean(axis=1), [alone, beside])
