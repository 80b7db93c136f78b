from __future__ import annotations

import math

from attnlab.records import HistoryPoint
from attnlab.rendering._sparkline import BLOCKS
from attnlab.rendering.train_progress import TrainDisplay, TrainLines, train_progress
from attnlab.training.events import RunFinished, RunStarted, StepsTaken, Validated
from tests.rendering.capture import console, drawn, output
from tests.rendering.samples import record, spec

RUN = spec(attention="dape", kernel=3, seed=2)
TITLE = "recall pairs=4 · dape:kernel=3 · fourier · seed 2"


def validated(step: int, accuracy: float) -> Validated:
    return Validated(RUN, HistoryPoint(step=step, loss=1 / step, accuracy=accuracy))


def test_a_title_names_the_run() -> None:
    assert RUN.summary == TITLE


def test_plain_lines() -> None:
    screen = console()
    lines = TrainLines(screen)
    lines(RunStarted(RUN, 0, 119_424, "cpu"))
    lines(StepsTaken(RUN, 50, 4.0, 1000))
    lines(validated(100, 0.25))
    lines(validated(200, 1.0))
    lines(RunFinished(record(RUN)))
    written = output(screen).splitlines()
    assert written[0] == f"{TITLE}: 119,424 weights on cpu"
    assert written[1].startswith("  step 100/2000  loss 0.0100  accuracy 25.0 %  ")
    assert written[2].startswith("  step 200/2000  loss 0.0050  accuracy 100.0 %  ")
    assert len(written) == 3


def test_plain_lines_of_a_run_that_resumes_and_diverges() -> None:
    screen = console(width=20)
    lines = TrainLines(screen)
    lines(RunStarted(RUN, 300, 1000, "cuda"))
    lines(RunFinished(record(RUN, status="diverged", reason="the loss was nan at step 310")))
    assert output(screen).splitlines() == [
        f"{TITLE}: 1,000 weights on cuda, resumed at step 300",
        "  diverged: the loss was nan at step 310",
    ]


def test_the_display_shows_the_curves() -> None:
    display = TrainDisplay()
    display(RunStarted(RUN, 0, 119_424, "cpu"))
    for step in range(1, 21):
        display(StepsTaken(RUN, 10 * step, 5.0 / step, 6400))
    display(validated(100, 0.25))
    display(validated(200, 1.0))
    lines = drawn(display)
    text = "\n".join(lines)
    assert text.startswith(f"{TITLE} · 119,424")
    assert "200/2,000" in text
    assert "loss 0.2500" in text
    assert "accuracy 100.0 %" in text
    assert "tokens/s" in lines[-1]
    chart = [line for line in lines if set(line) & set(BLOCKS[1:])]
    assert len(chart) == 4
    assert chart[0][0] == "█"
    assert chart[0].rstrip().endswith(" █")
    assert chart[3].rstrip().endswith("█" * 2)


def test_the_display_is_drawn_before_the_first_event() -> None:
    text = "\n".join(drawn(TrainDisplay()))
    assert "loss -" in text
    assert "accuracy -" in text


def test_a_new_run_clears_the_display() -> None:
    display = TrainDisplay()
    display(RunStarted(RUN, 0, 1000, "cpu"))
    display(StepsTaken(RUN, 10, 5.0, 6400))
    display(validated(100, 0.25))
    display(RunStarted(spec(seed=7), 40, 1000, "cpu"))
    text = "\n".join(drawn(display))
    assert "seed 7" in text
    assert "40/2,000" in text
    assert "loss -" in text
    assert not set(text) & set(BLOCKS[1:])


def test_losses_that_are_not_finite_are_blank() -> None:
    display = TrainDisplay()
    display(RunStarted(RUN, 0, 1000, "cpu"))
    for step, loss in enumerate((1.0, math.inf, math.nan)):
        display(StepsTaken(RUN, step, loss, 64))
    assert "loss nan" in "\n".join(drawn(display))


def test_a_terminal_gets_the_display_and_a_file_gets_lines() -> None:
    with train_progress(console(terminal=True)) as callback:
        assert isinstance(callback, TrainDisplay)
        callback(RunStarted(RUN, 0, 1000, "cpu"))
    with train_progress(console()) as callback:
        assert isinstance(callback, TrainLines)
