"""Requests to records: which runs are trained, which are stored, and which are not trained again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attnlab
from attnlab.errors import DeviceError, InterruptedTraining, InvalidValueError, LostStoreError, UnknownNameError
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.experiments.run_train import run_train
from attnlab.specs import Part
from attnlab.storage import Store
from attnlab.storage.weights import read
from attnlab.training import precision
from attnlab.training.events import Event, Notice, RunStarted
from tests.training.runs import interrupt_at

TINY: dict[str, Any] = {
    "model": {"layers": 1, "width": 8, "mlp_ratio": 1.0},
    "train": {
        "max_steps": 6,
        "batch_size": 4,
        "eval_every": 3,
        "validation_examples": 4,
        "test_examples": 8,
        "early_stop_accuracy": None,
    },
    "task": {"symbols": 2, "alphabet": 3},
}


def make_request(*attentions: str, seeds: tuple[int, ...] = (0,), **train_settings: Any) -> Request:
    settings = {**TINY, "train": {**TINY["train"], **train_settings}}
    variants = [(Part(name=name),) for name in attentions or ("softmax",)]
    return Request(task=Part(name="copy"), attentions=variants, seeds=seeds, settings=settings)


def started(events: list[Event]) -> list[str]:
    return [event.spec.id for event in events if isinstance(event, RunStarted)]


def test_records_come_in_the_order_of_the_plan() -> None:
    request = make_request("softmax", "gpam", seeds=(3, 4))
    records = run_train(request, store=None, device_name="cpu")
    assert [record.spec for record in records] == plan(request)
    assert len({str(record.numbers()["history"]) for record in records}) == 4


def test_without_a_store_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_train(make_request(), store=None, device_name="cpu")
    assert list(tmp_path.iterdir()) == []


def test_the_store_has_records_and_weights(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "results"
    records = run_train(make_request(seeds=(0, 1)), store=store, device_name="cpu")
    assert Store(store).records() == records
    for record in records:
        arrays, metadata = read(store / "weights" / f"{record.id}.safetensors")
        assert sum(array.size for array in arrays.values()) == record.parameters
        assert metadata == {"id": record.id}
        assert all(np.isfinite(array).all() for array in arrays.values())
    assert not list(store.glob("checkpoints/*"))


def test_resuming_skips_finished_runs(tmp_path: Path) -> None:
    (first,) = run_train(make_request(seeds=(1,)), store=tmp_path, device_name="cpu")
    events: list[Event] = []
    request = make_request(seeds=(0, 1, 2))
    records = run_train(request, store=tmp_path, device_name="cpu", resume=True, progress=events.append)
    zero, one, two = (spec.id for spec in plan(request))
    assert started(events) == [zero, two]
    assert records[1] == first
    assert [record.id for record in records] == [zero, one, two]
    assert [record.id for record in Store(tmp_path).records()] == [one, zero, two]


def test_without_resume_it_is_trained_again_to_the_same_numbers(tmp_path: Path) -> None:
    (first,) = run_train(make_request(), store=tmp_path, device_name="cpu")
    events: list[Event] = []
    (again,) = run_train(make_request(), store=tmp_path, device_name="cpu", progress=events.append)
    assert started(events) == [first.id]
    assert again.numbers() == first.numbers()
    assert [record.numbers() for record in Store(tmp_path).records()] == [first.numbers()]


def test_a_run_that_is_requested_twice_is_trained_once() -> None:
    events: list[Event] = []
    records = run_train(make_request("gpam", "dagpam"), store=None, device_name="cpu", progress=events.append)
    assert len(started(events)) == 1
    assert records[0] == records[1]


def test_a_store_that_is_removed_during_a_training_is_told(tmp_path: Path) -> None:
    def remove(event: Event) -> None:
        if isinstance(event, RunStarted):
            shutil.rmtree(tmp_path / "store")

    with pytest.raises(LostStoreError) as caught:
        run_train(make_request(max_steps=3), store=tmp_path / "store", device_name="cpu", progress=remove)
    assert caught.value.status == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_request_stores_finished_runs_and_goes_on(tmp_path: Path) -> None:
    request = make_request(seeds=(0, 1), max_steps=12)
    interrupt = interrupt_at(9)
    events: list[Event] = []

    def second_only(event: Event) -> None:
        events.append(event)
        if len(started(events)) == 2:
            interrupt(event)

    with pytest.raises(InterruptedTraining, match=r"Interrupted at step 9 of 12\."):
        run_train(request, store=tmp_path, device_name="cpu", progress=second_only)
    first, second = plan(request)
    assert [record.id for record in Store(tmp_path).records()] == [first.id]
    assert (tmp_path / "checkpoints" / f"{second.id}.safetensors").exists()
    resumed: list[Event] = []
    records = run_train(request, store=tmp_path, device_name="cpu", resume=True, progress=resumed.append)
    assert started(resumed) == [second.id]
    assert [event.step for event in resumed if isinstance(event, RunStarted)] == [9]
    assert not (tmp_path / "checkpoints" / f"{second.id}.safetensors").exists()
    fresh = run_train(request, store=None, device_name="cpu")
    assert [record.numbers() for record in records] == [record.numbers() for record in fresh]
    saved, _ = read(tmp_path / "weights" / f"{second.id}.safetensors")
    run_train(request, store=tmp_path / "fresh", device_name="cpu")
    again, _ = read(tmp_path / "fresh" / "weights" / f"{second.id}.safetensors")
    assert saved.keys() == again.keys()
    assert all(np.array_equal(saved[name], again[name]) for name in saved)


def test_nothing_is_written_where_the_request_cannot_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "results"
    with pytest.raises(UnknownNameError, match="There is no attention 'sofmax'"):
        run_train(make_request("sofmax"), store=store)
    with pytest.raises(InvalidValueError, match=r"It cannot be 0\."):
        run_train(make_request(max_steps=0), store=store)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="There is no device 'cuda' here"):
        run_train(make_request(), store=store, device_name="cuda")
    assert not store.exists()


def test_in_python_it_is_one_call(tmp_path: Path) -> None:
    records = attnlab.train(
        "copy",
        "softmax,dape:kernel=3,width=4",
        position="none,alibi",
        complexity=2,
        seed=5,
        seeds=2,
        model=TINY["model"],
        train=TINY["train"],
        options={"alphabet": 3},
        store=str(tmp_path),
        device="cpu",
    )
    assert [(r.spec.variant, r.spec.model.position.name, r.spec.seed) for r in records] == [
        (variant, position, seed)
        for variant in ("softmax", "dape:kernel=3,width=4")
        for position in ("none", "alibi")
        for seed in (5, 6)
    ]
    assert Store(tmp_path).records() == records
    assert {r.spec.task.options["symbols"] for r in records} == {2}


def test_in_python_the_defaults_are_those_of_a_bare_request() -> None:
    short = {**TINY["train"], "max_steps": 1}
    (record,) = attnlab.train("copy", train=short, store=None, device="cpu")
    (spec,) = plan(Request(task=Part(name="copy"), settings={"train": short}))
    assert record.spec == spec


def test_the_number_of_threads_is_that_asked_for_and_is_recorded() -> None:
    before = torch.get_num_threads()
    for threads in (1, 2):
        (record,) = run_train(make_request(), store=None, device_name="cpu", threads=threads)
        assert record.environment["threads"] == threads
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("fast", [True, False])
def test_automatic_precision_is_resolved_when_runs_are_planned(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_products", lambda: fast)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    (spec,) = plan(make_request(precision="auto"))
    assert spec.train.precision == ("bf16" if fast else "float32")
    with pytest.raises(InvalidValueError, match=r"It cannot be 'half'\.\n  Use float32, tf32, bf16 or auto\."):
        plan(make_request(precision="half"))
    named = make_request(precision="bf16")
    assert (spec.id == plan(named)[0].id) == fast
    events: list[Event] = []
    run_train(named, store=None, device_name="cpu", progress=events.append)
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert ["no instructions for bf16" in text for text in notices] == [True] * (not fast)
