"""The result recorder: it writes records before it deletes checkpoints, and a failure is a record too."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from attnlab.errors import StoreError
from attnlab.execution.jobs import Failed, Finished, Job, Progressed, Ready, Saved, Stopped, Tick, TrainedWeights
from attnlab.execution.recorder import FLUSH_SECONDS, ResultRecorder, failure_record
from attnlab.storage import Store
from attnlab.training.events import Event, RunFinished, RunStarted, no_callback
from tests.experiments.sweeps import planned, shown

ONES = {"w": np.ones(3, dtype=np.float32)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    empty = Store(tmp_path / "results")
    empty.open()
    return empty


def test_records_wait_for_others_but_not_for_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("attnlab.execution.recorder.time.monotonic", lambda: now)
    recorder = ResultRecorder(store, no_callback)
    one, two = (shown(spec) for spec in planned(levels=(1,)))
    recorder(Finished(one.id, (one,)))
    now += 0.8 * FLUSH_SECONDS
    recorder(Finished(two.id, (two,)))
    assert store.records() == []
    now += 0.4 * FLUSH_SECONDS
    recorder(Tick())
    assert store.records() == [one, two]
    assert recorder.records == {one.id: one, two.id: two}


def test_flushing_twice_writes_once(store: Store) -> None:
    recorder = ResultRecorder(store, no_callback)
    (one,) = (shown(spec) for spec in planned(levels=(1,), seeds=1))
    recorder(Finished(one.id, (one,)))
    recorder.flush()
    recorder.flush()
    assert store.journal.path.read_bytes().count(b"\n") == 1


def test_a_checkpoint_stays_until_its_record_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = ResultRecorder(store, no_callback)
    (one,) = (shown(spec) for spec in planned(levels=(1,), seeds=1))
    recorder(Saved(one.id, ONES, {"id": one.id, "step": 3}))
    recorder(TrainedWeights(one.id, ONES))
    recorder(Finished(one.id, (one,)))
    assert store.load(one.id) is not None

    def full(records: object) -> None:
        raise StoreError("The disk is full.")

    with monkeypatch.context() as context:
        context.setattr(store.journal, "append", full)
        with pytest.raises(StoreError):
            recorder.flush()
    assert store.load(one.id) is not None
    recorder.flush()
    assert store.load(one.id) is None
    assert store.records() == [one]
    assert (store.path / "weights" / f"{one.id}.safetensors").is_file()


def test_a_failure_is_a_record_with_its_reason(store: Store) -> None:
    events: list[Event] = []
    recorder = ResultRecorder(store, events.append)
    (spec,) = planned(levels=(1,), seeds=1)
    recorder(Failed(Job("group", (spec,)), "its worker was lost"))
    recorder.flush()
    (record,) = store.records()
    assert (record.id, record.spec, record.status, record.reason) == (spec.id, spec, "failed", "its worker was lost")
    assert math.isnan(record.accuracy.mean)
    assert math.isnan(record.accuracy.chance)
    assert not record.solved
    assert [event.record.id for event in events if isinstance(event, RunFinished)] == [spec.id]
    assert failure_record(spec, "x").numbers() != failure_record(spec, "y").numbers()


def test_it_forwards_events_and_counts_stopped_jobs(store: Store) -> None:
    events: list[Event] = []
    recorder = ResultRecorder(store, events.append)
    (spec,) = planned(levels=(1,), seeds=1)
    started = RunStarted(spec, 0, 10, "cpu")
    for message in (Ready(), Progressed(started), Stopped(spec.id), Tick()):
        recorder(message)
    assert events == [started]
    assert recorder.stopped == 1
