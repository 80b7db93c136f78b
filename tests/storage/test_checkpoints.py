"""Checkpoints of whole groups, which earlier versions wrote, become checkpoints of their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attnlab.errors import StoreError
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.storage.arrays import Arrays
from attnlab.storage.checkpoints import Checkpoint
from attnlab.storage.status import store_status
from attnlab.tasks.io.streams import Source
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import tiny

CPU = torch.device("cpu")
NAMES = {"weight": "weight", "exp_avg": "first", "exp_avg_sq": "second"}


def group_of(specs: list[RunSpec]) -> tuple[VmapStepper, Arrays, dict[str, Any]]:
    """Three runs of which the second has ended, and their checkpoint as it was written for the whole group."""
    sources = [Source(spec.task, spec.seed) for spec in specs]
    stepper = VmapStepper(specs, sources, CPU)
    for step, running in ((0, (0, 1, 2)), (1, (0, 2))):
        batches = {index: sources[index].training(step, 8) for index in running}
        stepper.step(batches, dict.fromkeys(running, 1e-2))
    arrays: Arrays = {"runs": np.asarray([0, 2], np.float32), "taken": np.asarray(2, np.float32)}
    for new, old in NAMES.items():
        for name in stepper.optimizer.shapes:
            rows = [stepper.state(index).get(f"{new}/{name}", np.zeros(0, np.float32)) for index in (0, 2)]
            shape = stepper.optimizer.shapes[name]
            arrays[f"{old}/{name}"] = np.stack([row if row.size else np.zeros(shape, np.float32) for row in rows])
    arrays |= {f"retired/1/{name}": stepper.state(1)[f"weight/{name}"] for name in stepper.optimizer.shapes}
    ends = [(2, ""), (1, "the loss was nan at step 1"), (2, "")]
    runs: list[dict[str, Any]] = [
        {"id": spec.id, "step": step, "losses": [], "history": [], "diagnostics_history": [], "reason": reason}
        | {"early_stopped": False}
        for spec, (step, reason) in zip(specs, ends, strict=True)
    ]
    return stepper, arrays, {"runs": runs}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_checkpoint_of_a_group_is_split_when_its_store_is_opened(tmp_path: Path, optimizer: str) -> None:
    specs = [tiny("gpam", seed=seed, optimizer=optimizer) for seed in range(3)]
    stepper, arrays, about = group_of(specs)
    store = Store(tmp_path)
    store.open()
    store.save("0123456789ab", arrays, about)
    group = tuple(spec.id for spec in specs)
    listed = [Checkpoint(spec.id, step, group=group) for spec, step in zip(specs, (2, 1, 2), strict=True)]
    assert list(store_status(tmp_path).checkpoints.values()) == listed
    for _ in range(2):
        store.open()
        assert set(store.checkpoints().values()) == set(listed)
        assert {path.stem for path in (tmp_path / "checkpoints").iterdir()} == set(group)
    for index, spec in enumerate(specs):
        loaded = store.load(spec.id)
        assert loaded is not None
        assert loaded[1]["reason"] == about["runs"][index]["reason"]
        single = SingleStepper(spec.model_copy(update={"seed": 9}), Source(spec.task, 9), CPU)
        single.restore(0, loaded[0])
        ours, expected = single.state(0), stepper.state(index)
        names = {name for name in expected if index != 1 or name.startswith("weight/")}
        assert names <= ours.keys()
        assert all(np.array_equal(ours[name], expected[name]) for name in names)


def test_the_later_of_two_checkpoints_of_a_run_stays(tmp_path: Path) -> None:
    specs = [tiny(seed=seed) for seed in range(3)]
    _, arrays, about = group_of(specs)
    store = Store(tmp_path)
    store.open()
    for spec, step in zip(specs, (1, 1, 7), strict=True):
        store.save(spec.id, {}, {"id": spec.id, "step": step})
    store.save("0123456789ab", arrays, about)
    store.open()
    assert [store.checkpoints()[spec.id].step for spec in specs] == [2, 1, 7]


def test_what_cannot_be_split_stays_and_is_named(tmp_path: Path) -> None:
    specs = [tiny(seed=seed) for seed in range(3)]
    _, arrays, about = group_of(specs)
    store = Store(tmp_path)
    store.open()
    del arrays["taken"]
    store.save("0123456789ab", arrays, about)
    (tmp_path / "checkpoints" / "torn.safetensors").write_bytes(b"")
    store.open()
    assert {path.stem for path in (tmp_path / "checkpoints").iterdir()} == {"0123456789ab", "torn"}
    assert [one.run for one in store.checkpoints().values() if not one.readable] == ["torn"]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../other"},
        {"id": 3},
        {"step": "2"},
        {"step": -1},
        {"step": True},
        {"step": 10**30},
        {"max_steps": None},
        {"summary": []},
        {"group": 3},
        {"group": ["a/b"]},
    ],
)
def test_a_checkpoint_with_a_field_of_another_type_is_listed_as_unreadable(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    about = {"id": "0123456789ab", "step": 2, "max_steps": 4, "summary": "a run", "group": ["0123456789ab"]}
    store = Store(tmp_path / "store")
    store.open()
    store.save("0123456789ab", {"taken": np.asarray(2, np.float32)}, about)
    assert store.checkpoints()["0123456789ab"].readable
    store.save("0123456789ab", {"taken": np.asarray(2, np.float32)}, {**about, **change})
    assert store.checkpoints() == {"0123456789ab": Checkpoint("0123456789ab", readable=False)}
    with pytest.raises(StoreError, match=r"It is no checkpoint of one run\."):
        store.load("0123456789ab")
    store.open()  # splits groups
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == ["0123456789ab.safetensors"]
