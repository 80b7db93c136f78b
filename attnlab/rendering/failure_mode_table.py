"""Failure modes on the complexity grid: those of each cell, how many seeds have each, and the evidence.

A failure mode that cannot be told from another is counted under both names: ``capacity or undertrained``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.analysis.cell import Label
from attnlab.analysis.failure_modes import FAILURE_MODES, OR, FailureMode, failure_mode
from attnlab.analysis.grid import Grid
from attnlab.analysis.grids import grids
from attnlab.config.experiment import Experiment
from attnlab.records import Record, distinct
from attnlab.rendering._text_table import Line, TextTable, cell_text
from attnlab.run_labels import RunLabels

Counts = dict[str, float]
"""How many seeds of a cell have each failure mode, by its label."""
CellCounts = dict[tuple[Label, Any], Counts]
"""The counts of each cell of a panel, by row and column."""
COLORS = {"solved": "green", "no length generalization": "yellow", "failed": "red", "optimization failure": "red"}


class Evidence(NamedTuple):
    """A failure mode, with one run as an example."""

    mode: str
    runs: str
    """How many runs have it."""
    evidence: str
    run: str


@dataclass(frozen=True)
class FailureModeTable:
    """The runs of a store by their failure modes."""

    panels: tuple[Grid, ...]
    counts: tuple[CellCounts, ...]
    """One per panel."""
    modes: tuple[tuple[Record, FailureMode], ...]

    def __rich__(self) -> RenderableType:
        """One grid per task, then the evidence of one run for each failure mode."""
        return Group(*map(_panel, self.panels, self.counts), _evidence_table(self.evidence()))

    def evidence(self) -> list[Evidence]:
        """For each failure mode that occurs, the first run that has it, and how many do."""
        result = []
        run_labels = RunLabels(record.spec for record, _ in self.modes)
        for label in _labels([mode for _, mode in self.modes]):
            same = [(record, mode) for record, mode in self.modes if mode.label == label]
            record, mode = same[0]
            run = f"{record.id}  {run_labels.of(record.spec)}"
            evidence = f"{mode.evidence}.{_probes(record, mode)}{_not_logged(mode.missing_diagnostics)}"
            result.append(Evidence(label, str(len(same)), evidence, run))
        return result

    def runs(self) -> list[dict[str, Any]]:
        """One row per run, as plain data."""
        return [
            {
                "id": record.id,
                "task": record.spec.task.name,
                "attention": record.spec.variant,
                "position": str(record.spec.model.position) if record.spec.model.module is None else "",
                "level": record.spec.task.level,
                "seed": record.spec.seed,
                "failure_mode": mode.name,
                "alternative": mode.alternative,
                "evidence": mode.evidence,
                "missing_diagnostics": list(mode.missing_diagnostics),
            }
            for record, mode in self.modes
        ]


def failure_mode_table(
    records: Sequence[Record],
    experiment: Experiment | None = None,
    *,
    index: Sequence[str] = (),
    columns: str | None = None,
) -> FailureModeTable:
    """Arrange the failure modes of records on a grid.

    Args:
        records: Finished runs; those of one id are one run.
        experiment: The experiment of the runs, for its tuned fields and layout; None tunes nothing.
        index: Fields of a row; none takes the experiment's, or all that differ.
        columns: The field of the columns; None takes the experiment's, or the level.

    Returns:
        The grids, and the failure mode of each run.

    Raises:
        UnknownNameError: There is no such field.
    """
    layout = experiment.report if experiment else None
    modes = [(record, failure_mode(record)) for record in distinct(records)]
    index = index or (layout.index if layout else ())
    column_field = columns or (layout.columns if layout else "level")
    tuned = experiment.tuned if experiment else ()
    # Each failure mode is a metric that is 1 for runs that have it and 0 for others, so that rows, columns and tuning
    # are those of every report.
    labels = _labels([mode for _, mode in modes]) or [FAILURE_MODES[0]]
    indicators = [
        record.model_copy(
            update={"evaluations": (), "diagnostics": {label: float(label == mode.label) for label in labels}}
        )
        for record, mode in modes
    ]
    names = [label for label in labels if label != "failed"] or [FAILURE_MODES[0]]
    by_mode = {name: grids(indicators, metric=name, index=index, columns=column_field, tuned=tuned) for name in names}
    panels = next(iter(by_mode.values()), [])
    counts = [
        {key: {name: sum(by_mode[name][number].cells[key].values) for name in names} for key in panel.cells}
        for number, panel in enumerate(panels)
    ]
    return FailureModeTable(tuple(panels), tuple(counts), tuple(modes))


def _labels(modes: Sequence[FailureMode]) -> list[str]:
    """The labels that occur, in the order of the failure modes."""
    order = {name: index for index, name in enumerate(("", *FAILURE_MODES))}
    occurring = {mode.label: (order[mode.name], order[mode.alternative]) for mode in modes}
    return sorted(occurring, key=occurring.__getitem__)


def _probes(record: Record, mode: FailureMode) -> str:
    """How to decide between two failure modes; nothing where there is one, or where it was tried."""
    unsure = mode.alternative and mode.name != "rank collapse"  # a collapse of the rank is decided by logging it
    return " Further runs show which: --probe." if unsure and not record.probes else ""


def _not_logged(names: Sequence[str]) -> str:
    """The diagnostics that were not logged, and the option that logs them; nothing where all were logged."""
    return f" Not logged: {', '.join(names)}; log them with --watch {','.join(names)}." if names else ""


def with_failed(counts: Counts, failed: int) -> Counts:
    """Add the failed runs of a cell to its counts.

    Args:
        counts: The counts of the other failure modes.
        failed: How many runs failed.

    Returns:
        The counts of all failure modes.
    """
    return {**counts, "failed": float(failed)}


def by_number(counts: Counts) -> list[tuple[str, float]]:
    """List the failure modes of a cell, the most common first.

    Args:
        counts: The counts of all failure modes.

    Returns:
        The label of each that occurs and how many have it; of two that are equally common the first comes first.
    """
    occurring = [(label, count) for label, count in counts.items() if count]
    return sorted(occurring, key=lambda one: -one[1])


def _panel(panel: Grid, cell_counts: CellCounts) -> TextTable:
    rows = [
        (
            row,
            [
                _cell(with_failed(cell_counts.get((row, column), {}), cell.failed))
                for column, cell in zip(panel.columns, panel.across(row), strict=True)
            ],
        )
        for row in panel.rows
    ]
    title = Text.assemble((panel.title, "bold"), (f"  failure mode by {panel.by}", "dim"))
    return TextTable(panel.row_fields, [str(column) for column in panel.columns], rows, title)


def _cell(counts: Counts) -> list[Line]:
    """Every failure mode of a cell and how many of the seeds have it; the name of a second has a line of its own."""
    lines: list[Line] = []
    for label, count in by_number(counts):
        name, *alternative = label.split(OR)
        lines += cell_text(
            name, *(f"or {other}" for other in alternative), style=COLORS.get(label, ""), below=COLORS.get(label, "")
        )
        lines += cell_text(f"{count:g} of {sum(counts.values()):g}", style="dim")
    return lines or cell_text("-", style="dim")


def _evidence_table(lines: Sequence[Evidence]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=Text("evidence, of one run each", style="dim"), title_justify="left")
    table.collapse_padding = True
    table.add_column("failure mode", no_wrap=True)
    table.add_column("runs", justify="right")
    table.add_column("example", overflow="fold")
    for one in lines:
        example = Text.assemble(f"{one.evidence}\n", (one.run, "dim"))
        table.add_row(Text(one.mode, style=COLORS.get(one.mode, "")), one.runs, example)
    return table
