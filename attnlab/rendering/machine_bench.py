"""The table of ``attnlab bench``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.experiments.bench_result import BenchResult


@dataclass(frozen=True)
class BenchTable:
    """A benchmark of this machine beside the previous one."""

    result: BenchResult
    last: Mapping[str, float]
    """Name -> median of the previous benchmark."""

    def __rich__(self) -> RenderableType:
        """The machine, then a row per measurement, with the median of the last run beside."""
        table = Table(box=None, pad_edge=False)
        table.add_column("measurement", overflow="fold")
        for head in ("median", "quartiles", "last run"):
            table.add_column(head, justify="right", no_wrap=True)
        previous = ""
        for one in self.result.measurements:
            if one.note not in ("", previous):
                table.add_row(Text(one.note, style="dim"))
            previous = one.note
            spread = f"{one.low:.3g}..{one.high:.3g}" if one.rounds > 1 else ""
            last = f"{self.last[one.name]:.3g}" if one.name in self.last else ""
            table.add_row(one.name, f"{one.median:.3g} {one.unit}", spread, last)
        where = self.result.environment
        names = ("processor", "cores", "threads", "torch")
        facts = [str(where["device"]), *(f"{name} {where[name]}" for name in names if name in where)]
        return Group(Text(", ".join(facts), style="dim"), table)
