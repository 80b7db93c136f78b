"""The progress of an evaluation: lines in a pipe, a bar on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from attnlab.evaluation.level_score import LevelScore
from attnlab.records import Score
from attnlab.rendering.evaluate_progress import evaluate_progress

SCORE = LevelScore(1024, 512, 8, Score(correct=1, total=4, chance=0.5), Score(correct=0, total=2, chance=0.25), None)


def written(*, terminal: bool, quiet: bool = False) -> str:
    """What is written for two levels of two batches each."""
    stream = io.StringIO()
    with evaluate_progress(Console(file=stream, force_terminal=terminal, quiet=quiet, width=80)) as progress:
        for _ in range(2):
            for done in (64, 128):
                progress.batch_done(1024, done, 128)
                progress.bar.refresh()
            progress.scored(SCORE)
    return stream.getvalue()


def test_a_pipe_gets_one_line_for_each_level() -> None:
    assert written(terminal=False).splitlines() == ["1,024 tokens: 25.0 %"] * 2


def test_a_terminal_shows_the_sequences_that_are_done() -> None:
    text = written(terminal=True)
    assert all(f"1,024 tokens  {done}/128 sequences" in text for done in (64, 128))


def test_quiet_writes_nothing() -> None:
    assert written(terminal=False, quiet=True) == ""
