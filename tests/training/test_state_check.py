"""A checkpoint or weights that are not those of the run are refused by name, and nothing of them is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from attnlab.errors import InterruptedTraining, StoreError
from attnlab.specs import RunSpec
from attnlab.storage.arrays import Arrays
from attnlab.tasks.io.streams import Source
from attnlab.training.load_model import rebuild_model
from attnlab.training.run import train_runs
from attnlab.training.stepper import SingleStepper, Stepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import MemoryCheckpointer, interrupt_at, tiny

CPU = torch.device("cpu")
WEIGHT = "blocks.0.mlp.up_proj.weight"
About = dict[str, Any]
Edit = Callable[[Arrays, About], Any]


def wider(arrays: Arrays, about: About) -> None:
    arrays[f"exp_avg/{WEIGHT}"] = np.zeros((9, 8), np.float32)


def scalar(arrays: Arrays, about: About) -> None:
    arrays[f"weight/{WEIGHT}"] = np.zeros((), np.float32)


def double(arrays: Arrays, about: About) -> None:
    arrays[f"exp_avg_sq/{WEIGHT}"] = arrays[f"exp_avg_sq/{WEIGHT}"].astype(np.float64)


def unknown(arrays: Arrays, about: About) -> None:
    arrays["weight/blocks.9.mlp"] = np.zeros(3, np.float32)


def vector(arrays: Arrays, about: About) -> None:
    arrays["taken"] = np.zeros(2, np.float32)


def counted(value: Any) -> Edit:
    return lambda arrays, about: arrays.update({f"step/{WEIGHT}": np.asarray(value)})


def set_to(key: str, value: Any) -> Edit:
    return lambda arrays, about: about.update({key: value})


def without(name: str) -> Edit:
    return lambda arrays, about: arrays.pop(name)


POINT = {"step": "soon", "loss": 1.0, "accuracy": 0.5}
EDITS: list[tuple[Edit, str]] = [
    (wider, f"The array 'exp_avg/{WEIGHT}' is 9 x 8; that of the run is 8 x 8."),
    (scalar, f"The array 'weight/{WEIGHT}' is a scalar; that of the run is 8 x 8."),
    (double, f"The array 'exp_avg_sq/{WEIGHT}' has the type float64, not float32."),
    (unknown, "The model of the run has no 'weight/blocks.9.mlp'."),
    (vector, "'taken' is no number."),
    *((counted(value), f"'step/{WEIGHT}' is no number.") for value in (np.nan, -1.0, 2.5, True, 8j, np.inf)),
    (counted(0), f"'step/{WEIGHT}' is 0, and the optimizer has gone on from there."),
    (counted(25), f"'step/{WEIGHT}' is 25, and the run has 24 steps."),
    (without(f"weight/{WEIGHT}"), f"The array 'weight/{WEIGHT}' is missing."),
    (without(f"exp_avg_sq/{WEIGHT}"), f"The array 'exp_avg_sq/{WEIGHT}' is missing."),
    (set_to("step", 25), "It is at step 25, and the run has 24."),
    (set_to("step", 3), "It is at step 3, and its arrays are at step 8."),
    (set_to("step", "8"), "It is at step '8', and the run has 24."),
    (set_to("losses", [1.0, "x"]), "Its field 'losses' has something else than numbers."),
    *((set_to("initial_loss", value), "Its field 'initial_loss' is no number.") for value in ("\u00e9", True, [1.0])),
    (set_to("history", [POINT]), "Its field 'history.step': "),
    (set_to("history", [POINT | {"step": 8, "accuracy": "1"}]), "Its field 'history.accuracy': "),
    (set_to("diagnostics_history", [{"step": "8", "values": {}}]), "Its field 'diagnostics_history.step': "),
    (set_to("early_stopped", None), "Its field 'early_stopped' is no bool."),
    (set_to("id", "0123"), "It is of another run, '0123'."),
]


def checkpoint(spec: RunSpec) -> MemoryCheckpointer:
    """The checkpoint of a run at its first validation."""
    saved = MemoryCheckpointer()
    with pytest.raises(InterruptedTraining):
        train_runs([spec], interrupt_at(8), device=CPU, checkpointer=saved)
    return saved


@pytest.mark.parametrize(("edit", "said"), EDITS)
def test_a_checkpoint_that_does_not_fit_is_refused(edit: Edit, said: str) -> None:
    spec = tiny()
    saved = checkpoint(spec)
    arrays, about = saved.load(spec.id) or ({}, {})
    edit(arrays, about)
    saved.save(spec.id, arrays, about)
    with pytest.raises(StoreError) as caught:
        train_runs([spec], device=CPU, checkpointer=saved, resume=True)
    assert caught.value.problem.startswith(said)
    assert caught.value.where == f"checkpoints/{spec.id}.safetensors"
    assert "start that run anew" in caught.value.hint


def test_one_that_does_not_fit_leaves_the_others_alone() -> None:
    specs = [tiny(seed=seed) for seed in range(2)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    stepper = VmapStepper(specs, sources, CPU)
    before = stepper.optimizer.weights_KP.clone()
    state = stepper.state(1)
    wider(state, {})
    with pytest.raises(StoreError):
        stepper.check(1, state)
    assert torch.equal(stepper.optimizer.weights_KP, before)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("attention", ["softmax", "expressive", "performer"])
def test_every_state_fits_every_stepper_of_its_run(optimizer: str, attention: str) -> None:
    spec = tiny(attention, optimizer=optimizer)
    source = Source(spec.task, spec.seed)
    single, stacked = SingleStepper(spec, source, CPU), VmapStepper([spec], [source], CPU)
    steppers: tuple[Stepper, ...] = (single, stacked)
    for stepper in steppers:
        stepper.step({0: source.training(0, 4)}, {0: 1e-3})
    for state in (single.state(0), stacked.state(0), {f"weight/{n}": a for n, a in single.weights(0).items()}):
        for stepper in steppers:
            stepper.check(0, state)


def test_weights_of_another_shape_are_refused() -> None:
    spec = tiny()
    source = Source(spec.task, spec.seed)
    weights = SingleStepper(spec, source, CPU).weights(0)
    rebuild_model(spec, weights, source)
    for array, said in ((np.zeros((2, 2), np.float32), "is 2 x 2"), (np.zeros((8, 8), np.int32), "has the type int32")):
        with pytest.raises(StoreError, match=f"The array '{WEIGHT}' {said}"):
            rebuild_model(spec, weights | {WEIGHT: array}, source)
