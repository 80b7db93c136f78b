"""A run continues a finished one; and whoever begins anew is told what could be gone on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import attnlab
from attnlab.analysis.grids import grids
from attnlab.errors import AttnlabError, InterruptedTraining, InvalidValueError, StoreError, UnknownNameError
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.experiments.run_train import run_train
from attnlab.records import Record
from attnlab.specs import Part
from attnlab.storage import Store
from attnlab.storage.weights import read
from attnlab.training.events import Event, Notice, RunStarted
from tests.experiments.test_run_train import TINY
from tests.training.runs import interrupt_at

CONSTANT: dict[str, Any] = {"schedule": "constant", "warmup_ratio": 0.0}


def make_request(steps: int, *, seeds: tuple[int, ...] = (0,), attention: str = "softmax", **more: Any) -> Request:
    """Copying two symbols for some steps; ``more`` sets fields by section."""
    sections = {section: {**fields, **more.get(section, {})} for section, fields in TINY.items()}
    sections["train"]["max_steps"] = steps
    return Request(task=Part(name="copy"), attentions=[(Part(name=attention),)], seeds=seeds, settings=sections)


def trained(request: Request, store: Path | None, **more: Any) -> list[Record]:
    return run_train(request, store=store, device_name="cpu", **more)


def notices(request: Request, store: Path, **more: Any) -> list[str]:
    events: list[Event] = []
    trained(request, store, progress=events.append, **more)
    return [event.text for event in events if isinstance(event, Notice)]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("vmap", [1, 2])
def test_a_continued_run_comes_to_the_numbers_of_one_run_of_all_steps(
    tmp_path: Path, optimizer: str, vmap: int
) -> None:
    train = {**CONSTANT, "optimizer": optimizer}
    firsts = trained(make_request(6, seeds=(0, 1), train=train), tmp_path, vmap=vmap)
    events: list[Event] = []
    request = make_request(12, seeds=(0, 1), train=train)
    records = trained(request, tmp_path, vmap=vmap, continue_from=firsts[0].id, progress=events.append)
    whole = trained(request, tmp_path / "whole", vmap=vmap)
    assert [event.step for event in events if isinstance(event, RunStarted)] == [6, 6]
    for first, record, other in zip(firsts, records, whole, strict=True):
        assert record.spec.continue_from == first.id
        assert record.id not in (first.id, other.id)
        same = {"id": other.id, "spec": other.spec}
        assert record.model_copy(update=same).numbers() == other.numbers()
        for kind in ("weights", "optimizer"):
            ours, _ = read(tmp_path / kind / f"{record.id}.safetensors")
            theirs, _ = read(tmp_path / "whole" / kind / f"{other.id}.safetensors")
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert Store(tmp_path).records() == [*firsts, *records]
    assert not list((tmp_path / "checkpoints").iterdir())


def test_the_schedule_is_that_of_all_steps_from_the_step_reached(tmp_path: Path) -> None:
    (first,) = trained(make_request(6), tmp_path)
    (record,) = trained(make_request(12), tmp_path, continue_from=first.id)
    (whole,) = trained(make_request(12), None)
    assert record.history[:2] == first.history
    assert [point.step for point in record.history] == [point.step for point in whole.history] == [3, 6, 9, 12]
    assert record.history[2] != whole.history[2]  # its first six steps had the rates of a run of six


def test_a_continued_run_can_be_continued_stopped_and_resumed(tmp_path: Path) -> None:
    (first,) = trained(make_request(6, train=CONSTANT), tmp_path)
    (second,) = trained(make_request(9, train=CONSTANT), tmp_path, continue_from=first.id)
    request = make_request(60, train=CONSTANT)
    with pytest.raises(InterruptedTraining):
        trained(request, tmp_path, continue_from=second.id[:8], progress=interrupt_at(20))
    events: list[Event] = []
    (third,) = trained(request, tmp_path, continue_from=second.id, resume=True, progress=events.append)
    assert [event.step for event in events if isinstance(event, RunStarted)] == [20]
    (whole,) = trained(request, None)
    assert third.model_copy(update={"id": whole.id, "spec": whole.spec}).numbers() == whole.numbers()
    assert trained(request, tmp_path, continue_from=second.id, resume=True) == [third]


def test_a_run_of_another_rate_batch_and_validation_continues(tmp_path: Path) -> None:
    (first,) = trained(make_request(6), tmp_path)
    other = {"lr": 1e-2, "batch_size": 8, "eval_every": 4, "grad_clip": None}
    (record,) = trained(make_request(12, train=other), tmp_path, continue_from=first.id)
    assert (record.steps, record.spec.train.lr) == (12, 1e-2)
    assert [point.step for point in record.history] == [3, 6, 8, 12]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"model": {"width": 16}}, "model.width 8, not 16"),
        ({"model": {"layers": 2}}, "model.layers 1, not 2"),
        ({"attention": "gpam"}, "model.attention name=softmax"),
        ({"task": {"symbols": 3}}, "task.options symbols=2, alphabet=3, not symbols=3, alphabet=3"),
        ({"train": {"optimizer": "muon"}}, "train.optimizer adamw, not muon"),
        ({"train": {"train_examples": 5}}, "train.train_examples None, not 5"),
    ],
)
def test_what_differs_is_named_and_nothing_is_written(tmp_path: Path, more: dict[str, Any], named: str) -> None:
    (first,) = trained(make_request(6), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidValueError) as caught:
        trained(make_request(12, **more), tmp_path, continue_from=first.id)
    assert caught.value.where == f"--continue-from {first.id}"
    assert named in caught.value.problem
    assert caught.value.problem.count("\n") == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_continued_is_refused_with_the_cure(tmp_path: Path) -> None:
    (first,) = trained(make_request(6), tmp_path)
    (diverged,) = trained(make_request(6, train={**CONSTANT, "lr": 1e6, "grad_clip": None}), tmp_path)
    assert diverged.status == "diverged"

    def refused(kind: type[AttnlabError], request: Request, word: str, store: Path | None = tmp_path) -> str:
        with pytest.raises(kind) as caught:
            trained(request, store, continue_from=word)
        return str(caught.value)

    assert "has taken 6 steps, and 6 are asked for in all.\n  Give more: --steps 12" in refused(
        InvalidValueError, make_request(6), first.id
    )
    assert "is not done but diverged: the loss was" in refused(InvalidValueError, make_request(12), diverged.id)
    assert "There is no run 'zz'" in refused(UnknownNameError, make_request(12), "zz")
    assert f"No run of seed 7 was trained like run {first.id}." in refused(
        InvalidValueError, make_request(12, seeds=(0, 7)), first.id
    )
    assert "there is no store to find them in" in refused(InvalidValueError, make_request(12), first.id, None)
    (tmp_path / "optimizer" / f"{first.id}.safetensors").unlink()
    text = refused(StoreError, make_request(12), first.id)
    assert f"Run {first.id} has no optimizer state.\n  `attnlab train` keeps it" in text
    assert not list(tmp_path.glob("checkpoints/*"))


def test_the_optimizer_state_is_kept_as_safetensors_of_twice_the_size_of_the_weights(tmp_path: Path) -> None:
    (first,) = trained(make_request(6), tmp_path)
    with safe_open(tmp_path / "optimizer" / f"{first.id}.safetensors", framework="numpy") as file:
        sizes = [file.get_tensor(name).size for name in file.keys() if "exp_avg" in name]  # noqa: SIM118
    assert sum(sizes) == 2 * first.parameters
    sections = {**_sections(), "options": {"alphabet": 3}}
    attnlab.sweep(
        "copy", complexity=[2], seeds=1, store=tmp_path / "sweep", executor="inline", device="cpu", **sections
    )
    assert {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()} == {"weights"}


def test_a_shorter_run_of_the_variant_is_named_in_one_line(tmp_path: Path) -> None:
    first, _ = trained(make_request(6, seeds=(0, 1)), tmp_path)
    longer = make_request(12, seeds=(0, 1))
    summary = plan(longer)[0].summary
    assert notices(longer, tmp_path, resume=True) == [
        f"{summary}: run {first.id} of this variant has taken 6 steps; this one begins at step 0."
        f" To go on from there instead: --continue-from {first.id}"
    ]
    assert notices(longer, tmp_path, resume=True) == []  # now they are done
    assert notices(make_request(6, seeds=(0, 1)), tmp_path, resume=True) == []
    other = make_request(18, seeds=(0, 1), model={"width": 16})
    assert notices(other, tmp_path, resume=True) == []


def test_checkpoints_that_nothing_goes_on_from_are_named_and_finished_ones_dropped(tmp_path: Path) -> None:
    request = make_request(60)
    with pytest.raises(InterruptedTraining):
        trained(request, tmp_path, progress=interrupt_at(20))
    (spec,) = plan(request)
    folder = tmp_path / "checkpoints"
    assert notices(make_request(6), tmp_path, resume=True) == [
        f"1 checkpoint of another run stays in {folder}; attnlab ls results names them."
    ]
    (line,) = notices(make_request(60), tmp_path)
    assert line == f"{spec.summary}: its checkpoint at step 20 of 60 is not used; --resume would go on from it."
    assert not list(folder.iterdir())
    Store(tmp_path).save(spec.id, {}, {"id": spec.id, "step": 3})  # its process died before it was dropped
    assert notices(make_request(60), tmp_path, resume=True) == []
    assert not list(folder.iterdir())


def test_python_warns_of_what_the_command_line_says(tmp_path: Path) -> None:
    how: dict[str, Any] = {"store": tmp_path, "device": "cpu", **_sections()}
    (first,) = attnlab.train("copy", **how)
    how["train"] = {**how["train"], "max_steps": 12}
    with pytest.warns(UserWarning, match=f"continue_from='{first.id}'") as caught:
        attnlab.train("copy", resume=True, **how)
    assert caught[0].filename == __file__
    (record,) = attnlab.train("copy", continue_from=first, **how)
    assert record.spec.continue_from == first.id


def _sections() -> dict[str, Any]:
    """The sections of settings, as the functions of Python name them."""
    return {"model": TINY["model"], "train": TINY["train"], "options": TINY["task"]}


def test_a_report_tells_a_continued_run_from_one_of_all_steps(tmp_path: Path) -> None:
    (first,) = trained(make_request(6), tmp_path)
    request = make_request(12)
    both = [*trained(request, tmp_path), *trained(request, tmp_path, continue_from=first.id)]
    (shown,) = grids(both)
    assert (shown.row_fields, shown.rows) == (("continued",), (("-",), ("yes",)))
