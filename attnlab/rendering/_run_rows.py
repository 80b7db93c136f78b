"""Records -> rows of charts: which variant a run belongs to, its learning curve, and its diagnostics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from attnlab.analysis.grid import Grid
from attnlab.analysis.grids import field_text
from attnlab.formatting import percent
from attnlab.records import HistoryPoint, Record
from attnlab.run_fields import Cache, run_fields, trained_on

Rows = list[dict[str, Any]]
MOST_POINTS = 60
"""Points of one learning curve, at most; longer ones are thinned evenly, and keep their last point."""


def variant_names(panels: Sequence[Grid]) -> tuple[str, ...]:
    """List the variants of a report.

    Args:
        panels: The panels of the report.

    Returns:
        Their names, each once, in the order of the rows.
    """
    return tuple(dict.fromkeys(" ".join(row) for panel in panels for row in panel.rows))


def names_of_runs(records: Sequence[Record], row_fields: Sequence[str]) -> list[str]:
    """Name the variant of every run as the rows of a report do.

    Args:
        records: The runs.
        row_fields: The fields that name a row.

    Returns:
        One name for each run.
    """
    cache: Cache = {}
    return [" ".join(field_text(value) for value in _values(record, row_fields, cache)) for record in records]


def run_values(records: Sequence[Record], row_fields: Sequence[str]) -> list[list[str]]:
    """List the fields of every run that name its row.

    Args:
        records: The runs.
        row_fields: The fields.

    Returns:
        For each run, one text for each field.
    """
    cache: Cache = {}
    return [[field_text(value) for value in _values(record, row_fields, cache)] for record in records]


def _values(record: Record, names: Sequence[str], cache: Cache) -> list[Any]:
    spec = record.spec
    own = {"seed": spec.seed, "level": spec.task.level, "trained": trained_on(spec), "subtask": ""}
    fields = run_fields(spec, cache)
    return [own[name] if name in own else fields.get(name) for name in names]


def level_title(record: Record) -> str:
    """Name the task and the level of a run: ``recall, pairs 8``.

    Args:
        record: The run.

    Returns:
        The title of a small chart.
    """
    task = record.spec.task
    return f"{task.name}, {task.complexity} {task.level}" if task.complexity else task.name


def by_level(
    records: Sequence[Record], groups: Mapping[str, tuple[float, str]] | None = None
) -> dict[str, list[Record]]:
    """Group runs by task and level.

    Args:
        records: The runs.
        groups: Id of each run -> number and words by which the runs of a level are grouped further.

    Returns:
        Title -> runs; tasks in their order, levels rising.
    """
    groups = groups or {}
    tasks = list(dict.fromkeys(record.spec.task.name for record in records))
    numbers = {id(record): record.spec.task.level for record in records}

    def title(record: Record) -> str:
        own = groups.get(record.id)
        return f"{level_title(record)}, {own[1]}" if own else level_title(record)

    def place(record: Record) -> tuple[int, float, float, str]:
        level, (number, _) = numbers[id(record)], groups.get(record.id, (0.0, ""))
        rank = level if isinstance(level, int | float) else 0
        return tasks.index(record.spec.task.name), rank, number, title(record)

    return {text: list(same) for text, same in groupby(sorted(records, key=place), key=title)}


def thinned(points: Sequence[HistoryPoint], most: int = MOST_POINTS) -> list[HistoryPoint]:
    """Thin a learning curve evenly.

    Args:
        points: The validations.
        most: How many to keep.

    Returns:
        At most that many, the last among them.
    """
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def curve_rows(records: Iterable[Record], names: Iterable[str]) -> Rows:
    """List the points of learning curves.

    Args:
        records: The runs.
        names: The variant of each.

    Returns:
        One row for each validation: variant, run, seed, step, accuracy, loss, validation_loss.
    """
    return [
        {
            "variant": name,
            "run": record.id,
            "seed": record.spec.seed,
            "step": point.step,
            "accuracy": finite(point.accuracy),
            "loss": finite(point.loss),
            "validation_loss": finite(point.validation_loss),
        }
        for record, name in zip(records, names, strict=True)
        for point in thinned(record.history)
    ]


def loss_unit(records: Iterable[Record]) -> str:
    """Tell the unit of the losses of some runs, as a heading ends.

    Args:
        records: The runs.

    Returns:
        Nats where answers are tokens, squared errors where they are numbers; nothing where both occur.
    """
    kinds = {record.squared_errors for record in records}
    return "" if len(kinds) > 1 else ", squared error" if True in kinds else " in nats"


def seed_rows(records: Iterable[Record], names: Iterable[str]) -> Rows:
    """List the accuracies of runs that have one.

    Args:
        records: The runs.
        names: The variant of each.

    Returns:
        One row for each run: variant, level, accuracy, value, run, seed.
    """
    return [
        {
            "variant": name,
            "level": record.spec.task.level,
            "accuracy": record.accuracy.mean,
            "value": percent(record.accuracy.mean),
            "run": record.id,
            "seed": record.spec.seed,
        }
        for record, name in zip(records, names, strict=True)
        if record.status != "failed" and record.accuracy.total
    ]


def finite(value: float | None) -> float | None:
    """A number for JSON: None where it is not finite.

    Args:
        value: The number.
    """
    return value if value is not None and math.isfinite(value) else None
