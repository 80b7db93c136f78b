"""The progress of a training or a sweep in a cell of a notebook: one output that is replaced, without control codes."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from html import escape
from typing import Any

from attnlab.formatting import duration, percent, printable
from attnlab.specs import RunSpec
from attnlab.training.events import Event, Preparing, RunFinished, RunStarted, StepsTaken, Validated

SECONDS = 0.5
"""Seconds between two updates: each is a message to the browser."""
RUNNING = 6
"""Running runs that are shown."""
Show = Callable[[dict[str, str]], None]
"""Takes HTML and text, by their media types."""


def notebook_output() -> Show | None:
    """Make an output in the cell that runs now; each call replaces what it shows.

    Returns:
        The output; None outside of a notebook.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(shell, "kernel"):  # no IPython, or IPython in a terminal
        return None
    display = importlib.import_module("IPython.display").display
    handles: list[Any] = []

    def show(data: dict[str, str]) -> None:
        if handles:
            handles[0].update(data, raw=True)
        else:
            handles.append(display(data, raw=True, display_id=True))

    return show


class NotebookProgress:
    """A callback that shows how many runs are done, and a bar for each that is running.

    Args:
        show: The output.
        total: Runs that are planned; None where that is not known.
        done: Runs that were finished before.
    """

    def __init__(self, show: Show, total: int | None = None, done: int = 0) -> None:
        self.show, self.total, self.done, self.failed = show, total, done, 0
        self.running: dict[str, tuple[RunSpec, int, float | None, float | None]] = {}
        """The steps, the loss and the accuracy of each running run."""
        self.preparing = ""
        self.started, self.shown = time.monotonic(), -SECONDS

    def __call__(self, event: Event) -> None:
        """Take an event, and update the output if it is time."""
        match event:
            case Preparing(text):
                self.preparing = text
            case RunStarted(spec, step):
                self.preparing = ""
                self.running[spec.id] = spec, step, None, None
            case StepsTaken(spec, step, loss):
                accuracy = self.running[spec.id][3] if spec.id in self.running else None
                self.running[spec.id] = spec, step, loss, accuracy
            case Validated(spec, point):
                last = self.running[spec.id][2] if spec.id in self.running else None
                self.running[spec.id] = spec, point.step, last, point.accuracy
            case RunFinished(record):
                self.running.pop(record.id, None)
                self.done += 1
                self.failed += record.status != "done"
            case _:
                return
        if time.monotonic() - self.shown >= SECONDS:
            self.update()

    def update(self) -> None:
        """Show what is known now."""
        self.shown = time.monotonic()
        rows = [self._row(*run) for run in list(self.running.values())[:RUNNING]]
        more = len(self.running) - len(rows)
        lines = [self._heading(), *(text for _, text in rows), *([f"and {more} more running"] if more else [])]
        table = "".join(html for html, _ in rows)
        html = f"<p>{escape(lines[0])}</p>" + (f"<table>{table}</table>" if table else "")
        html += f"<p>{escape(lines[-1])}</p>" if more else ""
        self.show({"text/html": html, "text/plain": "\n".join(lines)})

    def _heading(self) -> str:
        """How many runs are done, and the time."""
        if self.preparing and not self.running:
            return printable(self.preparing)
        of = "" if self.total is None else f" of {self.total:,}"
        noun = "run" if (self.total or self.done) == 1 else "runs"
        failed = f", {self.failed:,} of them diverged or failed" if self.failed else ""
        return f"{self.done:,}{of} {noun} done{failed}, {duration(time.monotonic() - self.started)}"

    def _row(self, spec: RunSpec, step: int, loss: float | None, accuracy: float | None) -> tuple[str, str]:
        """A running run as a row of a table, and as text."""
        steps, label = spec.train.max_steps, printable(spec.summary)
        numbers = [f"{step:,}/{steps:,}"]
        numbers += [] if loss is None else [f"loss {loss:.4f}"]
        numbers += [] if accuracy is None else [f"accuracy {percent(accuracy)}"]
        text = "  ".join(numbers)
        bar = f'<progress value="{step}" max="{steps}"></progress>'
        return f"<tr><td>{bar}</td><td>{escape(text)}</td><td>{escape(label)}</td></tr>", f"{text}  {label}"
