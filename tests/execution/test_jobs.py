"""One job, wherever it is done: every way it can end is told."""

from __future__ import annotations

import signal

import pytest

from attnlab.execution.jobs import (
    Failed,
    Finished,
    Job,
    Learned,
    Message,
    Progressed,
    Saved,
    Stopped,
    WorkerSettings,
    run_job,
)
from attnlab.training.events import RunStarted, StepsTaken
from attnlab.training.interruption import Interruption, polling
from tests.experiments.sweeps import numbers, planned

PLAIN, OFTEN = WorkerSettings(), WorkerSettings(checkpoint_seconds=0.0)


def done(job: Job, setting: WorkerSettings = PLAIN) -> list[Message]:
    messages: list[Message] = []
    run_job(job, setting, messages.append)
    return messages


def test_a_job_tells_progress_weights_and_records() -> None:
    (spec,) = planned(rungs=(1,), seeds=1)
    messages = done(Job(spec.id, (spec,)))
    assert isinstance(messages[-1], Finished)
    assert [record.id for record in messages[-1].records] == [spec.id]
    kinds = [type(message) for message in messages if not isinstance(message, Progressed)]
    assert kinds == [Learned, Finished]
    assert not [
        message
        for message in done(Job(spec.id, (spec,)), WorkerSettings(weights=False))
        if isinstance(message, Learned)
    ]


def test_a_job_goes_on_from_the_checkpoint_it_brings() -> None:
    (spec,) = planned(rungs=(1,), seeds=1)
    whole = done(Job(spec.id, (spec,)), OFTEN)
    saved = [message for message in whole if isinstance(message, Saved)]
    assert [message.about["lanes"][0]["step"] for message in saved] == [1, 2, 3, 4, 5, 6]
    resumed = done(Job(spec.id, (spec,), (saved[2].arrays, saved[2].about)), OFTEN)
    began = next(message.event for message in resumed if isinstance(message, Progressed))
    assert isinstance(began, RunStarted)
    assert began.step == 3
    assert isinstance(whole[-1], Finished)
    assert isinstance(resumed[-1], Finished)
    assert numbers(resumed[-1].records) == numbers(whole[-1].records)


def test_a_stopped_job_sends_its_checkpoint_first() -> None:
    (spec,) = planned(rungs=(1,), seeds=1)
    interruption = Interruption()
    interruption.requested = True
    with polling(interruption):
        messages = done(Job(spec.id, (spec,)))
    assert [type(message) for message in messages[-2:]] == [Saved, Stopped]


def test_an_exception_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = planned(rungs=(1,), seeds=1)

    def broken(*_: object) -> None:
        raise ValueError("no such luck\nand more")

    monkeypatch.setattr("attnlab.training.stepper.SingleStepper.step", broken)
    (failed,) = (message for message in done(Job(spec.id, (spec,))) if isinstance(message, Failed))
    assert failed.reason.startswith("ValueError: no such luck at ")
    assert "test_jobs.py" in failed.reason
    assert "\n" not in failed.reason


def test_an_error_of_ours_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = planned(rungs=(1,), seeds=1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (failed,) = done(Job(spec.id, (spec,)), WorkerSettings(device="cuda"))
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("--device There is no device 'cuda' here.")


def test_a_second_ctrl_c_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = planned(rungs=(1,), seeds=1)

    def pressed(message: Message) -> None:
        if isinstance(message, Progressed) and isinstance(message.event, RunStarted | StepsTaken):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_job(Job(spec.id, (spec,)), WorkerSettings(), pressed)
