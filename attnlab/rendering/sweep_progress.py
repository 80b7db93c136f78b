"""The progress of a sweep: how many runs are done, which are running, and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from attnlab.config.experiment import Experiment
from attnlab.formatting import duration, percent
from attnlab.records import Record
from attnlab.rendering.record_table import status_text
from attnlab.rendering.report import Report, report
from attnlab.run_labels import RunLabels
from attnlab.specs import RunSpec
from attnlab.training.events import Event, Notice, Preparing, RunFinished, RunStarted, StepsTaken, Validated
from attnlab.training.events import Progress as ProgressCallback

LATEST = 4
"""Finished runs that are shown."""
RUNNING = 12
"""Running runs that are shown; a cluster has more."""


@contextmanager
def sweep_progress(console: Console, specs: Sequence[RunSpec], done: int) -> Iterator[ProgressCallback]:
    """Show the progress of a sweep: a live display on a terminal, one line per finished run elsewhere.

    Args:
        console: Where it is shown.
        specs: Runs of the plan.
        done: How many of them were finished before.

    Yields:
        The callback that receives the events.
    """
    if not console.is_terminal:
        yield SweepLines(console, specs, done)
        return
    display = SweepDisplay(specs, done, console)
    with Live(display, console=console, refresh_per_second=4, transient=True):
        yield display


class SweepLines:
    """One line for each finished run, and for each notice."""

    def __init__(self, console: Console, specs: Sequence[RunSpec], done: int) -> None:
        self.console, self.specs, self.total, self.done = console, specs, len(specs), done

    @cached_property
    def labels(self) -> RunLabels:
        """The labels of the runs, made when the first of them finishes."""
        return RunLabels(self.specs)

    def __call__(self, event: Event) -> None:
        """Write a line for a finished run, or of a notice."""
        if isinstance(event, Notice):
            self.console.print(event.text, highlight=False, markup=False, soft_wrap=True)
        if isinstance(event, RunFinished):
            self.done += 1
            count = f"{self.done:>{len(str(self.total))}}/{self.total}"
            line = f"{count}  {run_outcome(event.record, str(self.labels.of(event.record.spec)))}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class SweepDisplay:
    """A bar over all runs, a line for each running one, and the latest that finished."""

    def __init__(self, specs: Sequence[RunSpec], done: int, console: Console | None = None) -> None:
        self.specs, self.total, self.done, self.done_before = specs, len(specs), done, done
        self.console = console
        """Where notices are printed, above the display; None shows none."""
        self.bar = Progress(
            BarColumn(bar_width=30), TextColumn("{task.completed:.0f}/{task.total:.0f} runs"), TimeElapsedColumn()
        )
        self.task = self.bar.add_task("", total=len(specs), completed=done)
        self.running: dict[str, tuple[RunSpec, int, float]] = {}
        """The steps taken and the latest accuracy of each running run."""
        self.latest: list[Record] = []
        self.preparing = ""
        """What the executor does beside the runs, such as waiting for a cluster."""
        self.started = time.monotonic()

    @cached_property
    def labels(self) -> RunLabels:
        """The labels of the runs, made when the first of them is shown."""
        return RunLabels(self.specs)

    def __call__(self, event: Event) -> None:
        """Take an event; the display refreshes itself."""
        if isinstance(event, RunFinished):
            self.running.pop(event.record.id, None)
            self.latest = [*self.latest, event.record][-LATEST:]
            self.done += 1
            self.bar.update(self.task, completed=self.done)
            return
        if isinstance(event, Notice):
            if self.console is not None:
                self.console.print(event.text, highlight=False, markup=False, soft_wrap=True)
            return
        if isinstance(event, Preparing):
            self.preparing = event.text
            return
        spec = event.spec
        _, step, accuracy = self.running.get(spec.id, (spec, 0, 0.0))
        if isinstance(event, RunStarted | StepsTaken):
            step = event.step
        elif isinstance(event, Validated):
            accuracy = event.point.accuracy
        self.running[spec.id] = (spec, step, accuracy)

    def __rich__(self) -> RenderableType:
        """The display at this moment."""
        lines: list[RenderableType] = [self.bar, Text(self._time_left(), style="dim")]
        lines += [_one_line(Text(self.preparing, style="dim"))] if self.preparing else []
        shown = list(self.running.values())[:RUNNING]
        steps = [f"{step}/{spec.train.max_steps}" for spec, step, _ in shown]
        width = max(map(len, steps), default=0)
        for (spec, _, accuracy), steps_text in zip(shown, steps, strict=True):
            numbers = f"{steps_text:>{width}}  {percent(accuracy):>7}  "
            lines.append(_one_line(Text.assemble(numbers, (self.labels.of(spec).short, "cyan"))))
        if more := len(self.running) - len(shown):
            lines.append(Text(f"and {more} more running", style="dim"))
        finished = [_finished_line(record, self.labels.of(record.spec).short) for record in self.latest]
        lines += [_one_line(Text(line, style="dim")) for line in finished]
        return Group(*lines)

    def _time_left(self) -> str:
        """The time left at the mean pace; running runs count by their steps."""
        partial = sum(step / spec.train.max_steps for spec, step, _ in self.running.values())
        finished = self.done - self.done_before + partial
        if finished < 0.5:
            return "time left: not known yet"
        pace = (time.monotonic() - self.started) / finished
        return f"about {duration(pace * max(0.0, self.total - self.done_before - finished))} left at this pace"


def _one_line(text: Text) -> Text:
    """A text that is cut rather than wrapped."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _finished_line(record: Record, label: str) -> str:
    """A finished run in one line with the numbers first, so that the end may be cut."""
    seconds = duration(float(record.environment.get("seconds", 0.0)))
    accuracy = percent(record.accuracy.mean) if record.status != "failed" else "-"
    numbers = f"{status_text(record).plain:<8}  {accuracy:>7}  {seconds:>8}"
    return f"{numbers}  {record.id}  {label}  {record.reason}".rstrip()


def run_outcome(record: Record, label: str) -> str:
    """Describe a finished run in one line.

    Args:
        record: The record.
        label: Its label among the runs that are shown with it.

    Returns:
        The run's id and label, its status, its accuracy or the reason it is not done, and its time.
    """
    seconds = duration(float(record.environment.get("seconds", 0.0)))
    result = percent(record.accuracy.mean) if record.status == "done" else record.reason
    return f"{record.id}  {label}  {status_text(record).plain}  {result}  {seconds}"


@dataclass(frozen=True)
class SweepSummary:
    """The result of a sweep: its report, and how many runs are missing."""

    experiment: Experiment
    records: Sequence[Record]
    planned: int
    remark: str = ""
    ended: bool = False
    """Whether it ended with what it has, so that no planned run is missing."""

    def __rich__(self) -> RenderableType:
        """The report, the number of missing runs, the remark."""
        parts: list[RenderableType] = [self.report] if self.records else []
        if not self.ended and (missing := self.planned - len(self.records)):
            note = f"{missing} of {self.planned} runs are missing; the same command continues."
            parts.append(Text(note, style="yellow"))
        parts += [Text(self.remark)] if self.remark else []
        return Group(*parts)

    @cached_property
    def report(self) -> Report:
        """The report on the records."""
        return report(self.records, self.experiment)

    @property
    def claims_hold(self) -> bool:
        """Whether no claim fails."""
        return self.report.claims_hold
