"""The stepper of one run: AdamW by its formula, decay of matrices alone, a state that continues exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from attnlab.attention import Attention
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec
from attnlab.tasks import IGNORE, Batch, Split
from attnlab.tasks.file import File
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.training.stepper import SingleStepper, positions_by_row, unshared_gradients
from tests.training.runs import tiny

CPU = torch.device("cpu")


def stepper_of(spec: RunSpec) -> tuple[SingleStepper, Source]:
    source = Source(spec.task, spec.seed)
    return SingleStepper(spec, source, CPU), source


def step(stepper: SingleStepper, source: Source, count: int, rate: float = 1e-2) -> None:
    for index in range(count):
        stepper.step({0: source.training(index, 8)}, {0: rate})


@pytest.mark.parametrize("attention", ["softmax", "dape", "gpam"])
def test_decay_without_a_gradient_shrinks_matrices_alone(attention: str) -> None:
    stepper, _ = stepper_of(tiny(attention, weight_decay=0.5, lr=0.1))
    before = {name: weight.detach().clone() for name, weight in stepper.model.named_parameters()}
    for weight in stepper.model.parameters():
        weight.grad = torch.zeros_like(weight)
    stepper.optimizer.step(0.1)
    for name, weight in stepper.model.named_parameters():
        factor = 1 - 0.1 * 0.5 if weight.ndim >= 2 else 1.0
        torch.testing.assert_close(weight.detach(), factor * before[name])


def test_the_gradient_norm_is_that_before_clipping() -> None:
    stepper, source = stepper_of(tiny(grad_clip=1e-3))
    assert stepper.gradient_norms() == {}
    batch = source.training(0, 8)
    inputs, targets = torch.from_numpy(batch.inputs_BT), torch.from_numpy(batch.targets_BT)
    asked = (targets != IGNORE).nonzero()
    logits = stepper.model(inputs, asked[:, 0] * inputs.shape[1] + asked[:, 1]).logits_NV
    functional.cross_entropy(logits, targets[targets != IGNORE]).backward()
    squares = sum(float(weight.grad.square().sum()) for weight in stepper.model.parameters() if weight.grad is not None)
    stepper.optimizer.clear()
    step(stepper, source, 1)
    assert stepper.gradient_norms() == {0: pytest.approx(squares**0.5, rel=1e-5)}


def test_without_clipping_no_gradient_norm_is_computed() -> None:
    stepper, source = stepper_of(tiny(grad_clip=None))
    step(stepper, source, 1)
    assert stepper.gradient_norms() == {}


def test_fixed_lambdas_are_not_optimized() -> None:
    spec = tiny()
    part = spec.model.attention[0].model_copy(update={"name": "gpam", "options": {"lambdas": "untied", "minus": 0.25}})
    fixed = spec.model_copy(update={"model": spec.model.model_copy(update={"attention": (part,)})})
    stepper, source = stepper_of(fixed)
    named = dict(stepper.model.named_parameters())
    lambdas = {name: weight for name, weight in named.items() if name.endswith(("plus_H", "minus_H"))}
    assert len(lambdas) == 2
    assert stepper.optimizer.weights.keys() == named.keys() - lambdas.keys()
    step(stepper, source, 3)
    assert [weight.tolist() for weight in lambdas.values()] == [[0.5, 0.5], [0.25, 0.25]]


def test_gradients_are_contiguous_and_no_two_share_memory() -> None:
    one, other, transposed = (torch.ones(2, 3, requires_grad=True) for _ in range(3))
    total = (one + other + transposed.mT.contiguous().mT).square().sum()
    grads = unshared_gradients([*torch.autograd.grad(total, [one, other, transposed]), None])
    assert grads.pop() is None
    present = [grad for grad in grads if grad is not None]
    assert len({grad.data_ptr() for grad in present}) == 3
    for grad in present:
        assert grad.is_contiguous()
        grad.mul_(0.5)
        assert torch.equal(grad, torch.full((2, 3), 3.0))


@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_step_is_adamw_on_the_mean_loss_of_the_query_positions(clip: float | None) -> None:
    spec = tiny(grad_clip=clip, weight_decay=0.1)
    stepper, source = stepper_of(spec)
    reference, _ = stepper_of(spec)
    weights = dict(reference.model.named_parameters())
    moments = {name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in weights.items()}
    losses = []
    for index in range(4):
        batch = source.training(index, 8)
        output = reference.model(torch.from_numpy(batch.inputs_BT), torch.from_numpy(batch.query_positions()))
        loss = functional.nll_loss(output.logits_NV.log_softmax(-1), torch.from_numpy(batch.query_targets()))
        losses.append(loss.item())
        grads = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
        norm = torch.stack([grad.square().sum() for grad in grads.values()]).sum().sqrt()
        shrink = 1.0 if clip is None else min(1.0, clip / (norm.item() + 1e-6))
        rate = 1e-2 / (index + 1)
        with torch.no_grad():
            for name, weight in weights.items():
                first, second = moments[name]
                first.mul_(0.9).add_(0.1 * shrink * grads[name])
                second.mul_(0.98).add_(0.02 * (shrink * grads[name]).square())
                if weight.ndim >= 2:
                    weight.mul_(1 - rate * 0.1)
                scale = (second / (1 - 0.98 ** (index + 1))).sqrt() + 1e-8
                weight.sub_(rate * first / (1 - 0.9 ** (index + 1)) / scale)
        stepper.step({0: batch}, {0: rate})
    assert stepper.losses()[0] == pytest.approx(losses, rel=1e-4)
    for name, weight in stepper.model.named_parameters():
        torch.testing.assert_close(weight, weights[name], rtol=2e-3, atol=2e-5)


def test_losses_are_returned_once() -> None:
    stepper, source = stepper_of(tiny())
    assert stepper.losses() == {0: []}
    step(stepper, source, 3)
    assert len(stepper.losses()[0]) == 3
    assert stepper.losses() == {0: []}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("attention", ["softmax", "dape", "gpam"])
@pytest.mark.parametrize("before", [0, 1, 5])
def test_a_restored_state_continues_exactly(attention: str, before: int, optimizer: str) -> None:
    spec = tiny(attention, optimizer=optimizer)
    one, source = stepper_of(spec)
    step(one, source, before)
    other, _ = stepper_of(spec.model_copy(update={"seed": 9}))
    other.restore(0, one.state(0))
    for stepper in (one, other):
        stepper.losses()
        for index in range(before, before + 4):
            stepper.step({0: source.training(index, 8)}, {0: 1e-2})
    assert one.losses() == other.losses()
    states: list[dict[str, Any]] = [one.state(0), other.state(0)]
    assert states[0].keys() == states[1].keys()
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_a_state_is_a_copy() -> None:
    stepper, source = stepper_of(tiny())
    state, weights = stepper.state(0), stepper.weights(0)
    copies = {name: array.copy() for name, array in {**state, **weights}.items()}
    step(stepper, source, 2)
    assert all(np.array_equal(array, copies[name]) for name, array in {**state, **weights}.items())


def test_predictions_are_the_most_likely_tokens() -> None:
    stepper, source = stepper_of(tiny())
    batches = source.held_out(Split.VALIDATION, 12, 8)
    predictions = stepper.predict(0, batches)
    for batch, predicted in zip(batches, predictions, strict=True):
        logits = stepper.model(torch.from_numpy(batch.inputs_BT), torch.from_numpy(batch.query_positions())).logits_NV
        targets = torch.from_numpy(batch.query_targets())
        assert predicted.tokens_N.tolist() == logits.argmax(-1).tolist()
        expected = sum(-logits.log_softmax(-1)[query, target].item() for query, target in enumerate(targets))
        assert predicted.loss_sum == pytest.approx(expected, rel=1e-5)


def test_parameters_are_those_of_the_model() -> None:
    stepper, _ = stepper_of(tiny())
    assert stepper.parameters == stepper.model.parameter_count
    assert sum(array.size for array in stepper.weights(0).values()) == stepper.parameters


def test_a_random_position_draws_anew_at_each_step_and_continues_after_restoring() -> None:
    spec = tiny()
    part = spec.model.position.model_copy(update={"name": "randomized", "options": {"range": 64}})
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"position": part})})
    stepper, source = stepper_of(spec)
    step(stepper, source, 2)
    assert stepper.model.position.draw == 2
    held_out = source.held_out(Split.VALIDATION, 16, 8)
    predictions = stepper.predict(0, held_out)
    assert stepper.model.position.draw == -2
    assert all(
        np.array_equal(one.tokens_N, two.tokens_N)
        for one, two in zip(predictions, stepper.predict(0, held_out), strict=True)
    )
    other, _ = stepper_of(spec)
    other.restore(0, stepper.state(0))
    for each in (stepper, other):
        each.step({0: source.training(2, 8)}, {0: 1e-2})
        assert each.model.position.draw == 3
    assert all(np.array_equal(array, other.state(0)[name]) for name, array in stepper.state(0).items())


def test_positions_are_arranged_by_row_where_rows_have_equally_few() -> None:
    equally_many = np.array([1, 7, 8 + 0, 8 + 5])
    assert positions_by_row(equally_many, 2, 8).tolist() == [[1, 7], [8, 13]]
    for positions in ([1, 2, 7, 8], [1, 7, 9], [1, 2, 3, 9, 10, 11], []):  # unequal rows, odd number, too many, none
        assert positions_by_row(np.array(positions, dtype=np.int64), 2, 8).tolist() == positions


@pytest.mark.parametrize("name", ["softmax", "expressive"])
def test_with_few_query_positions_the_last_layer_computes_those_alone(name: str) -> None:
    task = TaskSpec(name="recall", options={"pairs": 2, "length": 32, "vocabulary": 16})
    source = Source(task, 0)
    spec = RunSpec(task=task, model=ModelSpec(layers=2, width=16, attention=(Part(name=name),)))
    stepper, batch = SingleStepper(spec, source, CPU), source.training(0, 4)
    queries: list[int] = []
    for attention in stepper.model.modules():
        if isinstance(attention, Attention):
            attention.out_proj.register_forward_pre_hook(lambda _, inputs: queries.append(inputs[0].shape[-2]))
    stepper.step({0: batch}, {0: 1e-3})
    (predictions,) = stepper.predict(0, [batch])
    assert queries == [32, 2, 32, 2]
    assert len(predictions.tokens_N) == 8


def test_predictions_are_the_same_whatever_the_padding(tmp_path: Path) -> None:
    lengths = [5, 16, 12, 9, 5, 16, 12, 9, 40, 300] * 4
    random = np.random.default_rng(0)
    rows = [random.integers(1, 9, length).tolist() for length in lengths]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"inputs": row, "targets": row}) + "\n" for row in rows))
    task = task_spec(find_ladder("file"), {"path": str(path), "split": "ordered", "shift": False}, None)
    source = Source(task, 0)
    stepper, table = SingleStepper(tiny(task=task), source, CPU), File(**task.options).table
    batches = [source.training(step, 8) for step in range(4)] + source.held_out(Split.VALIDATION, 100, 8)
    assert {batch.inputs_BT.shape[1] for batch in batches} == {16, 40}
    for batch in batches:
        pad = ((0, 0), (0, table.inputs_NT.shape[1] - batch.inputs_BT.shape[1]))
        inputs_BT, targets_BT = (np.pad(a, pad, constant_values=v) for a, v in zip(batch[:2], (0, IGNORE), strict=True))
        own, padded = stepper.predict(0, [batch])[0], stepper.predict(0, [Batch(inputs_BT, targets_BT)])[0]
        np.testing.assert_array_equal(own.tokens_N, padded.tokens_N)
        assert own.loss_sum == pytest.approx(padded.loss_sum, rel=1e-5)
