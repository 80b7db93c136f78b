"""Comparisons of the rows of a panel, on the runs that stand in its cells; and the rows that comparisons are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attnlab.analysis.cell import Label
from attnlab.analysis.comparisons import BySeed, Comparison, Question
from attnlab.analysis.grid import Grid
from attnlab.analysis.grids import field_text
from attnlab.records import Record

Runs = dict[Any, dict[int, Record]]
"""Level -> seed -> record."""


def panel_comparisons(panel: Grid, question: Question) -> tuple[Comparison, ...]:
    """Compare each row of a ladder with the first.

    Where fields are tuned, a cell has the runs of the chosen values. Where runs were trained once and tested on all
    levels, a record stands for each level that it was tested on, with the accuracy there.

    Args:
        panel: A ladder.
        question: What is asked.

    Returns:
        One comparison for each row but the first; none where the runs of a seed are averaged.
    """
    if panel.merged:
        return ()
    first, *others = panel.rows
    runs = _runs(panel)
    names = {row: " ".join(row) for row in panel.rows}
    return tuple(
        Comparison(
            panel.title,
            names[row],
            names[first],
            panel.columns,
            runs.get(row, {}),
            runs.get(first, {}),
            question,
        )
        for row in others
    )


def decided_pairs(panel: Grid, comparisons: Iterable[Comparison]) -> list[tuple[Label, Label]]:
    """Find the rows of which comparisons say that one is ahead of the other.

    Args:
        panel: A ladder.
        comparisons: Comparisons of variants; those of other ladders say nothing of it. Where fields are tuned, neither
            does one of which a run stands in no cell: it compares values that were not chosen.

    Returns:
        Pairs of rows, of which the first is ahead.
    """
    rows = {
        record.id: row
        for row, levels in _runs(panel).items()
        for by_seed in levels.values()
        for record in by_seed.values()
    }
    found = []
    for one in comparisons:
        ours, theirs = (_row(side, rows) for side in (one.ours, one.theirs))
        if ours and theirs and one.outcome in ("ahead", "behind"):
            found.append((ours, theirs) if one.outcome == "ahead" else (theirs, ours))
    return found


def _row(side: Mapping[Any, BySeed], rows: Mapping[str, Label]) -> Label | None:
    """The row that has all runs of one side of a comparison; None where there is none."""
    found = {rows.get(record.id) for by_seed in side.values() for record in by_seed.values()}
    return found.pop() if len(found) == 1 else None


def _runs(panel: Grid) -> dict[Label, Runs]:
    """The records in the cells of each row."""
    found: dict[Label, Runs] = {}
    for one in panel.panel.observations:
        if one.failed:
            continue
        row = tuple(field_text(one.get(name)) for name in panel.row_fields)
        level = one.get(panel.column_field)
        values = ", ".join(f"{name} {field_text(one.get(name))}" for name in panel.tuned)
        cell = panel.cells.get((row, level))
        if cell is None or (panel.tuned and cell.chosen != values):
            continue
        record = one.record
        if one.evaluation is not None:
            record = record.model_copy(update={"accuracy": one.evaluation.accuracy})
        found.setdefault(row, {}).setdefault(level, {})[record.spec.seed] = record
    return found
