"""What a command does before it has a result: a line with the time that it takes so far, or a plain line elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from attnlab.training.events import Event, Preparing
from attnlab.training.events import Progress as ProgressCallback

SECONDS = 2.0
"""Time after which something that is still being done is worth a line where there is no terminal."""


@contextmanager
def waiting(console: Console) -> Iterator[ProgressCallback]:
    """Show what a command does before it has a result.

    Args:
        console: Where it is shown.

    Yields:
        The callback that receives the events; each of what is done replaces the one before it.
    """
    display = WaitingDisplay(console) if console.is_terminal else WaitingLines(console)

    def take(event: Event) -> None:
        if isinstance(event, Preparing):
            display(event.text)

    try:
        yield take
    finally:
        display("")


class WaitingLines:
    """A line for whatever lasts longer than some seconds; what is quick is not written.

    Args:
        console: Where it is written.
        seconds: The time after which a line is written; None takes :data:`SECONDS`.
    """

    def __init__(self, console: Console, seconds: float | None = None) -> None:
        self.console, self.seconds = console, SECONDS if seconds is None else seconds
        self._timer: threading.Timer | None = None

    def __call__(self, text: str) -> None:
        """Take what is done now.

        Args:
            text: In words; empty where nothing is.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if text:
            self._timer = threading.Timer(self.seconds, self._write, (text,))
            self._timer.daemon = True
            self._timer.start()

    def _write(self, text: str) -> None:
        self.console.print(f"{text} ...", highlight=False, markup=False, soft_wrap=True)


class WaitingDisplay:
    """One line that moves, and is gone when nothing is done any more.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self.bar = waiting_bar(console)

    def __call__(self, text: str) -> None:
        """Take what is done now.

        Args:
            text: In words; empty where nothing is.
        """
        show(self.bar, text)
        if text:
            self.bar.start()
        else:
            self.bar.stop()


def waiting_bar(console: Console | None = None) -> Progress:
    """Make a line of a sign that moves, what is done, and the time that it takes.

    Args:
        console: The terminal; None where the line is part of another display.

    Returns:
        The line, which shows nothing yet.
    """
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    return Progress(SpinnerColumn(), text, TimeElapsedColumn(), console=console, transient=True)


def show(bar: Progress, text: str) -> None:
    """Show what is done now in a line, with the time since it began.

    Args:
        bar: The line.
        text: In words; empty where nothing is.
    """
    for task in bar.task_ids:
        bar.remove_task(task)
    if text:
        bar.add_task(text, total=None)
