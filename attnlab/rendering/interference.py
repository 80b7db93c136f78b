"""Interference: the accuracy of each task trained alone, together with each other task, and with all.

Every cell is a training of its own. All take the same number of steps and sequences, so a subtask of a mixture of two
has half as many sequences of its own as it has alone. The matrix shows how multi-task training changes the accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.analysis.statistics import MIN_SEEDS, Interval, Sample, average, difference
from attnlab.formatting import percent
from attnlab.records import Record, Score, distinct
from attnlab.rendering._text_table import FoldedText

Subtasks = tuple[str, ...]


@dataclass(frozen=True)
class JointCell:
    """The accuracy of one task when it is trained together with others."""

    task: str
    others: Subtasks
    """The other subtasks; empty where the task is trained alone."""
    accuracies: tuple[float, ...]
    """One for each seed."""
    accuracy_change: float
    """Mean accuracy together less mean accuracy alone; negative where the accuracy falls."""
    interval: Interval
    """The interval of the change, over seeds."""


@dataclass(frozen=True)
class Interference:
    """The matrix of one variant."""

    variant: str
    tasks: Subtasks
    cells: dict[tuple[str, Subtasks], JointCell]

    def __rich__(self) -> RenderableType:
        """A row for each task: alone, with each other task, with all."""
        table = Table(box=box.SIMPLE_HEAD, title=Text(self.variant, style="bold"), title_justify="left")
        table.collapse_padding = True
        partners = [(), *((other,) for other in self.tasks)]
        several = len(self.tasks) > 2
        table.add_column("accuracy of", overflow="fold")
        for head in ("alone", *(f"with {name}" for name in self.tasks), *(["with all"] if several else [])):
            table.add_column(head, justify="right", overflow="fold")
        for task in self.tasks:
            rest = tuple(name for name in self.tasks if name != task)
            shown = [*partners, *([rest] if several else [])]
            table.add_row(FoldedText(task), *(self._text(task, others) for others in shown))
        note = "Below each: the change against training alone in points"
        if any(not math.isnan(cell.interval[0]) for cell in self.cells.values() if cell.others):
            note += ", with its 95 % interval over seeds. It is colored where the interval excludes 0."
        else:
            note += f"; its interval over seeds takes at least {MIN_SEEDS}."
        return Group(table, Text(note, style="dim"))

    def data(self) -> list[dict[str, object]]:
        """The cells as plain data."""
        return [
            {
                "variant": self.variant,
                "task": cell.task,
                "with": list(cell.others),
                "accuracies": list(cell.accuracies),
                "accuracy_change": cell.accuracy_change,
                "interval": list(cell.interval),
            }
            for cell in self.cells.values()
        ]

    def _text(self, task: str, others: Subtasks) -> Text:
        cell = self.cells.get((task, others))
        if cell is None:
            return Text("", style="dim")
        mean = percent(average(cell.accuracies))
        if not others:
            return Text(f"{mean}\nn={len(cell.accuracies)}")
        low, high = cell.interval
        style = "red" if high < 0 else "green" if low > 0 else "dim"
        ends = "" if math.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"
        return Text.assemble(mean, "\n", (f"{100 * cell.accuracy_change:+.1f}{ends}", style))


def interference(records: Iterable[Record]) -> list[Interference]:
    """Compute the matrices of all variants.

    Args:
        records: Finished runs; those of other tasks than ``mixture``, and failed ones, are left out.

    Returns:
        One matrix per variant.
    """
    scores: dict[str, dict[tuple[str, Subtasks], dict[int, Score]]] = {}
    order: dict[str, None] = {}
    for record in distinct(records):
        if record.status == "failed" or record.spec.task.name != "mixture":
            continue
        evaluations = [one for one in record.evaluations if one.level == record.spec.task.level]
        names = tuple(one.subtask for one in evaluations)
        position = f" · {record.spec.model.position}" if record.spec.model.module is None else ""
        variant = f"{record.spec.variant}{position}"
        for one in evaluations:
            order[one.subtask] = None
            others = tuple(name for name in names if name != one.subtask)
            cell = scores.setdefault(variant, {}).setdefault((one.subtask, others), {})
            cell[record.spec.seed] = one.accuracy
    return [_matrix(variant, tuple(order), cells) for variant, cells in scores.items()]


def _matrix(variant: str, tasks: Subtasks, by_cell: dict[tuple[str, Subtasks], dict[int, Score]]) -> Interference:
    """The matrix of one variant from the score of each seed of each cell."""
    cells = {}
    for (task, others), scores in by_cell.items():
        alone, together = by_cell.get((task, ()), {}), _sample(scores)
        change, ends = difference([together], [_sample(alone)]) if others and alone else (0.0, (0.0, 0.0))
        cells[task, others] = JointCell(task, others, tuple(together.values), change, ends)
    return Interference(variant, tasks, cells)


def _sample(scores: dict[int, Score]) -> Sample:
    """The accuracy of each seed; its lower bound is chance, or 0 where a run is below chance."""
    values = [score.mean for score in scores.values()]
    chance = min(score.chance for score in scores.values())
    return Sample(values, (chance if min(values) >= chance else 0.0, 1.0), list(scores))
