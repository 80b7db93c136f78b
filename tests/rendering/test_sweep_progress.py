from __future__ import annotations

import pytest

from attnlab.config.experiment import Experiment, LadderLevels
from attnlab.records import HistoryPoint
from attnlab.rendering.sweep_progress import (
    LATEST,
    RUNNING,
    SweepDisplay,
    SweepLines,
    SweepSummary,
    run_outcome,
    sweep_progress,
)
from attnlab.training.events import Notice, Preparing, RunFinished, RunStarted, StepsTaken, Validated
from tests.rendering.capture import console, drawn, output
from tests.rendering.fake_runs import run, seeds


def test_without_a_terminal_each_run_is_a_line() -> None:
    screen = console()
    specs = [run(seed=seed).spec for seed in range(12)]
    with sweep_progress(screen, specs, 3) as callback:
        assert isinstance(callback, SweepLines)
        callback(RunStarted(run().spec, 0, 10, "cpu"))
        callback(RunFinished(run(accuracy=0.5)))
        callback(RunFinished(run(status="failed", reason="out of memory")))
    assert output(screen).splitlines() == [
        f" 4/12  {run().id}  recall pairs=4 · softmax · learned · seed 0  unsolved  50.0 %  20.0 s",
        f" 5/12  {run().id}  recall pairs=4 · softmax · learned · seed 0  failed  out of memory  20.0 s",
    ]


def test_on_a_terminal_running_runs_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("attnlab.rendering.sweep_progress.time.monotonic", lambda: now[0])
    display = SweepDisplay([run(seed=seed).spec for seed in range(10)], 4)
    assert any("time left: not known yet" in line for line in drawn(display))
    spec = run(seed=1).spec
    display(RunStarted(spec, 0, 10, "cpu"))
    display(StepsTaken(spec, 1000, 1.0, 64))
    display(Validated(spec, HistoryPoint(step=1000, loss=1.0, accuracy=0.625)))
    now[0] += 30.0
    lines = drawn(display)
    assert "4/10 runs" in lines[0]
    assert "1000/2000   62.5 %  seed 1" in lines
    # Half a run in 30 seconds: five and a half are left.
    assert "about 5:30 min left at this pace" in lines
    display(RunFinished(run(seed=1, accuracy=1.0)))
    lines = drawn(display)
    assert "5/10 runs" in lines[0]
    assert not any("1000/2000" in line for line in lines)
    assert lines[-1] == f"solved    100.0 %    21.0 s  {spec.id}  seed 1"


def test_the_display_fits_the_screen() -> None:
    long = seeds([0.5] * 20, attention="gpam-with-a-name-that-goes-on-and-on-and-on-and-on")
    display = SweepDisplay([record.spec for record in (*long, *seeds([0.5] * 20))], 0)
    for record in long:
        display(RunStarted(record.spec, 0, 10, "cpu"))
        display(RunFinished(record))
    lines = drawn(display, width=60)
    assert len(lines) == 2 + LATEST
    assert all(line.startswith("unsolved   50.0 %") and line.endswith("…") for line in lines[2:])
    for record in seeds([0.5] * 20):
        display(RunStarted(record.spec, 0, 10, "cpu"))
    lines = drawn(display, width=60)
    assert len(lines) == 2 + RUNNING + 1 + LATEST
    assert "and 8 more running" in lines
    with sweep_progress(console(terminal=True), [run().spec] * 3, 0) as callback:
        callback(RunFinished(run()))


def test_a_summary_is_the_report_and_the_number_of_missing_runs() -> None:
    experiment = Experiment(name="x", question="Which?", ladders=(LadderLevels(ladder="recall"),))
    result = SweepSummary(experiment, seeds([0.5, 0.6]), 5, "A remark.")
    lines = drawn(result)
    assert lines[0] == "Which?"
    assert lines[-2:] == ["3 of 5 runs are missing; the same command continues.", "A remark."]
    assert result.claims_hold
    assert drawn(SweepSummary(experiment, [], 2)) == ["2 of 2 runs are missing; the same command continues."]


@pytest.mark.parametrize(("status", "text"), [("done", "solved  100.0 %"), ("diverged", "diverged  the loss was nan")])
def test_a_finished_run_in_one_line(status: str, text: str) -> None:
    reason = "the loss was nan" if status == "diverged" else ""
    one = run(accuracy=1.0, status=status, reason=reason)  # type: ignore[arg-type]
    assert run_outcome(one, "seed 0") == f"{one.id}  seed 0  {text}  20.0 s"


def test_notices_stand_above_and_what_is_waited_for_below_the_bar() -> None:
    screen = console()
    SweepLines(screen, [run().spec], 0)(Notice("Submitted 2 jobs to SLURM: 12_[0-1]."))
    assert output(screen) == "Submitted 2 jobs to SLURM: 12_[0-1].\n"
    screen = console()
    display = SweepDisplay([run().spec], 0, screen)
    display(Notice("Back to 1 job of an earlier command: 12."))
    display(Preparing("0 jobs running, 2 waiting (Priority)"))
    assert output(screen) == "Back to 1 job of an earlier command: 12.\n"
    assert "0 jobs running, 2 waiting (Priority)" in drawn(display)
