"""One job, in this process: every outcome is a message."""

from __future__ import annotations

import signal

import pytest

from attnlab.execution.jobs import (
    Failed,
    Finished,
    Job,
    Message,
    Progressed,
    Saved,
    Stopped,
    TrainedWeights,
    WorkerSettings,
    run_job,
)
from attnlab.training.events import RunStarted, StepsTaken
from attnlab.training.interruption import Interruption, polling
from tests.experiments.sweeps import numbers, planned

DEFAULT, EVERY_STEP = WorkerSettings(), WorkerSettings(checkpoint_seconds=0.0)


def done(job: Job, settings: WorkerSettings = DEFAULT) -> list[Message]:
    messages: list[Message] = []
    run_job(job, settings, messages.append)
    return messages


def test_a_job_sends_progress_weights_and_records() -> None:
    (spec,) = planned(levels=(1,), seeds=1)
    messages = done(Job(spec.id, (spec,)))
    assert isinstance(messages[-1], Finished)
    assert [record.id for record in messages[-1].records] == [spec.id]
    types = [type(message) for message in messages if not isinstance(message, Progressed)]
    assert types == [TrainedWeights, Finished]
    assert not [
        message
        for message in done(Job(spec.id, (spec,)), WorkerSettings(weights=False))
        if isinstance(message, TrainedWeights)
    ]


def test_a_job_continues_from_its_checkpoint() -> None:
    (spec,) = planned(levels=(1,), seeds=1)
    whole = done(Job(spec.id, (spec,)), EVERY_STEP)
    saved = [message for message in whole if isinstance(message, Saved)]
    assert [message.metadata["step"] for message in saved] == [1, 2, 3, 4, 5, 6]
    resumed = done(Job(spec.id, (spec,), {spec.id: (saved[2].arrays, saved[2].metadata)}), EVERY_STEP)
    first = next(message.event for message in resumed if isinstance(message, Progressed))
    assert isinstance(first, RunStarted)
    assert first.step == 3
    assert isinstance(whole[-1], Finished)
    assert isinstance(resumed[-1], Finished)
    assert numbers(resumed[-1].records) == numbers(whole[-1].records)


def test_a_stopped_job_sends_its_checkpoint_first() -> None:
    (spec,) = planned(levels=(1,), seeds=1)
    interruption = Interruption()
    interruption.requested = True
    with polling(interruption):
        messages = done(Job(spec.id, (spec,)))
    assert [type(message) for message in messages[-2:]] == [Saved, Stopped]


def test_the_reason_of_a_failure_names_the_line_of_the_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = planned(levels=(1,), seeds=1)

    def broken(*_: object) -> None:
        raise ValueError("no such luck\nand more")

    monkeypatch.setattr("attnlab.training.stepper.SingleStepper.step", broken)
    (failed,) = (message for message in done(Job(spec.id, (spec,))) if isinstance(message, Failed))
    assert failed.reason.startswith("ValueError: no such luck at ")
    assert "test_jobs.py" in failed.reason
    assert "\n" not in failed.reason


def test_an_attnlab_error_becomes_a_reason_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = planned(levels=(1,), seeds=1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (failed,) = done(Job(spec.id, (spec,)), WorkerSettings(device="cuda"))
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("--device There is no device 'cuda' here.")


def test_a_second_ctrl_c_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = planned(levels=(1,), seeds=1)

    def press(message: Message) -> None:
        if isinstance(message, Progressed) and isinstance(message.event, RunStarted | StepsTaken):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_job(Job(spec.id, (spec,)), WorkerSettings(), press)
