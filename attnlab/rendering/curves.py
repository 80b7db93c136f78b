"""Learning curves in the terminal: for each task and level those of the median run of every variant."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from attnlab.records import Record
from attnlab.rendering import _run_rows as run_rows
from attnlab.rendering._curves import learning_curves
from attnlab.rendering.report import Report


@dataclass(frozen=True)
class LearningCurves:
    """The learning curves of a report, which rich prints."""

    report: Report
    """Its records have their whole histories."""

    def __rich__(self) -> RenderableType:
        """For each task and level a heading and one line of curves for each variant."""
        fields = self.report.panels[0].row_fields if self.report.panels else ()
        names = run_rows.names_of_runs(self.report.records, fields)
        name_of = {id(record): name for record, name in zip(self.report.records, names, strict=True)}
        parts: list[RenderableType] = []
        for title, same in run_rows.by_level([one for one in self.report.records if one.history]).items():
            by_name: dict[str, list[Record]] = {}
            for record in same:
                by_name.setdefault(name_of[id(record)], []).append(record)
            median = {name: _median(runs) for name, runs in by_name.items()}
            labels = [f"{name}\nrun {one.id[:6]}\n1 of {len(by_name[name])}" for name, one in median.items()]
            parts += [Text(title, style="bold"), learning_curves(list(median.values()), labels), Text("")]
        if not parts:
            return Text("No run was validated: there are no curves.", style="dim")
        note = "Of each variant, the run with the median of the last validation accuracies."
        return Group(*parts, Text(note, style="dim"))


def _median(runs: list[Record]) -> Record:
    """The run with the median accuracy at its last validation; of an even number, the lower one."""
    return sorted(runs, key=lambda record: record.history[-1].accuracy)[(len(runs) - 1) // 2]
