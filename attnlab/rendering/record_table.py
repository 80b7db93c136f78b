"""Records as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.formatting import duration, interval, percent, thousands
from attnlab.records import Record


@dataclass(frozen=True)
class RecordTable:
    """Runs, one line each, under a headline per task and level."""

    records: Sequence[Record]

    def __rich__(self) -> RenderableType:
        """One table per task and level."""
        ordered = sorted(self.records, key=_place)
        return Group(*(_table(level, list(same)) for level, same in groupby(ordered, key=_rung)))


def _place(record: Record) -> tuple[str, float, str]:
    """Where the level stands: by task, up its ladder."""
    climbed = record.spec.task.level
    return record.spec.task.name, climbed if isinstance(climbed, int | float) else 0, _rung(record)


def _rung(record: Record) -> str:
    """The headline of a level: the complexity with the chance, and below it what else was fixed."""
    task = record.spec.task
    complexity = f", {task.complexity} {task.level}" if task.complexity else ""
    fixed = [f"{name} {_said(value)}" for name, value in task.options.items() if name != task.complexity]
    fixed += [f"trained on {name} {value}" for name, value in task.train.items()]
    return "\n".join(
        filter(None, [f"{task.name}{complexity} (chance {percent(record.accuracy.chance)})", ", ".join(fixed)])
    )


def _said(value: Any) -> str:
    """An option's value; parts that are written out in full are told by their names."""
    if isinstance(value, list | tuple) and value and all(isinstance(one, dict) and "name" in one for one in value):
        return "+".join(str(one["name"]) for one in value)
    return str(value)


def _table(level: str, records: list[Record]) -> Table:
    first, _, fixed = level.partition("\n")
    title = Text.assemble((first, "bold"), *([("\n" + fixed, "dim")] if fixed else []))
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="", pad_edge=False)
    table.collapse_padding = True
    table.add_column("variant", overflow="fold", min_width=8)
    for head in ("seed", "accuracy", "95 %", "whole", "steps", "time"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    positions = len({str(record.spec.model.position) for record in records}) > 1
    for record in records:
        place = f" · {record.spec.model.position}" if positions else ""
        table.add_row(Text(f"{record.spec.variant}{place}"), *_cells(record))
    return table


def _cells(record: Record) -> list[str | Text]:
    """Seed, accuracy with its interval, whole answers, steps, time, verdict."""
    return [
        str(record.spec.seed),
        percent(record.accuracy.mean),
        interval(record.accuracy.interval),
        percent(record.exact_match.mean),
        thousands(record.steps),
        duration(float(record.environment.get("seconds", 0.0))),
        status_text(record),
    ]


def status_text(record: Record) -> Text:
    """Solved, not solved, diverged or failed."""
    if record.status != "done":
        return Text(record.status, style="red")
    return Text("solved", style="green") if record.solved else Text("unsolved", style="yellow")
