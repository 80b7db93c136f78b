"""A grid: one task, its variants in rows, its levels in columns, and what is read off the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from attnlab.analysis._draws import Interval, draws_per_row
from attnlab.analysis._panels import Panel
from attnlab.analysis.capacity import BLOCK, Curve, curve, curves, is_known
from attnlab.analysis.cell import Cell, Label
from attnlab.analysis.levels import boundary
from attnlab.analysis.statistics import UNKNOWN, average

LEVELS = (0.5, 0.9)
"""Shares of the way from chance to 1: C50 and C90."""
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

    def levels_run(self, row: Label) -> list[Any]:
        """List the levels that a row was run on: C50 and C90 say nothing of others.

        Args:
            row: The label of the row.

        Returns:
            The levels, rising.
        """
        samples = ((column, cell.share_sample) for column, cell in zip(self.columns, self.across(row), strict=True))
        return [column for column, sample in samples if is_known(sample)]

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
        shares = [average(cell.shares) for cell in cells]
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
