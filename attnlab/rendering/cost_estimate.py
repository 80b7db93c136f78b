"""The cost of a plan as a table."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.experiments.plan_cost import CostEstimate
from attnlab.formatting import duration, scaled, thousands
from attnlab.rendering._text_table import FoldedText


@dataclass(frozen=True)
class CostTable:
    """One line per shape, and the totals."""

    estimate: CostEstimate

    def __rich__(self) -> RenderableType:
        """The table, the number of runs, the wall time, and the shapes that do not fit into memory."""
        estimate = self.estimate
        runs, missing = (sum(getattr(shape, name) for shape in estimate.shapes) for name in ("runs", "missing"))
        head = "1 run" if runs == 1 else f"{runs} runs"
        lines = [
            Text(f"{head}, {runs - missing} already done, {missing} to run; {estimate.description}."),
            Text(self.time(), style="bold"),
        ]
        for shape in estimate.too_large:
            needed = f"{shape.summary} needs {thousands(shape.memory / 2**20)} MB"
            available = f"{thousands(estimate.free_memory / 2**20)} MB are available"
            lines.append(Text(f"Will not fit into memory: {needed}; {available}.", style="red"))
        return Group(self._table(), *lines)

    def time(self) -> str:
        """The wall time, in words."""
        least, most = self.estimate.seconds
        early = least < 0.98 * most
        head = f"About {duration(least)} if runs stop as early as expected; at" if early else "At"
        return f"{head} most {duration(most)}. Steps were timed on this machine now; other load makes it slower."

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        table.collapse_padding = True
        table.add_column("runs of one shape", overflow="fold", min_width=12)
        vmapped = any(shape.vmap > 1 for shape in self.estimate.shapes)
        vmap_head = ["vmap"] if vmapped else []
        for head in ("runs", "missing", *vmap_head, "parameters", "flops", "step", "one run", "MB"):
            table.add_column(head, justify="right")
        for shape in self.estimate.shapes:
            cells = [str(shape.runs), str(shape.missing), *([str(shape.vmap)] if vmapped else [])]
            cells += [thousands(shape.parameters), scaled(shape.flops), f"{1000 * shape.step:.1f} ms"]
            cells += [duration(shape.seconds), thousands(shape.memory / 2**20)]
            table.add_row(FoldedText(shape.summary), *cells)
        return table
