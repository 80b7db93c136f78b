"""The progress of an evaluation: a line for each length, and on a terminal a bar over its sequences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from attnlab.evaluation.level_score import LevelScore
from attnlab.formatting import percent, thousands


@contextmanager
def evaluate_progress(console: Console) -> Iterator[EvaluateProgress]:
    """Show the progress of an evaluation.

    Args:
        console: Where it is shown.

    Yields:
        The callbacks that receive scores and batches.
    """
    text = "{task.description}  {task.completed:.0f}/{task.total:.0f} sequences"
    columns = BarColumn(bar_width=30), TextColumn(text), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield EvaluateProgress(console, bar)


class EvaluateProgress:
    """The callbacks of an evaluation.

    Args:
        console: Where a line is written for each score.
        bar: Shows the sequences that are done.
    """

    def __init__(self, console: Console, bar: Progress) -> None:
        self.console, self.bar = console, bar

    def batch_done(self, length: int, done: int, total: int) -> None:
        """Move the bar.

        Args:
            length: Tokens of the longest sequence of the present level.
            done: Its sequences that are done.
            total: All its sequences.
        """
        if not self.bar.tasks:
            self.bar.add_task("")
        task = self.bar.task_ids[0]
        if self.bar.tasks[0].finished:  # the next level
            self.bar.reset(task)
        self.bar.update(task, description=f"{thousands(length)} tokens", completed=done, total=total)

    def scored(self, score: LevelScore) -> None:
        """Write a line for a score.

        Args:
            score: The score of one level.
        """
        line = f"{thousands(score.length)} tokens: {percent(score.accuracy.mean)}"
        self.console.print(line, highlight=False)
