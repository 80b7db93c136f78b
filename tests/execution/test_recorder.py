"""The clerk: what workers tell is kept, records first, and a failure is a record too."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from attnlab.errors import StoreError
from attnlab.execution.jobs import Failed, Finished, Job, Learned, Progressed, Ready, Saved, Stopped, Tick
from attnlab.execution.recorder import FLUSH_SECONDS, ResultRecorder, failure_record
from attnlab.storage import Store
from attnlab.training.events import Event, RunFinished, RunStarted, no_callback
from tests.experiments.sweeps import planned, shown

ONES = {"w": np.ones(3, dtype=np.float32)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "results")
    found.open()
    return found


def test_records_wait_for_others_but_not_for_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("attnlab.execution.recorder.time.monotonic", lambda: now)
    clerk = ResultRecorder(store, no_callback)
    one, two = (shown(spec) for spec in planned(rungs=(1,)))
    clerk(Finished(one.id, (one,)))
    now += 0.8 * FLUSH_SECONDS
    clerk(Finished(two.id, (two,)))
    assert store.records() == []
    now += 0.4 * FLUSH_SECONDS
    clerk(Tick())
    assert store.records() == [one, two]
    assert clerk.records == {one.id: one, two.id: two}


def test_flushing_twice_writes_once(store: Store) -> None:
    clerk = ResultRecorder(store, no_callback)
    (one,) = (shown(spec) for spec in planned(rungs=(1,), seeds=1))
    clerk(Finished(one.id, (one,)))
    clerk.flush()
    clerk.flush()
    assert store.journal.path.read_bytes().count(b"\n") == 1


def test_a_checkpoint_stays_until_its_record_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clerk = ResultRecorder(store, no_callback)
    (one,) = (shown(spec) for spec in planned(rungs=(1,), seeds=1))
    clerk(Saved(one.id, ONES, {"step": 3}))
    clerk(Learned(one.id, ONES))
    clerk(Finished(one.id, (one,)))
    assert store.load(one.id) is not None

    def full(records: object) -> None:
        raise StoreError("The disk is full.")

    with monkeypatch.context() as context:
        context.setattr(store.journal, "append", full)
        with pytest.raises(StoreError):
            clerk.flush()
    assert store.load(one.id) is not None
    clerk.flush()
    assert store.load(one.id) is None
    assert store.records() == [one]
    assert (store.path / "weights" / f"{one.id}.safetensors").is_file()


def test_a_failure_is_a_record_with_its_reason(store: Store) -> None:
    events: list[Event] = []
    clerk = ResultRecorder(store, events.append)
    (spec,) = planned(rungs=(1,), seeds=1)
    clerk(Failed(Job("bundle", (spec,)), "its worker was lost"))
    clerk.flush()
    (record,) = store.records()
    assert (record.id, record.spec, record.status, record.reason) == (spec.id, spec, "failed", "its worker was lost")
    assert math.isnan(record.accuracy.mean)
    assert math.isnan(record.accuracy.chance)
    assert not record.solved
    assert [event.record.id for event in events if isinstance(event, RunFinished)] == [spec.id]
    assert failure_record(spec, "x").numbers() != failure_record(spec, "y").numbers()


def test_it_passes_events_on_and_counts_what_was_stopped(store: Store) -> None:
    events: list[Event] = []
    clerk = ResultRecorder(store, events.append)
    (spec,) = planned(rungs=(1,), seeds=1)
    began = RunStarted(spec, 0, 10, "cpu")
    for message in (Ready(), Progressed(began), Stopped(spec.id), Tick()):
        clerk(message)
    assert events == [began]
    assert clerk.stopped == 1
