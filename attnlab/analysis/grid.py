"""Observations -> a grid: one row per variant, one column per level, seeds within.

Rows are what tells runs apart that would otherwise share a cell, and is not tuned. Where something is tuned (the
learning rate), each cell takes the value whose runs did best on the validation stream; the test stream is never
chosen by. Where rows are named that tell too little apart, a seed's runs are averaged: it counts once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from attnlab.analysis._observations import Observation, check_field, check_value, observations, varying
from attnlab.analysis._panels import Panel, labels, panels
from attnlab.analysis.statistics import UNKNOWN, Interval, capacities, intervals
from attnlab.records import Record, wilson_interval

Label = tuple[str, ...]
LEVELS = (0.5, 0.9)
"""How far from chance to 1: C50 and C90."""


@dataclass(frozen=True)
class Cell:
    """One variant on one level."""

    values: tuple[float, ...] = ()
    """One for each seed that has it."""
    solved: tuple[bool, ...] = ()
    """One for each run."""
    interval: Interval = UNKNOWN
    chance: float = math.nan
    chosen: str = ""
    """What was tuned, and to what."""
    tried: int = 1
    """How many values of it were tried."""
    failed: int = 0
    """Runs that raised or were lost."""
    diverged: int = 0
    accuracies: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def shares(self) -> list[float]:
        """How far each seed is on the way from chance to 1."""
        span = 1 - self.chance
        return [(value - self.chance) / span if span > 0 else value for value in self.accuracies]


@dataclass(frozen=True)
class Grid:
    """One panel: a task (or a subtask of a mixture), its variants and its levels."""

    panel: Panel
    metric: str
    row_fields: tuple[str, ...]
    column_field: str
    rows: tuple[Label, ...]
    columns: tuple[Any, ...]
    cells: dict[tuple[Label, Any], Cell] = field(repr=False)
    tuned: tuple[str, ...] = ()
    along: tuple[str, ...] = ()
    """Fields that differ between cells, but tell no two rows apart."""
    merged: tuple[str, ...] = ()
    """Fields that differ within cells: a seed's runs are averaged over them."""

    @property
    def title(self) -> str:
        """The task, the member, the level it was trained on."""
        return self.panel.title

    @property
    def is_ladder(self) -> bool:
        """Whether its columns are the levels of a ladder."""
        return self.column_field == "level"

    @property
    def by(self) -> str:
        """What its columns climb: the task's complexity, or the field they were asked to be."""
        return (self.panel.complexity if self.is_ladder else "") or self.column_field

    def across(self, row: Label) -> list[Cell]:
        """The cells of a row; empty ones where it was not run."""
        return [self.cells.get((row, column), Cell()) for column in self.columns]

    def seeds(self) -> set[int]:
        """How many seeds its cells hold."""
        return {len(cell.values) for cell in self.cells.values()}

    def max_solved(self, row: Label) -> Any:
        """The highest level that, like every lower one, at least half of the runs solve; None if not even the first.

        Levels that were never run (an adaptive sweep leaves some out) say nothing; one whose runs all failed ends it.
        """
        reached = None
        for column, cell in zip(self.columns, self.across(row), strict=True):
            if not cell.solved and not cell.failed:
                continue
            if not cell.solved or 2 * sum(cell.solved) < len(cell.solved):
                break
            reached = column
        return reached

    @cached_property
    def capacities(self) -> dict[Label, list[tuple[float, Interval]]]:
        """C50 and C90 of every row, with intervals over seeds; nan where levels are no numbers."""
        if not all(isinstance(column, int | float) for column in self.columns):
            return {row: [(math.nan, UNKNOWN) for _ in LEVELS] for row in self.rows}
        return {row: capacities(self.columns, [cell.shares for cell in self.across(row)], LEVELS) for row in self.rows}


def grids(
    records: Iterable[Record],
    *,
    value: str = "accuracy",
    rows: Sequence[str] = (),
    columns: str = "level",
    tuned: Sequence[str] = (),
) -> list[Grid]:
    """The panels of a set of records.

    Args:
        records: Finished runs; rows stand in their order.
        value: What stands in the cells.
        rows: Fields of a row; none takes all that differ.
        columns: The field of the columns.
        tuned: Fields whose best value on the validation stream is taken, cell by cell.

    Raises:
        UnknownNameError: no such value or field.
    """
    seen = observations(records)
    if not seen:
        return []
    check_value(value, seen, "--value")
    requested = tuple(check_field(name, seen, "--rows") for name in rows)
    column = check_field(columns, seen, "--columns")
    keys = tuple(check_field(name, seen, "tune") for name in tuned)
    keys = tuple(key for key in keys if key not in (*requested, column))
    result = panels(seen, (*requested, column))
    differing = [name for name in varying(seen) if name not in (*keys, column)]
    told, along, merged = labels(result, differing, requested, column, keys)
    return [_grid(panel, value, told, column, keys, along, merged) for panel in result]


def _grid(
    panel: Panel,
    value: str,
    rows: tuple[str, ...],
    column: str,
    tuned: tuple[str, ...],
    along: tuple[str, ...],
    merged: tuple[str, ...],
) -> Grid:
    """One panel."""
    groups: dict[tuple[Label, Any], dict[Label, list[Observation]]] = {}
    for one in panel.observations:
        label, candidate = (tuple(word(one.get(name)) for name in names) for names in (rows, tuned))
        groups.setdefault((label, _plain(one.get(column))), {}).setdefault(candidate, []).append(one)
    cells = {where: _cell(candidates, value, tuned) for where, candidates in groups.items()}
    if value == "solved" and not merged:
        ends = [wilson_interval(round(sum(cell.values)), len(cell.values)) for cell in cells.values()]
    else:
        ends = intervals([cell.values for cell in cells.values()])
    cells = {where: replace(cells[where], interval=interval) for where, interval in zip(cells, ends, strict=True)}
    order = sorted({column for _, column in cells}, key=lambda result: (isinstance(result, str), result or 0))
    told = tuple(dict.fromkeys(label for label, _ in cells))
    return Grid(panel, value, rows, column, told, tuple(order), cells, tuned, along, merged)


def _cell(candidates: dict[Label, list[Observation]], value: str, tuned: Sequence[str]) -> Cell:
    """The seeds of the candidate that did best on the validation stream; the first of several that did equally well."""
    best = max(candidates, key=lambda candidate: validated(candidates[candidate]))
    runs = sorted(candidates[best], key=lambda one: one.record.spec.seed)
    alive = [one for one in runs if not one.failed]
    return Cell(
        values=_by_seed(alive, value),
        solved=tuple(bool(one.value("solved")) for one in alive),
        chance=float(np.mean([one.chance for one in alive])) if alive else math.nan,
        chosen=", ".join(f"{name} {word}" for name, word in zip(tuned, best, strict=True)),
        tried=len(candidates),
        failed=len(runs) - len(alive),
        diverged=sum(one.record.status == "diverged" for one in alive),
        accuracies=_by_seed(alive, "accuracy"),
    )


def validated(runs: Sequence[Observation]) -> float:
    """Mean accuracy on the validation stream: a run that diverged got nothing right, one that failed says nothing."""
    lines = [max(0.0, one.record.validation_accuracy) for one in runs if not one.failed]
    return sum(lines) / len(lines) if lines else -math.inf


def word(value: Any) -> str:
    """A field's value, in a table."""
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None or value == "" else str(value)


def _by_seed(runs: Sequence[Observation], value: str) -> tuple[float, ...]:
    """A number for each seed, the mean of its runs."""
    result: dict[int, list[float]] = {}
    for one in runs:
        if not math.isnan(number := one.value(value)):
            result.setdefault(one.record.spec.seed, []).append(number)
    return tuple(sum(numbers) / len(numbers) for numbers in result.values())


def _plain(value: Any) -> Any:
    """A column that can be sorted: numbers and words."""
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else word(value)
