"""A sweep as it happens: how many runs are done, which are on their way, and when it will be over."""

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
from attnlab.specs import RunSpec
from attnlab.training.events import Event, RunFinished, RunStarted, StepsTaken, Validated
from attnlab.training.events import Progress as Watcher

LATEST = 4
"""Finished runs that stay in sight."""
RUNNING = 12
"""Runs on their way that are shown; a cluster has more."""


@contextmanager
def sweep_progress(console: Console, total: int, done: int) -> Iterator[Watcher]:
    """A watcher of a sweep that suits the console.

    Args:
        console: Where to show it.
        total: Runs of the plan.
        done: How many of them were there already.
    """
    if not console.is_terminal:
        yield SweepLines(console, total, done)
        return
    display = SweepDisplay(total, done)
    with Live(display, console=console, refresh_per_second=4, transient=True):
        yield display


class SweepLines:
    """One line for each finished run."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        self.console, self.total, self.done = console, total, done

    def __call__(self, event: Event) -> None:
        """Write what is worth a line."""
        if isinstance(event, RunFinished):
            self.done += 1
            count = f"{self.done:>{len(str(self.total))}}/{self.total}"
            self.console.print(f"{count}  {outcome(event.record)}", highlight=False, markup=False, soft_wrap=True)


class SweepDisplay:
    """A bar over all runs, a line for each on its way, and the latest to end."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.before = total, done, done
        self.bar = Progress(
            BarColumn(bar_width=30), TextColumn("{task.completed:.0f}/{task.total:.0f} runs"), TimeElapsedColumn()
        )
        self.task = self.bar.add_task("", total=total, completed=done)
        self.running: dict[str, tuple[RunSpec, int, float]] = {}
        """Steps taken and latest accuracy of each run on its way."""
        self.latest: list[Record] = []
        self.started = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Take up what happened; the display redraws itself."""
        if isinstance(event, RunFinished):
            self.running.pop(event.record.id, None)
            self.latest = [*self.latest, event.record][-LATEST:]
            self.done += 1
            self.bar.update(self.task, completed=self.done)
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
        lines: list[RenderableType] = [self.bar, Text(self._left(), style="dim")]
        shown = list(self.running.values())[:RUNNING]
        steps = [f"{step}/{spec.train.max_steps}" for spec, step, _ in shown]
        wide = max(map(len, steps), default=0)
        for (spec, _, accuracy), taken in zip(shown, steps, strict=True):
            numbers = f"{taken:>{wide}}  {percent(accuracy):>7}  "
            lines.append(_line(Text.assemble(numbers, (spec.summary, "cyan"))))
        if more := len(self.running) - len(shown):
            lines.append(Text(f"and {more} more on their way", style="dim"))
        lines += [_line(Text(_ended(record), style="dim")) for record in self.latest]
        return Group(*lines)

    def _left(self) -> str:
        """The time left, at the pace of the runs so far, those on their way counted by their steps."""
        begun = sum(step / spec.train.max_steps for spec, step, _ in self.running.values())
        finished = self.done - self.before + begun
        if finished < 0.5:
            return "time left: not known yet"
        pace = (time.monotonic() - self.started) / finished
        return f"about {duration(pace * max(0.0, self.total - self.before - finished))} left at this pace"


def _line(text: Text) -> Text:
    """A text that keeps to one line."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _ended(record: Record) -> str:
    """A finished run in one line whose end may be cut off."""
    spent = duration(float(record.environment.get("seconds", 0.0)))
    said = percent(record.accuracy.mean) if record.status != "failed" else "-"
    return f"{status_text(record).plain:<8}  {said:>7}  {spent:>7}  {record.spec.summary}  {record.reason}".rstrip()


def outcome(record: Record) -> str:
    """A finished run in one line."""
    spent = duration(float(record.environment.get("seconds", 0.0)))
    said = percent(record.accuracy.mean) if record.status == "done" else record.reason
    return f"{record.spec.summary}  {status_text(record).plain}  {said}  {spent}"


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep has come to: its report, and what is missing from it."""

    experiment: Experiment
    records: Sequence[Record]
    planned: int
    remark: str = ""

    def __rich__(self) -> RenderableType:
        """The report; below it how many runs are missing."""
        parts: list[RenderableType] = [self.report] if self.records else []
        if missing := self.planned - len(self.records):
            words = f"{missing} of {self.planned} runs are missing; the same command goes on."
            parts.append(Text(words, style="yellow"))
        parts += [Text(self.remark)] if self.remark else []
        return Group(*parts)

    @cached_property
    def report(self) -> Report:
        """What the runs show."""
        return report(self.records, self.experiment)

    @property
    def claims_hold(self) -> bool:
        """Whether no claim fails."""
        return self.report.claims_hold
