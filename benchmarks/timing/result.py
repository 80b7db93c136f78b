"""The result of a benchmark with goals: a table, and JSON in the format of ``attnlab bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from attnlab.experiments.bench_result import BenchResult
from benchmarks.timing.pairs import Measured


@dataclass(frozen=True)
class Benchmark(BenchResult):
    """Measurements with goals, and where they were made."""

    measurements: Sequence[Measured]
    left_out: Sequence[str] = ()
    """What was not measured, and why, in sentences."""

    def table(self, last: Mapping[str, float]) -> Table:
        """Make the table: a row per measurement with median, quartiles, goal, and the median of the last run.

        Args:
            last: Name -> median of the last run.

        Returns:
            A table to print.
        """
        table = Table(box=None, pad_edge=False)
        table.add_column("measurement", overflow="fold")
        for heading in ("median", "quartiles", "goal", "last run", "rounds"):
            table.add_column(heading, justify="right", no_wrap=True)
        for line in self.measurements:
            goal = "" if line.goal is None else f"{'<' if line.below else '>'} {line.goal:g}"
            color = {None: "", True: "green", False: "yellow"}[line.reached]
            before = f"{last[line.name]:.3g}" if line.name in last else ""
            name = f"{line.name} [dim]{line.note}[/dim]" if line.note else line.name
            median = f"{line.median:.3g} {line.unit}"
            spread = f"{line.low:.3g}..{line.high:.3g}"
            table.add_row(
                name, f"[{color}]{median}[/{color}]" if color else median, spread, goal, before, str(line.rounds)
            )
        return table
