"""Verdicts on the complexity grid: the commonest of each cell's seeds, how many share it, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.analysis.failure_modes import FAILURE_MODES, FailureMode, failure_mode
from attnlab.analysis.grid import Grid, Label, grids
from attnlab.config.experiment import Experiment
from attnlab.records import Record
from attnlab.rendering._text_table import Aligned, Entry, entry

Shares = dict[str, float]
"""Verdicts of a cell, and how many seeds got each."""
COLORS = {"solved": "green", "length only": "yellow", "failed": "red", "optimization failure": "red"}


class Why(NamedTuple):
    """A verdict, with one run for instance."""

    mode: str
    runs: str
    """How many got it."""
    evidence: str
    run: str


@dataclass(frozen=True)
class FailureModeTable:
    """The runs of a store by what became of them."""

    panels: tuple[Grid, ...]
    shares: tuple[dict[tuple[Label, Any], Shares], ...]
    """For each panel, by row and column."""
    modes: tuple[tuple[Record, FailureMode], ...]

    def __rich__(self) -> RenderableType:
        """One grid per task, then the evidence of one run for each verdict but solved."""
        return Group(*map(_panel, self.panels, self.shares), _why(self.evidence()))

    def evidence(self) -> list[Why]:
        """For each verdict that was given the first run that got it, and how many did."""
        result = []
        for kind in FAILURE_MODES:
            same = [(record, one) for record, one in self.modes if one.name == kind]
            if same:
                record, one = same[0]
                hidden = f" Not watched: {', '.join(one.missing_diagnostics)}." if one.missing_diagnostics else ""
                run = f"{record.id}  {record.spec.summary}"
                result.append(Why(kind, str(len(same)), f"{one.evidence}.{hidden}", run))
        return result

    def data(self) -> list[dict[str, Any]]:
        """One row per run."""
        return [
            {
                "id": record.id,
                "task": record.spec.task.name,
                "attention": record.spec.variant,
                "position": str(record.spec.model.position),
                "level": record.spec.task.level,
                "seed": record.spec.seed,
                "verdict": mode.name,
                "evidence": mode.evidence,
                "unwatched": list(mode.missing_diagnostics),
            }
            for record, mode in self.modes
        ]


def failure_mode_table(
    records: Sequence[Record],
    experiment: Experiment | None = None,
    *,
    rows: Sequence[str] = (),
    columns: str | None = None,
) -> FailureModeTable:
    """The verdicts on a set of records.

    Args:
        records: Finished runs.
        experiment: What they were run for: its tuned keys and layout.
        rows: Fields of a row; none takes all that differ.
        columns: The field of the columns; None takes complexity.

    Raises:
        UnknownNameError: no such field.
    """
    layout = experiment.report if experiment else None
    mode = [(record, failure_mode(record)) for record in records]
    by_row = rows or (layout.index if layout else ())
    by_column = columns or (layout.columns if layout else "level")
    tuned = experiment.tuned if experiment else ()
    # Each verdict goes through the grid as a number, 1 where it was given and 0 where not: so rows, columns and tuning
    # are those of every report.
    given = [
        record.model_copy(
            update={"evaluations": (), "diagnostics": {kind: float(kind == one.name) for kind in FAILURE_MODES}}
        )
        for record, one in mode
    ]
    kinds = [kind for kind in FAILURE_MODES if kind != "failed" and any(one.name == kind for _, one in mode)] or [
        FAILURE_MODES[0]
    ]
    by_kind = {kind: grids(given, value=kind, rows=by_row, columns=by_column, tuned=tuned) for kind in kinds}
    panels = next(iter(by_kind.values()), [])
    shares = [
        {place: {kind: sum(by_kind[kind][index].cells[place].values) for kind in kinds} for place in panel.cells}
        for index, panel in enumerate(panels)
    ]
    return FailureModeTable(tuple(panels), tuple(shares), tuple(mode))


def counted(shares: Shares, failed: int) -> Shares:
    """What became of the runs of a cell, those that failed among them."""
    return {**shares, "failed": float(failed)}


def commonest(counts: Shares) -> str:
    """The commonest verdict, of equally common ones the first listed; empty where there are no runs."""
    return max(counts, key=lambda kind: counts[kind]) if sum(counts.values()) else ""


def _panel(panel: Grid, shares: dict[tuple[Label, Any], Shares]) -> Aligned:
    rows = [
        (
            row,
            [
                _cell(counted(shares.get((row, column), {}), cell.failed))
                for column, cell in zip(panel.columns, panel.across(row), strict=True)
            ],
        )
        for row in panel.rows
    ]
    title = Text.assemble((panel.title, "bold"), (f"  verdict by {panel.by}", "dim"))
    return Aligned(panel.row_fields, [str(column) for column in panel.columns], rows, title)


def _cell(counts: Shares) -> Entry:
    """The commonest verdict, and how many of the seeds share it."""
    if not (name := commonest(counts)):
        return entry("-", style="dim")
    return entry(name, f"{counts[name]:g} of {sum(counts.values()):g}", style=COLORS.get(name, ""))


def _why(lines: Sequence[Why]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=Text("why, for one run of each", style="dim"), title_justify="left")
    table.collapse_padding = True
    table.add_column("verdict", no_wrap=True)
    table.add_column("runs", justify="right")
    table.add_column("for instance", overflow="fold")
    for one in lines:
        said = Text.assemble(f"{one.evidence}\n", (one.run, "dim"))
        table.add_row(Text(one.mode, style=COLORS.get(one.mode, "")), one.runs, said)
    return table
