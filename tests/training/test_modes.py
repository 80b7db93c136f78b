"""Training mode while training, evaluation mode whenever anything is measured, and noise that belongs to the run."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import pytest
import torch
from torch import Tensor, nn

import attnlab
from attnlab.attention import ATTENTIONS, Attention
from attnlab.model.modes import evaluation_mode
from attnlab.records import Record
from attnlab.specs import RunSpec, TaskSpec
from attnlab.tensors import LayerContext
from attnlab.training.run import train_runs
from tests.training.runs import MemoryCheckpointer, interrupt_at, tiny


@pytest.fixture
def noisy() -> Iterator[None]:
    """An attention that drops half of its output, and one that keeps running averages."""

    @ATTENTIONS.register("dropping", source="tests")
    @final
    class Dropping(Attention):
        """Softmax whose output is dropped at random."""

        def __init__(self, context: LayerContext) -> None:
            super().__init__(context)
            self.dropout = nn.Dropout(0.5)

        def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
            out: Tensor = self.dropout(super().output(mixed_BHTC, x_BTD))
            return out

    @ATTENTIONS.register("averaging", source="tests")
    @final
    class Averaging(Attention):
        """Softmax whose output is normalized over the batch."""

        def __init__(self, context: LayerContext) -> None:
            super().__init__(context)
            self.norm = nn.BatchNorm1d(context.width)

        def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
            out: Tensor = self.norm(super().output(mixed_BHTC, x_BTD).transpose(1, 2)).transpose(1, 2)
            return out

    yield
    for name in ("dropping", "averaging"):
        del ATTENTIONS._entries[name]


LEAKY = {"width": 8, "allow_leak": True}
"""Statistics of a batch see later tokens in training."""


def numbers(record: Record) -> dict[str, object]:
    return record.numbers()


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("name", ["dropping", "averaging"])
def test_equal_specs_give_equal_records_whatever_ran_before(name: str) -> None:
    spec = tiny(name, log_diagnostics=("rank", "gradients", "attention"))
    (first,) = train_runs([spec])
    torch.rand(7)
    train_runs([tiny("softmax")])
    (second,) = train_runs([spec])
    assert numbers(first) == numbers(second)
    (other,) = train_runs([tiny(name, seed=1)])
    assert [point.loss for point in other.history] != [point.loss for point in first.history]


@pytest.mark.usefixtures("noisy")
def test_noise_differs_from_step_to_step() -> None:
    """With the same sequences and a rate of nearly zero, only the noise changes the loss."""
    spec = tiny("dropping", train_examples=8, lr=1e-12, eval_every=1)
    (record,) = train_runs([spec])
    assert len({point.loss for point in record.history}) == len(record.history)
    assert len({point.validation_loss for point in record.history}) == 1


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("name", ["dropping", "averaging"])
def test_a_test_comes_out_again_when_the_run_is_evaluated(name: str, tmp_path: Path) -> None:
    fast = {"max_steps": 20, "batch_size": 8, "validation_examples": 8, "test_examples": 64}
    (record,) = attnlab.train("copy", name, model=LEAKY, train=fast, store=tmp_path, device="cpu")
    (score,) = attnlab.evaluate(record, store=tmp_path, device="cpu")
    assert score.accuracy == record.accuracy
    assert score.loss == pytest.approx(record.loss, rel=1e-6)


@pytest.mark.usefixtures("noisy")
def test_a_run_that_was_stopped_goes_on_with_the_noise_it_would_have_had() -> None:
    spec, store = tiny("dropping"), MemoryCheckpointer()
    (whole,) = train_runs([spec])
    with pytest.raises(attnlab.errors.InterruptedTraining):
        train_runs([spec], interrupt_at(8), checkpointer=store)
    (resumed,) = train_runs([spec], checkpointer=store, resume=True)
    assert numbers(resumed) == numbers(whole)


@pytest.mark.usefixtures("noisy")
def test_running_averages_do_not_move_while_anything_is_measured(tmp_path: Path) -> None:
    fast = {"max_steps": 4, "batch_size": 8, "eval_every": 1, "validation_examples": 64, "test_examples": 64}
    few = {**fast, "validation_examples": 4, "test_examples": 4}
    for folder, train in (("many", fast), ("few", few)):
        attnlab.train("copy", "averaging", model=LEAKY, train=train, store=tmp_path / folder, device="cpu")
    states = [attnlab.load_model("", tmp_path / folder).state_dict() for folder in ("many", "few")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert all(int(states[0][f"blocks.{layer}.attention.norm.num_batches_tracked"]) == 4 for layer in (0, 1))


def close(records: Sequence[Record], expected: Sequence[Record]) -> None:
    """The records are the same up to rounding."""
    for record, other in zip(records, expected, strict=True):
        losses = [(point.loss, point.validation_loss) for point in other.history]
        assert [(point.loss, point.validation_loss) for point in record.history] == [
            pytest.approx(pair, rel=1e-4) for pair in losses
        ]
        assert record.loss == pytest.approx(other.loss, rel=1e-4)


def vmappable(name: str, count: int) -> list[RunSpec]:
    return [tiny(name, seed=seed, lr=1e-3 * (1 + seed)) for seed in range(count)]


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("name", ["dropping", "averaging"])
def test_vmapped_runs_have_the_noise_and_the_averages_that_they_have_alone(name: str) -> None:
    specs, alone, stacked = vmappable(name, 3), MemoryCheckpointer(), MemoryCheckpointer()
    expected = [record for spec in specs for record in train_runs([spec], checkpointer=alone)]
    records = train_runs(specs, vmap=3, checkpointer=stacked)
    assert [record.environment["vmap"] for record in records] == [3, 3, 3]
    close(records, expected)
    for spec in specs:
        weights = stacked.finished[spec.id]
        for weight, array in alone.finished[spec.id].items():
            assert weights[weight] == pytest.approx(array, abs=1e-3), weight
    again = train_runs(specs, vmap=3)
    assert [numbers(record) for record in again] == [numbers(record) for record in records]
    assert len({record.history[0].loss for record in records}) == 3


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("name", ["dropping", "averaging"])
def test_vmapped_runs_that_were_stopped_go_on_with_their_noise_and_averages(name: str) -> None:
    specs, store = vmappable(name, 2), MemoryCheckpointer()
    whole = train_runs(specs, vmap=2)
    with pytest.raises(attnlab.errors.InterruptedTraining):
        train_runs(specs, interrupt_at(8), checkpointer=store, vmap=2)
    regrouped = copy.deepcopy(store)
    resumed = train_runs(specs, checkpointer=store, resume=True, vmap=2)
    assert [numbers(record) for record in resumed] == [numbers(record) for record in whole]
    close(train_runs(specs, checkpointer=regrouped, resume=True), whole)


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("name", ["dropping", "averaging"])
def test_a_run_keeps_its_noise_and_averages_when_others_have_ended(name: str) -> None:
    """The first run diverges at its second validation, and the others are repacked."""
    specs = [tiny(name, seed=0, lr=1e4, grad_clip=None), *[tiny(name, seed=seed) for seed in (1, 2)]]
    records = train_runs(specs, vmap=3)
    assert [record.status for record in records] == ["diverged", "done", "done"]
    close(records[1:], [record for spec in specs[1:] for record in train_runs([spec])])


@pytest.mark.usefixtures("noisy")
def test_vmapped_runs_with_sequences_of_several_lengths_have_their_noise() -> None:
    """Batches are not padded: what is dropped depends on their shapes."""
    ranged = TaskSpec(name="copy", options={"symbols": 4, "alphabet": 4}, train={"symbols": "2..4"})
    specs = [tiny("dropping", seed=seed, task=ranged, max_steps=8) for seed in range(2)]
    close(train_runs(specs, vmap=2), [record for spec in specs for record in train_runs([spec])])


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("vmap", [1, 2])
def test_running_averages_move_in_bfloat16(vmap: int) -> None:
    store = MemoryCheckpointer()
    specs = [tiny("averaging", seed=seed, precision="bf16") for seed in range(2)]
    train_runs(specs, vmap=vmap, checkpointer=store)
    for arrays in store.finished.values():
        assert arrays["blocks.0.attention.norm.num_batches_tracked"] == 24
        assert abs(arrays["blocks.0.attention.norm.running_var"] - 1).max() > 0.5


def test_training_leaves_the_generators_of_its_caller_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train_runs([tiny()])
    assert torch.equal(torch.get_rng_state(), before)


def test_every_module_gets_its_own_mode_back() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(1, 1)))
    model[1].eval()
    modes = [module.training for module in model.modules()]
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes == [True, True, False, False, False]
