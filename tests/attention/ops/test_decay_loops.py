"""Compiled loops over the weights of short sequences: outputs and gradients of the closed form in float64."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention.ops import decay_loops, loops
from attnlab.attention.ops.scan import closed_form, divide_rows, short_outputs
from attnlab.attention.ops.tiles import fold_runs
from attnlab.model.transformer import Transformer
from attnlab.specs import Part
from tests.builders import model_of, noise
from tests.builders import tokens as token_ids

pytestmark = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")

ERASING = ["delta", "gated-delta", "kda", "comba", "rwkv7"]
RECURRENT = [*ERASING, "linear", "hedgehog", "retention", "mamba2", "cosformer", "gla", "performer"]
RECURRENT += ["log-linear", "mamba3", "based"]  # which are no recurrence alone


def drawn(tokens: int, *, positive: bool, channels: int = 8, columns: int = 5) -> list[Tensor]:
    """Queries, keys, log decays and values; the heads of a token side by side."""
    sizes = channels, channels, 1, columns
    tensors = [
        noise(2, tokens, 3, size, seed=seed, dtype=torch.float32).transpose(1, 2) for seed, size in enumerate(sizes)
    ]
    tensors[2] = -torch.nn.functional.softplus(tensors[2])
    if positive:
        tensors[:2] = [one.exp() for one in tensors[:2]]
    return [one.detach().requires_grad_() for one in tensors]


def exact(tensors: list[Tensor], *, normalized: bool, grad: Tensor) -> list[Tensor]:
    doubled = [one.detach().double().requires_grad_() for one in tensors]
    weights = closed_form(doubled[0], doubled[1], doubled[2])
    if normalized:
        weights = divide_rows(weights, weights.sum(-1, keepdim=True))
    return differentiated(weights @ doubled[3], doubled, grad.double())


def differentiated(outputs: Tensor, inputs: list[Tensor], grad: Tensor) -> list[Tensor]:
    return [outputs.detach(), *torch.autograd.grad(outputs, inputs, grad)]


def off(results: list[Tensor], expected: list[Tensor], least: float = 1e-6) -> float:
    """The largest error, of the largest number of each tensor."""
    pairs = zip(results, expected, strict=True)
    return max(float((one - other).abs().max() / other.abs().max().clamp_min(least)) for one, other in pairs)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("tokens", [*range(1, 10), 15, 16, 17, 31, 32, 33, 47, 63, 64])
def test_outputs_and_gradients_are_those_of_the_closed_form(tokens: int, normalized: bool) -> None:
    tensors, grad = drawn(tokens, positive=normalized), noise(2, 3, tokens, 5, seed=7).float()
    results = differentiated(short_outputs(*tensors, normalized=normalized), tensors, grad)
    assert off(results, exact(tensors, normalized=normalized, grad=grad)) <= 5e-6


@pytest.mark.parametrize(("channels", "columns"), [(1, 1), (3, 17), (65, 2), (256, 130)])
def test_any_number_of_channels(channels: int, columns: int) -> None:
    tensors = drawn(40, positive=False, channels=channels, columns=columns)
    grad = noise(2, 3, 40, columns, seed=7).float()
    results = differentiated(short_outputs(*tensors, normalized=False), tensors, grad)
    assert off(results, exact(tensors, normalized=False, grad=grad)) <= 5e-6


def test_a_row_whose_sum_vanishes_is_zero_and_so_are_its_gradients() -> None:
    tensors, grad = drawn(12, positive=True), torch.ones(2, 3, 12, 5)
    with torch.no_grad():
        tensors[0][:, :, 4] = 0
    results = differentiated(short_outputs(*tensors, normalized=True), tensors, grad)
    assert not results[0][:, :, 4].any()
    assert not results[1][:, :, 4].any()
    assert off(results, exact(tensors, normalized=True, grad=grad)) <= 5e-6


def test_a_decay_to_nothing_leaves_the_tokens_since() -> None:
    tensors, grad = drawn(20, positive=False), noise(2, 3, 20, 5, seed=7).float()
    with torch.no_grad():
        tensors[2][:, :, 9] = -float("inf")
    results = differentiated(short_outputs(*tensors, normalized=False), tensors, grad)
    assert all(bool(one.isfinite().all()) for one in results)
    later = [one.detach()[:, :, 9:] for one in tensors]
    assert off([results[0][:, :, 9:]], [short_outputs(*later, normalized=False)]) <= 5e-6


def test_axes_may_be_missing_and_runs_are_vmapped() -> None:
    queries, keys, decays, values = drawn(24, positive=False)
    shared = decays.detach()[0, :1]  # one decay for all sequences and heads
    results = short_outputs(queries, keys, shared, values, normalized=False)
    repeated = short_outputs(queries, keys, shared.expand(2, 3, 24, 1), values, normalized=False)
    assert torch.equal(results, repeated)
    stacked = [torch.stack([one.detach(), 2 * one.detach()]).requires_grad_() for one in (queries, keys, values)]

    def run(one: Tensor, other: Tensor, third: Tensor) -> Tensor:
        return short_outputs(one, other, decays.detach(), third, normalized=False)

    together = torch.func.vmap(run)(*stacked)
    alone = torch.stack([run(*(one[place] for one in stacked)) for place in range(2)])
    assert torch.equal(together, alone)
    grads = [torch.autograd.grad(one.square().sum(), stacked) for one in (together, alone)]
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))
    assert next(fold_runs(2, (None,), (values,))).shape == (4, 3, 24, 5)


def computed(model: Transformer, inputs_BT: Tensor) -> list[Tensor]:
    """Logits and the gradients of all weights."""
    logits = model(inputs_BT, None).logits_NV
    return differentiated(logits, list(model.parameters()), torch.sin(torch.arange(logits.numel()).view_as(logits)))


@pytest.mark.parametrize("tokens", [5, 20, 70])
@pytest.mark.parametrize("name", RECURRENT)
def test_a_model_loses_no_more_digits_than_by_torch_operations(
    name: str, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact_model, inputs_BT = model_of(Part(name=name), length=tokens), token_ids(2, tokens)
    model = copy.deepcopy(exact_model).float()
    expected = computed(exact_model, inputs_BT)
    with monkeypatch.context() as without:
        without.setattr(loops, "works", lambda: False)
        operations = off(computed(model, inputs_BT), expected, 1e-2)
    calls: list[str] = []
    in_threads = loops.in_threads

    def noted(*args: Any) -> None:
        calls.append(str(args[0]))
        in_threads(*args)

    for module in (loops, decay_loops):
        monkeypatch.setattr(module, "in_threads", noted)
    assert off(computed(model, inputs_BT), expected, 1e-2) <= 3 * operations + 1e-4
    per_channel = name in ("gla", "performer")
    looped = name not in ("log-linear", "mamba3", "based")
    assert bool(calls) == (
        looped and (tokens <= 64 or name in ERASING or per_channel) and (tokens > 8 or not per_channel)
    )
