from __future__ import annotations

import pytest

from attnlab.config.experiment import Climb, Experiment
from attnlab.records import Point
from attnlab.rendering.sweep_progress import LATEST, RUNNING, Outcome, SweepDisplay, SweepLines, outcome, swept
from attnlab.training.events import Began, Ended, Looked, Stepped
from tests.rendering.capture import console, drawn, said
from tests.rendering.fake_runs import run, seeds


def test_without_a_terminal_each_run_is_a_line() -> None:
    screen = console()
    with swept(screen, 12, 3) as watcher:
        assert isinstance(watcher, SweepLines)
        watcher(Began(run().spec, 0, 10, "cpu"))
        watcher(Ended(run(accuracy=0.5)))
        watcher(Ended(run(status="failed", reason="out of memory")))
    assert said(screen).splitlines() == [
        " 4/12  recall pairs=4 · softmax · learned · seed 0  unsolved  50.0 %  20.0 s",
        " 5/12  recall pairs=4 · softmax · learned · seed 0  failed  out of memory  20.0 s",
    ]


def test_on_a_terminal_runs_on_their_way_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("attnlab.rendering.sweep_progress.time.monotonic", lambda: now[0])
    display = SweepDisplay(10, 4)
    assert any("time left: not known yet" in line for line in drawn(display))
    spec = run(seed=1).spec
    display(Began(spec, 0, 10, "cpu"))
    display(Stepped(spec, 1000, 1.0, 64))
    display(Looked(spec, Point(step=1000, loss=1.0, accuracy=0.625)))
    now[0] += 30.0
    lines = drawn(display)
    assert "4/10 runs" in lines[0]
    assert "1000/2000   62.5 %  recall pairs=4 · softmax · learned · seed 1" in lines
    # Half a run in 30 seconds: five and a half are left.
    assert "about 5:30 left at this pace" in lines
    display(Ended(run(seed=1, accuracy=1.0)))
    lines = drawn(display)
    assert "5/10 runs" in lines[0]
    assert not any("1000/2000" in line for line in lines)
    assert lines[-1] == "solved    100.0 %   21.0 s  recall pairs=4 · softmax · learned · seed 1"


def test_the_display_keeps_within_the_screen() -> None:
    display = SweepDisplay(100, 0)
    for record in seeds([0.5] * 20, attention="gpam-with-a-name-that-goes-on-and-on-and-on-and-on"):
        display(Began(record.spec, 0, 10, "cpu"))
        display(Ended(record))
    lines = drawn(display, width=60)
    assert len(lines) == 2 + LATEST
    assert all(line.startswith("unsolved   50.0 %") and line.endswith("…") for line in lines[2:])
    for record in seeds([0.5] * 20):
        display(Began(record.spec, 0, 10, "cpu"))
    lines = drawn(display, width=60)
    assert len(lines) == 2 + RUNNING + 1 + LATEST
    assert "and 8 more on their way" in lines
    with swept(console(terminal=True), 3, 0) as watcher:
        watcher(Ended(run()))


def test_an_outcome_is_its_report_and_what_is_missing() -> None:
    experiment = Experiment(name="x", question="Which?", ladders=(Climb(ladder="recall"),))
    found = Outcome(experiment, seeds([0.5, 0.6]), 5, "Adaptive: so.")
    lines = drawn(found)
    assert lines[0] == "Which?"
    assert lines[-2:] == ["3 of 5 runs are missing; the same command goes on.", "Adaptive: so."]
    assert found.claims_hold
    assert drawn(Outcome(experiment, [], 2)) == ["2 of 2 runs are missing; the same command goes on."]


@pytest.mark.parametrize(("status", "words"), [("done", "solved  100.0 %"), ("diverged", "diverged  the loss was nan")])
def test_a_finished_run_in_one_line(status: str, words: str) -> None:
    reason = "the loss was nan" if status == "diverged" else ""
    found = outcome(run(accuracy=1.0, status=status, reason=reason))  # type: ignore[arg-type]
    assert found == f"recall pairs=4 · softmax · learned · seed 0  {words}  20.0 s"
