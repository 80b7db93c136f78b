"""Observations -> a grid: one row per variant, one column per level, the seeds in each cell.

Rows are named by the fields that distinguish runs which would otherwise share a cell, except for tuned fields. Where a
field is tuned (the learning rate), each cell takes the value with the best validation accuracy; the test split is never
used to choose. Where the requested fields do not distinguish all runs, the runs of a seed are averaged: a seed counts
once.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from attnlab.analysis._draws import SHARE, Interval, Sample, draws_per_row
from attnlab.analysis._observations import (
    Observation,
    accuracy_bounds,
    check_field,
    check_metric,
    metric_bounds,
    observations,
    varying,
)
from attnlab.analysis._panels import Panel, labels, panels
from attnlab.analysis.capacity import BLOCK, Curve, curve, curves
from attnlab.analysis.levels import boundary, half_solved, share_above_chance, share_sample
from attnlab.analysis.statistics import UNKNOWN, LazyIntervals
from attnlab.analysis.time_to_solve import TIME_METRICS, SolveTimes
from attnlab.errors import InvalidValueError
from attnlab.records import SOLVED, Record

LEVELS = (0.5, 0.9)
"""Shares of the way from chance to 1: C50 and C90."""


Label = tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One variant on one level."""

    values: tuple[float, ...] = ()
    """The metric, one number for each seed that has it."""
    solved: tuple[bool, ...] = ()
    """Whether each run is solved."""
    bounds: Interval | None = None
    """The lowest and the highest value that the metric can have here; None where it is unbounded."""
    solve_rates: tuple[float, ...] = ()
    """The share of the runs of each seed that are solved: 0 or 1, unless the runs of a seed are averaged."""
    chance: float = math.nan
    chosen: str = ""
    """The tuned fields and their chosen values."""
    tried: int = 1
    """How many combinations of tuned values were tried."""
    failed: int = 0
    """Runs that failed."""
    diverged: int = 0
    """Runs that diverged."""
    accuracies: tuple[float, ...] = ()
    """The accuracy of each seed."""
    seeds: tuple[int, ...] = ()
    """The seeds of the accuracies."""
    candidates: tuple[tuple[Label, float], ...] = ()
    """The tuned values that were tried, with their validation accuracies; none where nothing was chosen."""
    times: SolveTimes | None = None
    """The times until the runs were solved, where the metric is one; its mean counts other runs with their budget."""
    place: int = field(default=0, compare=False, repr=False)
    """Its place among the cells of the panel, whose intervals are computed when they are first asked for."""
    ends: LazyIntervals | None = field(default=None, compare=False, repr=False)
    solving: LazyIntervals | None = field(default=None, compare=False, repr=False)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the mean, over seeds."""
        return UNKNOWN if self.ends is None else self.ends[self.place]

    @property
    def solve_interval(self) -> Interval:
        """The 95 % interval of P(solve), the probability that a run is solved."""
        return UNKNOWN if self.solving is None else self.solving[self.place]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def interval_kind(self) -> str:
        """Whose interval it is: ``gaffke`` of a bounded metric, ``student`` of an unbounded one; empty without one."""
        return "" if math.isnan(self.interval[0]) else "student" if self.bounds is None else "gaffke"

    @property
    def solve_rate(self) -> float:
        """The share of runs that are solved, averaged over seeds; an estimate of P(solve)."""
        return float(np.mean(self.solve_rates)) if self.solve_rates else math.nan

    @cached_property
    def share_sample(self) -> Sample:
        """The shares with their bounds and seeds, for intervals."""
        return share_sample(self.accuracies, self.chance, self.seeds)

    @cached_property
    def shares(self) -> list[float]:
        """The accuracy of each seed as a share of the way from chance to 1."""
        return [share_above_chance(accuracy, self.chance) for accuracy in self.accuracies]

    @property
    def passed(self) -> bool | None:
        """Whether at least half of the runs solve the level; None where there is no run, false where all failed."""
        if not self.solved:
            return False if self.failed else None
        return half_solved(self.solved)


_EMPTY = Cell()


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
    """Fields that differ between cells, but distinguish no two rows."""
    merged: tuple[str, ...] = ()
    """Fields that differ within cells: the runs of a seed are averaged over them."""

    @property
    def title(self) -> str:
        """The task, the subtask, the level it was trained on."""
        return self.panel.title

    @property
    def is_ladder(self) -> bool:
        """Whether its columns are the levels of a ladder."""
        return self.column_field == "level"

    @property
    def by(self) -> str:
        """The name of the column values: the option that the levels set, or the field of the columns."""
        return (self.panel.complexity if self.is_ladder else "") or self.column_field

    def across(self, row: Label) -> list[Cell]:
        """List the cells of a row.

        Args:
            row: The label of the row.

        Returns:
            One cell per column; an empty one where the row was not run.
        """
        return [self.cells.get((row, column), _EMPTY) for column in self.columns]

    def seeds(self) -> set[int]:
        """How many seeds the cells hold."""
        return {len(cell.values) for cell in self.cells.values()}

    def max_solved(self, row: Label) -> Any:
        """Find the highest level that, like every lower one, at least half of the runs solve.

        Levels that were not run (a sweep until decided leaves some out) are skipped. A level on which all runs failed
        counts as not solved.

        Args:
            row: The label of the row.

        Returns:
            The level; None if there is none.
        """
        highest, _ = boundary([cell.passed for cell in self.across(row)])
        return self.columns[highest] if highest >= 0 else None

    def rises(self, row: Label) -> tuple[Any, ...]:
        """Find the levels on which a row is worse than on a higher one, by what the table reads off it.

        Args:
            row: The label of the row.

        Returns:
            The levels that are not solved, or on which the accuracy is below 50 % or 90 % of the way from chance to 1,
            while it is not so on a higher level; empty where the row falls with the level as C50 and C90 assume.
        """
        cells = self.across(row)
        shares = [sum(cell.shares) / len(cell.shares) if cell.shares else math.nan for cell in cells]
        tests = [[cell.passed for cell in cells]]
        tests += [[None if math.isnan(share) else share >= level for share in shares] for level in LEVELS]
        found = {
            index for passed in tests for index, one in enumerate(passed) if one is False and True in passed[index:]
        }
        return tuple(self.columns[index] for index in sorted(found))

    @cached_property
    def capacities(self) -> dict[Label, list[tuple[float, Interval]]]:
        """C50 and C90 of every row, with intervals over seeds; nan where levels are not numbers."""
        return self.capacities_of(self.rows)

    def capacities_of(self, rows: Sequence[Label]) -> dict[Label, list[tuple[float, Interval]]]:
        """Compute C50 and C90 of some rows.

        Args:
            rows: The labels of the rows.

        Returns:
            Both of each row, with their intervals over seeds; nan where levels are not numbers.
        """
        known = self._known_capacities
        if not self.has_curves:
            return {row: [(math.nan, UNKNOWN) for _ in LEVELS] for row in rows}
        new, draws = [row for row in rows if row not in known], draws_per_row(len(self.rows))
        for start in range(0, len(new), BLOCK):
            block = new[start : start + BLOCK]
            fitted = curves(self.columns, [[cell.share_sample for cell in self.across(row)] for row in block], draws)
            known.update(
                (row, [one.capacity(level) for level in LEVELS]) for row, one in zip(block, fitted, strict=True)
            )
        return {row: known[row] for row in rows}

    @cached_property
    def _known_capacities(self) -> dict[Label, list[tuple[float, Interval]]]:
        return {}

    @property
    def has_curves(self) -> bool:
        """Whether there are rows, and their levels are numbers, so that a monotone fit has a meaning."""
        return bool(self.rows) and all(isinstance(column, int | float) for column in self.columns)

    def curve(self, row: Label) -> Curve:
        """Fit the accuracy of a row.

        Args:
            row: The label of the row.

        Returns:
            The monotone fit with its draws, which are not kept: those of a thousand rows take some hundred megabytes.
        """
        draws = draws_per_row(len(self.rows))
        return curve(self.columns, [cell.share_sample for cell in self.across(row)], draws)


def grids(
    records: Iterable[Record],
    *,
    metric: str = "accuracy",
    index: Sequence[str] = (),
    columns: str = "level",
    tuned: Sequence[str] = (),
) -> list[Grid]:
    """Arrange records in panels.

    Args:
        records: Finished runs; the rows are in their order.
        metric: The metric in the cells.
        index: Fields of a row; none takes all that differ.
        columns: The field of the columns.
        tuned: Fields of which each cell takes the value with the best validation accuracy.

    Returns:
        One grid per panel; none without records.

    Raises:
        UnknownNameError: There is no such metric or field.
        InvalidValueError: Times to solve would be averaged over the runs of a seed.
    """
    observed = observations(records)
    if not observed:
        return []
    check_metric(metric, observed, "--metric")
    requested = tuple(check_field(name, observed, "--index") for name in index)
    column = check_field(columns, observed, "--columns")
    keys = tuple(check_field(name, observed, "tune") for name in tuned)
    keys = tuple(key for key in keys if key not in (*requested, column))
    shown = panels(observed, (*requested, column))
    differing = [name for name in varying(observed) if name not in (*keys, column)]
    row_fields, along, merged = labels(shown, differing, requested, column, keys)
    if merged and metric in TIME_METRICS:
        problem = f"The runs of a seed differ in {' and '.join(merged)}, and times that may be censored have no mean."
        raise InvalidValueError(problem, f"Add {','.join(merged)} to --index.", where=f"--metric {metric}")
    return [_grid(panel, metric, row_fields, column, keys, along, merged) for panel in shown]


def _grid(
    panel: Panel,
    metric: str,
    row_fields: tuple[str, ...],
    column_field: str,
    tuned: tuple[str, ...],
    along: tuple[str, ...],
    merged: tuple[str, ...],
) -> Grid:
    """One panel."""
    groups: dict[tuple[Label, Any], dict[Label, list[Observation]]] = {}
    alike: dict[Hashable, list[Observation]] = {}  # of equal fields: these name the same cell and candidate
    by_seed = "seed" in (*row_fields, *tuned, column_field)
    for one in panel.observations:
        key = (id(one.settings), one.level, one.trained, one.subtask, by_seed and one.record.spec.seed)
        group = alike.get(key)
        if group is None:
            label, candidate = (tuple(field_text(one.get(name)) for name in names) for names in (row_fields, tuned))
            cell = groups.setdefault((label, _sortable(one.get(column_field))), {})
            group = alike[key] = cell.setdefault(candidate, [])
        group.append(one)
    cells = {key: _cell(candidates, metric, tuned) for key, candidates in groups.items()}
    ends = LazyIntervals([Sample(cell.values, cell.bounds) for cell in cells.values()])
    solving = LazyIntervals([Sample(cell.solve_rates, SHARE) for cell in cells.values()])
    cells = {
        key: replace(cell, place=place, ends=ends, solving=solving) for place, (key, cell) in enumerate(cells.items())
    }
    columns = sorted({column for _, column in cells}, key=lambda column: (isinstance(column, str), column or 0))
    rows = _ordered(dict.fromkeys(label for label, _ in cells))
    return Grid(panel, metric, row_fields, column_field, rows, tuple(columns), cells, tuned, along, merged)


def _ordered(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Rows in their order; where a field has numbers alone, these rise among rows that are equal in the others."""
    rows = list(labels)
    fields = [list(dict.fromkeys(field)) for field in zip(*rows, strict=True)]
    rising = [field if any(map(math.isnan, map(_number, field))) else sorted(field, key=_number) for field in fields]
    if rising == fields:
        return tuple(rows)
    places = [{text: place for place, text in enumerate(field)} for field in rising]
    return tuple(sorted(rows, key=lambda row: tuple(map(dict.__getitem__, places, row))))


def _number(text: str) -> float:
    """The number that the text of a field is; a field without a value comes last, and nan is that of other text."""
    try:
        return math.inf if text == "-" else float(text)
    except ValueError:
        return math.nan


def _cell(candidates: dict[Label, list[Observation]], metric: str, tuned: Sequence[str]) -> Cell:
    """The seeds of the candidate with the best validation accuracy; the first of several that are equal."""
    best, scores = next(iter(candidates)), dict[Label, float]()
    if len(candidates) > 1:
        scores = {candidate: mean_validation_accuracy(own) for candidate, own in candidates.items()}
        best = max(scores, key=lambda candidate: scores[candidate])
    runs = sorted(candidates[best], key=lambda one: one.record.spec.seed)
    finished = [one for one in runs if one.record.status != "failed"]
    seeds = [one.record.spec.seed for one in finished]
    tested = [(one.evaluation or one.record).accuracy for one in finished]
    measured = [score.mean for score in tested]
    solved = tuple(
        number >= SOLVED and one.record.status == "done" for one, number in zip(finished, measured, strict=True)
    )
    accuracies = _by_seed(seeds, measured)
    numbers = measured if metric == "accuracy" else [one.metric(metric) for one in finished]
    values = accuracies if metric == "accuracy" else _by_seed(seeds, numbers)
    chances = [score.chance for score in tested]
    bounds = accuracy_bounds(chances, measured) if metric == "accuracy" else metric_bounds(metric, finished, numbers)
    return Cell(
        values=tuple(values.values()),
        bounds=bounds,
        solve_rates=tuple(_by_seed(seeds, list(map(float, solved))).values()),
        solved=solved,
        chance=_mean(tuple(chances)) if finished else math.nan,
        chosen=", ".join(f"{name} {value}" for name, value in zip(tuned, best, strict=True)),
        tried=len(candidates),
        candidates=tuple(scores.items()),
        failed=len(runs) - len(finished),
        diverged=sum(one.record.status == "diverged" for one in finished),
        accuracies=tuple(accuracies.values()),
        seeds=tuple(accuracies),
        times=_times(numbers, solved) if metric in TIME_METRICS else None,
    )


def _times(numbers: Sequence[float], solved: Sequence[bool]) -> SolveTimes:
    """The times of those runs that have one."""
    known = [pair for pair in zip(numbers, solved, strict=True) if not math.isnan(pair[0])]
    return SolveTimes(tuple(time for time, _ in known), tuple(one for _, one in known))


@lru_cache(maxsize=4096)
def _mean(numbers: tuple[float, ...]) -> float:
    """The mean of the chances of a cell, which are those of many other cells too."""
    return float(np.mean(numbers))


def mean_validation_accuracy(runs: Sequence[Observation]) -> float:
    """Average the accuracy at the last validation.

    Args:
        runs: Observations of the runs of one candidate.

    Returns:
        The mean; a diverged run counts as 0, a failed one is left out. -inf without runs.
    """
    accuracies = [max(0.0, one.record.validation_accuracy) for one in runs if not one.failed]
    return sum(accuracies) / len(accuracies) if accuracies else -math.inf


def field_text(value: Any) -> str:
    """Format the value of a field for a table.

    Args:
        value: The value.

    Returns:
        The value as text; a dash for None and for empty text.
    """
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None or value == "" else str(value)


def _by_seed(seeds: Sequence[int], numbers: Sequence[float]) -> dict[int, float]:
    """The mean of the numbers of each seed; nan is left out."""
    known = {seed: number for seed, number in zip(seeds, numbers, strict=True) if number == number}
    if len(known) == len(numbers):
        return known
    by_seed: dict[int, list[float]] = {}
    for seed, number in zip(seeds, numbers, strict=True):
        if not math.isnan(number):
            by_seed.setdefault(seed, []).append(number)
    return {seed: sum(own) / len(own) for seed, own in by_seed.items()}


def _sortable(value: Any) -> Any:
    """A column value that can be sorted: a number or text."""
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else field_text(value)
