"""What a command does before it has a result: nothing where it is quick, a line where it lasts."""

from __future__ import annotations

import time

import pytest

from attnlab.rendering import waiting as module
from attnlab.rendering.train_progress import TrainDisplay, TrainLines
from attnlab.rendering.waiting import WaitingLines, waiting
from attnlab.training.events import Notice, Preparing, RunStarted
from tests.rendering.capture import console, drawn, output
from tests.rendering.samples import spec


def test_what_lasts_is_written_once_and_what_is_quick_is_not() -> None:
    screen = console()
    lines = WaitingLines(screen, seconds=0.1)
    lines("quick")
    lines("looking for leaks of my.py:Mixer")
    time.sleep(0.4)
    lines("quick again")
    lines("")
    time.sleep(0.3)
    assert output(screen).splitlines() == ["looking for leaks of my.py:Mixer ..."]


def test_nothing_is_written_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.1)
    screen = console()

    def fail() -> None:
        with waiting(screen) as progress:
            progress(Preparing("checking a"))
            progress(Notice("not of what is done"))
            raise KeyError("a")

    with pytest.raises(KeyError, match="a"):
        fail()
    time.sleep(0.3)
    assert output(screen) == ""


def test_a_terminal_shows_what_is_done_at_once() -> None:
    screen = console(terminal=True)
    with waiting(screen) as progress:
        progress(Preparing("checking torch.nn:GRU: gradients, 6 of 19"))
        time.sleep(0.2)
    assert "checking torch.nn:GRU: gradients, 6 of 19" in output(screen)


def test_a_training_shows_what_is_done_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.1)
    screen, run = console(), spec(attention="softmax")
    lines = TrainLines(screen)
    lines(Preparing("looking for leaks of my.py:Mixer"))
    time.sleep(0.4)
    lines(RunStarted(run, 0, 1000, "cpu"))
    assert output(screen).splitlines()[0] == "looking for leaks of my.py:Mixer ..."

    display = TrainDisplay()
    display(Preparing("trying one step of a"))
    display(Preparing("looking for leaks of my.py:Mixer"))
    (line,) = drawn(display)
    assert "looking for leaks of my.py:Mixer" in line
    assert "accuracy" not in line
    display(RunStarted(run, 0, 1000, "cpu"))
    assert "looking for leaks" not in "\n".join(drawn(display))
