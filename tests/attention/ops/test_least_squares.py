"""Compiled loops over systems: solutions and gradients are those of the recurrence in float64, for any sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Position
from attnlab.attention.mesa import Mesa
from attnlab.attention.ops import least_squares, loops
from attnlab.attention.ops.least_squares import LEAST_HEADS, MOST_CHANNELS, solutions, usable
from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from attnlab.training.environment import torch_threads
from tests.builders import noise, pair_of

pytestmark = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")


def drawn(batch: int, heads: int, tokens: int, channels: int) -> list[Tensor]:
    """q, k, b, log a and l, laid out as projections are: the heads of a token side by side."""

    def heads_of(size: int, seed: int) -> Tensor:
        return noise(batch, tokens, heads, size, seed=seed, dtype=torch.float32).transpose(1, 2)

    keys = functional.normalize(functional.silu(heads_of(channels, 1)), dim=-1)
    decays, ridge = -functional.softplus(heads_of(1, 3) - 2), 0.25 + functional.softplus(noise(heads, 1, channels))
    tensors = heads_of(channels, 0), keys, heads_of(1, 2).sigmoid(), decays, ridge.float()
    return [one.detach().requires_grad_() for one in tensors]


def exact(tensors: list[Tensor]) -> list[Tensor]:
    """By the recurrence, token by token in float64."""
    doubled = [one.detach().double().requires_grad_() for one in tensors]
    ridge = doubled[4]
    sums, read = torch.zeros((), dtype=torch.float64), []
    for query, key, strength, decay in zip(*(one.unbind(-2) for one in doubled[:4]), strict=True):
        sums = decay[..., None].exp() * sums + strength[..., None] * key[..., :, None] * key[..., None, :]
        read.append(torch.linalg.solve(sums + ridge.squeeze(-2).diag_embed(), query[..., None])[..., 0])
    return differentiated(torch.stack(read, -2), doubled)


def differentiated(outputs: Tensor, inputs: list[Tensor], grad: Tensor | None = None) -> list[Tensor]:
    grad = noise(*outputs.shape, seed=7).to(outputs.dtype) if grad is None else grad
    return [outputs.detach(), *torch.autograd.grad(outputs, inputs, grad)]


def off(results: list[Tensor], expected: list[Tensor]) -> float:
    pairs = zip(results, expected, strict=True)
    return max(float((one - other).abs().max() / other.abs().max().clamp_min(1e-30)) for one, other in pairs)


SIZES = [(12, 1, 1, 4), (6, 2, 16, 1), (5, 3, 17, 2), (16, 2, 33, 7), (11, 3, 64, 8), (33, 2, 40, 5), (4, 4, 70, 32)]
"""Sequences, heads, tokens and channels: places that stay empty, several groups of places, several segments."""


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_solutions_and_gradients_are_those_of_the_recurrence_in_float64(sizes: tuple[int, int, int, int]) -> None:
    tensors = drawn(*sizes)
    assert off(differentiated(solutions(*tensors), tensors), exact(tensors)) <= 5e-6


def test_sums_are_held_for_segments_that_grow_with_the_root_of_the_length() -> None:
    tensors = drawn(3, 4, 400, 3)
    assert off(differentiated(solutions(*tensors), tensors), exact(tensors)) <= 5e-6


def test_strong_keys_and_no_decay_leave_systems_of_a_large_condition() -> None:
    """As many strong keys in few directions as a long sequence brings: a condition of about 2,000."""
    queries, keys, strengths, decays, ridge = (one.detach() for one in drawn(12, 1, 500, 4))
    tensors = [queries, keys, torch.ones_like(strengths), torch.zeros_like(decays), torch.full_like(ridge, 0.25)]
    tensors = [one.requires_grad_() for one in tensors]
    assert off(differentiated(solutions(*tensors), tensors), exact(tensors)) <= 5e-6


def test_states_that_decay_to_nothing_stay_finite() -> None:
    queries, keys, strengths, decays, ridge = drawn(12, 1, 40, 4)
    gone = (decays.detach() * 1000).requires_grad_()
    tensors = [queries, keys, strengths, gone, ridge]
    results, expected = differentiated(solutions(*tensors), tensors), exact(tensors)
    assert all(bool(one.isfinite().all()) for one in results)
    assert off(results, expected) <= 5e-6


def test_a_number_that_is_none_stays_in_its_head() -> None:
    tensors = drawn(6, 2, 20, 4)
    expected = differentiated(solutions(*tensors), tensors)
    broken = [one.detach().clone().requires_grad_() for one in tensors]
    broken[1].data[2, 1, 5] = torch.nan
    results = differentiated(solutions(*broken), broken)
    assert results[0][2, 1, 5:].isnan().all()
    for result, other in zip(results[:5], expected[:5], strict=True):
        assert torch.equal(result[:2], other[:2])
        assert torch.equal(result[2, 0], other[2, 0])


def test_vmapped_runs_have_the_digits_of_single_ones() -> None:
    *own, ridge = drawn(12, 1, 20, 4)
    leaves = [torch.stack([one, 0.5 * one]).detach().requires_grad_() for one in (*own, ridge)]
    together = torch.func.vmap(solutions)(*leaves)
    alone = torch.stack([solutions(*(one[place] for one in leaves)) for place in range(2)])
    assert torch.equal(together, alone)
    grads = [torch.autograd.grad(outputs.sum(), leaves) for outputs in (together, alone)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)  # of l: sums over the batch in another order


def test_digits_depend_on_neither_threads_nor_layout_nor_the_rest_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SHARE", 1)
    tensors, results = drawn(25, 2, 20, 6), []
    for threads in (1, 2, 8):
        with torch_threads(threads):
            results.append(differentiated(solutions(*tensors), tensors))
    turned = [one.detach().mT.contiguous().mT.requires_grad_() for one in tensors]
    results.append(differentiated(solutions(*turned), turned))
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))
    some = [one.detach()[7:20].requires_grad_() for one in tensors[:4]] + tensors[4:]
    grad = noise(25, 2, 20, 6, seed=7).float()[7:20]
    part = differentiated(solutions(*some), some, grad)
    assert all(torch.equal(one[7:20], other) for one, other in zip(results[0][:5], part[:5], strict=True))


def test_few_heads_wide_systems_and_other_types_are_left_to_torch() -> None:
    queries = drawn(LEAST_HEADS, 1, 3, 4)[0]
    assert usable(queries)
    assert not usable(queries[1:])
    assert not usable(queries.double())
    assert not usable(queries[0])
    assert not usable(torch.zeros(LEAST_HEADS, 1, 1, MOST_CHANNELS + 1))


@pytest.mark.parametrize("tokens", [20, 70])
def test_mesa_takes_the_loops_and_agrees_with_torch(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def noted(*args: Tensor) -> Tensor:
        calls.append(1)
        return solutions(*args)

    monkeypatch.setattr(least_squares, "solutions", noted)
    attention, no_position = pair_of(Part(name="mesa", options={"expand": 2}), Part(name="none"))
    assert isinstance(attention, Mesa)
    attention.float()
    x_BTD = noise(LEAST_HEADS, tokens, 8, dtype=torch.float32).requires_grad_()
    inputs = [x_BTD, *attention.parameters()]
    looped = layer(attention, no_position, inputs)
    assert calls
    with loops.no_loops():
        plain = layer(attention, no_position, inputs)
    assert len(calls) == 1
    assert off(looped, plain) <= 5e-6


def layer(attention: Mesa, position: Position, inputs: list[Tensor]) -> list[Tensor]:
    return differentiated(attention(inputs[0], position, LayerInputs()).output_BTD, inputs)
