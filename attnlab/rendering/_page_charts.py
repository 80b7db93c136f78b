"""The charts of the HTML page: compiled definitions, tables of data, and the figures that show them.

Definitions and tables are stored once and named by their index; a chart is a pair of them, under the key that a figure
asks for. The key of a figure may have the choices of its section in braces, as ``curves|3|{measure}``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from attnlab.analysis.cell import Cell
from attnlab.analysis.grid import Grid
from attnlab.analysis.statistics import Interval
from attnlab.charts import runs as charts
from attnlab.formatting import SHARES, between, metric_heading
from attnlab.records import Record
from attnlab.rendering import _run_rows as run_rows
from attnlab.rendering._cell_text import center, center_text, spread_text
from attnlab.rendering._page_axis import PageAxis
from attnlab.rendering._run_rows import Rows
from attnlab.rendering._vega import compiled

TALL, LOW = 260, 170
"""Heights of charts in pixels."""
DIGITS = 5


class Figure(NamedTuple):
    """A chart on the page."""

    key: str
    title: str
    note: str = ""
    height: int = LOW


@dataclass
class Charts:
    """What the script of the page draws; filled by the functions of this module."""

    variants: charts.Variants
    runs: Sequence[str]
    """Ids of the runs, in the order of the page's data."""
    specs: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    charts: dict[str, dict[str, int]] = field(default_factory=dict)
    curves: list[int] = field(default_factory=list)
    """The tables of learning curves."""
    _known: dict[str, int] = field(default_factory=dict)

    def spec(self, definition: dict[str, Any], height: int) -> int:
        """Compile a definition, unless it is known."""
        key = json.dumps([definition, height], sort_keys=True)
        if key not in self._known:
            self._known[key] = len(self.specs)
            self.specs.append(compiled(definition, height))
        return self._known[key]

    def table(self, rows: Rows) -> int:
        """Store rows by column: variants and runs as indices, other numbers with few digits."""
        columns = list(rows[0]) if rows else []
        indices = {name: index for index, name in enumerate(self.variants.names)}
        runs = {run: index for index, run in enumerate(self.runs)}
        ways = {"variant": indices.get, "run": runs.get}
        stored = [[ways.get(name, _short)(row[name]) for name in columns] for row in rows]
        self.tables.append({"columns": columns, "rows": stored})
        return len(self.tables) - 1

    def add(self, key: str, spec: int, table: int) -> None:
        """Store a chart."""
        self.charts[key] = {"spec": spec, "table": table}


def level_figures(drawn: Charts, panels: Sequence[Grid]) -> list[Figure]:
    """Draw the metric of the report by level.

    Args:
        drawn: Where the charts are stored.
        panels: The panels of the report.

    Returns:
        One figure for each panel that has numbers.
    """
    figures = []
    for index, panel in enumerate(panels):
        rows = points(panel, drawn.variants.names)
        if rows:
            share = panel.metric in SHARES
            spec = charts.accuracy_by_level(
                drawn.variants,
                panel.columns,
                panel.by,
                panel.metric,
                share=share,
                beside=are_beside(rows),
                lowest=lowest(rows),
            )
            drawn.add(f"levels|{index}", drawn.spec(spec, TALL), drawn.table(rows))
            note = f"{metric_heading(panel.metric)}, by {panel.by}"
            figures.append(Figure(f"levels|{index}", panel.title, note, TALL))
    return figures


def are_beside(rows: Rows) -> bool:
    """Tell whether several variants have points at one level.

    Args:
        rows: The points.
    """
    pairs = {(row["level"], row["variant"]) for row in rows}
    return len({level for level, _ in pairs}) < len(pairs)


def lowest(rows: Rows) -> float:
    """Find where an axis begins that has all points and their bars, and 0.

    Args:
        rows: The points.
    """
    return min([0.0, *(row[end] for row in rows for end in ("mean", "low") if row[end] is not None)])


def points(panel: Grid, names: Sequence[str] = ()) -> Rows:
    """List the points of a panel.

    Args:
        panel: The panel.
        names: All variants of the report, which share the room beside a level; none takes those of the panel.

    Returns:
        One point per cell that holds runs.
    """
    names = names or [" ".join(row) for row in panel.rows]
    result = []
    for row in panel.rows:
        name = " ".join(row)
        for column, cell in zip(panel.columns, panel.across(row), strict=True):
            if not cell.values:
                continue
            low, high = _ends(cell)
            place = {"level": column, "at": charts.spread(panel.columns, column, names.index(name), len(names))}
            middle = center(cell)
            if cell.times and math.isinf(middle):  # it is drawn at the time that it is known to be later than
                middle = cell.times.unsolved_until
            ends = {"mean": middle, "low": low, "high": high, "chance": run_rows.finite(cell.chance)}
            unit = " %" if panel.metric in SHARES else ""
            texts = {"value": center_text(cell, panel.metric) + unit, "interval": _spread_text(cell, panel.metric)}
            counts = {"seeds": len(cell.values), "solved": sum(cell.solved)}
            result.append({"variant": name, **place, **ends, **counts, **texts})
    return result


def _ends(cell: Cell) -> Interval:
    """The interval of a mean; without one, the range of the seeds."""
    numbers = cell.times.times if cell.times else cell.values
    if math.isnan(cell.interval[0]):
        return min(numbers), max(numbers)
    if cell.times:
        low, high = cell.times.interval
        return low, min(high, max(numbers))
    return cell.interval


def _spread_text(cell: Cell, metric: str) -> str:
    """The interval of a mean, or the range of several seeds that allow no interval."""
    if cell.times:
        return spread_text(cell, metric)
    if math.isnan(cell.interval[0]) and len(cell.values) > 1:
        return f"range {between(_ends(cell), metric)}"
    return between(cell.interval, metric)


def seed_figures(drawn: Charts, axis: PageAxis, records: Sequence[Record]) -> list[Figure]:
    """Draw the accuracy of every run on its own level, or along the axis of the page.

    Args:
        drawn: Where the charts are stored.
        axis: The axis of the page.
        records: The runs.

    Returns:
        One figure for each task of which a variant has several seeds.
    """
    figures = []
    titles = {
        panel.panel.task: panel.by for panel in reversed(axis.panels) if panel.is_ladder and not panel.panel.subtask
    }
    for index, task in enumerate(dict.fromkeys(record.spec.task.name for record in records)):
        own = [pair for pair in zip(records, axis.names, strict=True) if pair[0].spec.task.name == task]
        rows = run_rows.seed_rows([record for record, _ in own], [name for _, name in own])
        for row in rows:
            row["level"] = axis.places.get(row["run"], row["level"])
        if len({row["seed"] for row in rows}) < 2 or any(row["level"] is None for row in rows):
            continue
        shown = {row["level"] for row in rows}
        levels = sorted(shown, key=lambda level: (isinstance(level, str), level))
        if axis.by:
            columns = dict.fromkeys(column for panel in axis.panels for column in panel.columns)
            levels = sorted(shown, key=list(columns).index)
        for row in rows:
            position = drawn.variants.names.index(row["variant"])
            row["at"] = charts.spread(levels, row["level"], position, len(drawn.variants.names))
        by = axis.by or titles.get(task, "level")
        spec = charts.accuracy_of_seeds(drawn.variants, levels, by, beside=are_beside(rows))
        drawn.add(f"seeds|{index}", drawn.spec(spec, TALL), drawn.table(rows))
        figures.append(Figure(f"seeds|{index}", task, f"accuracy in % of each run, by {by}", TALL))
    return figures


def curve_figures(drawn: Charts, axis: PageAxis, records: Sequence[Record]) -> list[Figure]:
    """Draw the learning curves of all runs, one small chart for each level or value of the axis.

    Args:
        drawn: Where the charts are stored.
        axis: The axis of the page.
        records: The runs, with their whole histories.

    Returns:
        One figure for each level.
    """
    name_of = {id(record): name for record, name in zip(records, axis.names, strict=True)}
    figures: list[Figure] = []
    for title, same in run_rows.by_level(records, axis.groups).items():
        rows = run_rows.curve_rows(same, [name_of[id(record)] for record in same])
        if not rows:
            continue
        index = len(figures)
        table = drawn.table(rows)
        drawn.curves.append(table)
        unit = run_rows.loss_unit(same)
        for column, what, share in charts.CURVES:
            heading = what if share else f"{what}{unit}"
            spec = charts.curves_of_runs(drawn.variants, column, heading, share=share)
            drawn.add(f"curves|{index}|{column}", drawn.spec(spec, LOW), table)
        figures.append(Figure(f"curves|{index}|{{measure}}", title))
    return figures


def _short(value: Any) -> Any:
    """A number with few digits; all else as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
