"""The progress of a training: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from attnlab.formatting import duration, percent, thousands
from attnlab.records import HistoryPoint
from attnlab.rendering._sparkline import bars
from attnlab.rendering.waiting import WaitingLines, show, waiting_bar
from attnlab.training.events import Event, Notice, Preparing, RunFinished, RunStarted, StepsTaken, Validated
from attnlab.training.events import Progress as ProgressCallback

HEIGHT, WIDTH = 4, 48


@contextmanager
def train_progress(console: Console) -> Iterator[ProgressCallback]:
    """Show the progress of a training.

    Args:
        console: Where it is shown.

    Yields:
        The callback that receives the events.
    """
    if not console.is_terminal:
        lines = TrainLines(console)
        try:
            yield lines
        finally:
            lines.waiting("")
        return
    display = TrainDisplay(TrainLines(console))
    with Live(display, console=console, refresh_per_second=8, transient=True):
        yield display


class TrainLines:
    """One line for each validation, and for what takes long before the first step."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = time.perf_counter()
        self.waiting = WaitingLines(console)

    def __call__(self, event: Event) -> None:
        """Write a line for a notice, a start, a validation, or a divergence."""
        self.waiting(event.text if isinstance(event, Preparing) else "")
        if isinstance(event, Notice):
            self._line(event.text)
        elif isinstance(event, RunStarted):
            self.started = time.perf_counter()
            self._line(f"{event.spec.summary}: {thousands(event.parameters)} weights on {event.device}{_start(event)}")
        elif isinstance(event, Validated):
            point, steps = event.point, event.spec.train.max_steps
            elapsed = duration(time.perf_counter() - self.started)
            self._line(
                f"  step {point.step}/{steps}  loss {point.loss:.4f}  accuracy {percent(point.accuracy)}  {elapsed}"
            )
        elif isinstance(event, RunFinished) and event.record.reason:
            self._line(f"  diverged: {event.record.reason}")

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class TrainDisplay:
    """A bar with the time left, tokens per second, and the curves of loss and accuracy.

    Args:
        lines: Writes notices above the display, where they stay; None leaves them out.
    """

    def __init__(self, lines: TrainLines | None = None) -> None:
        self.lines = lines
        self.waiting = waiting_bar()
        self._clear()

    def _clear(self) -> None:
        """Reset the display for the next run."""
        self.bar = Progress(
            BarColumn(bar_width=WIDTH - 18),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.task: TaskID | None = None
        self.heading = ""
        self.losses: list[float] = []
        self.points: list[HistoryPoint] = []
        self.tokens, self.started = 0, time.perf_counter()

    def __call__(self, event: Event) -> None:
        """Take an event; the display refreshes itself."""
        if isinstance(event, Notice) and self.lines:
            self.lines(event)
        elif isinstance(event, Preparing):
            show(self.waiting, event.text)
        elif isinstance(event, RunStarted):
            self._clear()
            self.heading = f"{event.spec.summary} · {thousands(event.parameters)} weights on {event.device}"
            self.heading += _start(event)
            self.task = self.bar.add_task("", total=event.spec.train.max_steps, completed=event.step)
        elif isinstance(event, StepsTaken) and self.task is not None:
            self.losses.append(event.loss)
            self.tokens += event.tokens
            self.bar.update(self.task, completed=event.step)
        elif isinstance(event, Validated):
            self.points.append(event.point)

    def __rich__(self) -> RenderableType:
        """The display at this moment; before the first run, what is done until it starts."""
        if self.task is None and self.waiting.tasks:
            return self.waiting
        speed = self.tokens / max(1e-9, time.perf_counter() - self.started)
        footer = Text(f"{thousands(speed)} tokens/s", style="dim")
        return Group(Text(self.heading, style="bold"), self.bar, self._curves(), footer)

    def _curves(self) -> Table:
        """The curves of loss and accuracy, side by side."""
        grid = Table.grid(padding=(0, 1))
        finite = [loss for loss in self.losses if math.isfinite(loss)]
        top = max(finite, default=1.0)
        accuracies = [point.accuracy for point in self.points]
        last = f"{self.losses[-1]:.4f}" if self.losses else "-"
        share = percent(accuracies[-1]) if accuracies else "-"
        half = WIDTH // 2 + 10
        grid.add_row(Text(f"loss {last}", style="magenta"), Text(f"accuracy {share}", style="green"))
        grid.add_row(
            Text("\n".join(bars(self.losses, width=half, height=HEIGHT, low=0.0, high=top)), style="magenta"),
            Text("\n".join(bars(accuracies, width=half, height=HEIGHT, low=0.0, high=1.0)), style="green"),
        )
        return grid


def _start(event: RunStarted) -> str:
    """Where a run starts, unless that is its first step."""
    return f", resumed at step {event.step}" if event.step else ""
