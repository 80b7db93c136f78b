"""The cost of a plan as a table."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.experiments.plan_cost import SOURCES, CostEstimate, ShapeCost, StepsSource
from attnlab.formatting import duration, scaled, thousands
from attnlab.rendering._text_table import FoldedText

STEPS: dict[StepsSource, str] = {
    "fixed": "all, as none stops early,",
    "store": "those of like runs of this store",
    "shipped": "those of like runs of the shipped results",
    "experiment": "the share that the experiment expects",
    "unknown": "all, as nothing is known,",
}


SHOWN = 200
"""Shapes that the table lists at most: those that take longest, in the order of the plan."""


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
            Text(self.left_out()),
            Text(self.time(), style="bold"),
            Text(self.steps()),
            Text(self.speed()),
        ]
        for shape in estimate.too_large:
            needed = f"{shape.summary} needs {thousands(shape.memory / 2**20)} MB"
            available = f"{thousands(estimate.free_memory / 2**20)} MB are available"
            lines.append(Text(f"Will not fit into memory: {needed}; {available}.", style="red"))
        return Group(self._table(), *(line for line in lines if line.plain))

    @property
    def listed(self) -> list[ShapeCost]:
        """The shapes that the table lists."""
        shapes = self.estimate.shapes
        longest = sorted(range(len(shapes)), key=lambda index: -shapes[index].missing * shapes[index].expected)
        return [shapes[index] for index in sorted(longest[:SHOWN])]

    def left_out(self) -> str:
        """How many shapes the table does not list; empty where it lists all."""
        more = len(self.estimate.shapes) - SHOWN
        return f"{thousands(more)} more shapes, which take less, are not listed; --json has them." if more > 0 else ""

    def time(self) -> str:
        """The expected wall time and its range, in words."""
        estimate = self.estimate
        low, high = map(duration, estimate.range)
        start_up = f", {duration(estimate.start_up)} of it to start and to plan" if estimate.driver else ""
        return f"Expected: {duration(estimate.expected)} ({low} to {high}){start_up}."

    def steps(self) -> str:
        """Whence the steps are known, and their bound; empty where nothing is missing."""
        estimate = self.estimate
        if not estimate.missing:
            return ""
        counts = {
            source: sum(shape.missing for shape in estimate.shapes if shape.steps.source == source)
            for source in SOURCES
        }
        told = [f"{STEPS[source]} for {thousands(count)}" for source, count in counts.items() if count]
        runs = "run" if estimate.missing == 1 else "runs"
        head = f"Steps of {thousands(estimate.missing)} {runs}: {', '.join(told)}. "
        return f"{head}At most {thousands(estimate.most_steps)} steps in all: {duration(estimate.whole)} at this speed."

    def speed(self) -> str:
        """Which steps were timed, in words."""
        timed, shapes = sum(shape.timed for shape in self.estimate.shapes), len(self.estimate.shapes)
        which = "Steps were" if timed == shapes else f"Steps of {timed} of {shapes} shapes (the others: ~) were"
        return f"{which} timed on this machine now; other load makes it slower."

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD)
        table.collapse_padding = True
        table.add_column("runs of one shape", overflow="fold", min_width=12)
        vmapped = any(shape.vmap > 1 for shape in self.estimate.shapes)
        vmap_head = ["vmap"] if vmapped else []
        for head in ("to run", *vmap_head, "parameters", "flops", "step", "steps", "one run", "MB"):
            table.add_column(head, justify="right")
        for shape in self.listed:
            some = f" of {shape.runs}" if shape.missing < shape.runs else ""
            cells = [f"{shape.missing}{some}", *([str(shape.vmap)] if vmapped else [])]
            cells += [thousands(shape.parameters), scaled(shape.flops)]
            cells += [f"{'' if shape.timed else '~'}{1000 * shape.step:.1f} ms", thousands(shape.steps.mean)]
            cells += [duration(shape.expected), thousands(shape.memory / 2**20)]
            table.add_row(FoldedText(shape.summary), *cells)
        return table
