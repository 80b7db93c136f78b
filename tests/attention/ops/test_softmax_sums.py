"""Causal softmax by compiled loops: sums and gradients of scores written out in float64, with a bias and without."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention.ops import loops, sdpa, softmax_loops
from attnlab.attention.ops.softmax_sums import softmax_sums, softmax_sums_suit
from attnlab.tensors import QKV
from attnlab.training.environment import torch_threads
from tests.builders import noise

pytestmark = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")
LENGTHS = [1, 2, 7, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129, 257]
BIASES: list[tuple[int, ...] | None] = [None, (), (1,), (3,)]
"""Leading axes of a bias of three sequences."""


def drawn(queries: int, keys: int, bias: tuple[int, ...] | None, *, batch: int = 3, channels: int = 8) -> list[Tensor]:
    """Queries, keys and values as a projection lays them out, and a bias, as leaves."""
    sizes = (queries, channels), (keys, channels), (keys, 5)
    heads = [
        noise(batch, tokens, 2, size, seed=seed, dtype=torch.float32).transpose(1, 2).requires_grad_()
        for seed, (tokens, size) in enumerate(sizes)
    ]
    if bias is None:
        return heads
    return [*heads, noise(*bias, 2, queries, keys, seed=4, dtype=torch.float32).requires_grad_()]


def written_out(tensors: list[Tensor]) -> Tensor:
    """The weighted sums; the last query sees all keys."""
    queries, keys, values, *bias = tensors
    scores = queries @ keys.mT / math.sqrt(queries.shape[-1]) + sum(bias)
    start = keys.shape[-2] - queries.shape[-2]
    return scores.masked_fill(torch.ones_like(scores).tril(start) == 0, -math.inf).softmax(-1) @ values


def by_loops(tensors: list[Tensor]) -> Tensor:
    queries, keys, values = tensors[:3]
    bias = tensors[3] if len(tensors) > 3 else None
    return softmax_sums(queries, keys, values, bias, keys.shape[-2] - queries.shape[-2])


def off(tensors: list[Tensor], mixed: Tensor) -> float:
    """The largest error of sums and gradients, relative to the largest number of each."""
    grad = noise(*mixed.shape, seed=9)
    results = [mixed, *torch.autograd.grad(mixed, tensors, grad.to(mixed.dtype))]
    exact = [one.detach().double().requires_grad_() for one in tensors]
    sums = written_out(exact)
    pairs = zip(results, [sums, *torch.autograd.grad(sums, exact, grad)], strict=True)
    with torch.no_grad():
        return max(float((one - other).abs().max() / other.abs().max().clamp_min(1e-2)) for one, other in pairs)


@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("length", LENGTHS)
def test_sums_and_gradients_are_those_written_out(length: int, bias: tuple[int, ...] | None) -> None:
    tensors = drawn(length, length, bias)
    assert off(tensors, by_loops(tensors)) <= 2e-6


@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize(("queries", "keys"), [(1, 40), (16, 33), (33, 70), (64, 129)])
def test_queries_may_be_a_chunk_of_the_rows(queries: int, keys: int, bias: tuple[int, ...] | None) -> None:
    tensors = drawn(queries, keys, bias)
    assert off(tensors, by_loops(tensors)) <= 2e-6


def test_keys_after_the_last_query_are_not_seen() -> None:
    queries, keys, values = drawn(20, 20, None)
    nothing = torch.full((3, 2, 9, 8), math.nan)
    later_keys = torch.cat([keys.detach(), nothing], dim=-2).requires_grad_()
    later_values = torch.cat([values.detach(), nothing[..., :5]], dim=-2).requires_grad_()
    mixed = softmax_sums(queries, later_keys, later_values)
    grads = torch.autograd.grad(mixed.sum(), [queries, later_keys, later_values])
    own = softmax_sums(queries, keys, values)
    expected = torch.autograd.grad(own.sum(), [queries, keys, values])
    assert torch.equal(mixed, own)
    for one, other in zip(grads, expected, strict=True):
        assert torch.equal(one[:, :, :20], other)
        assert not one[:, :, 20:].any()


def test_large_scores_are_as_exact_as_their_rounding() -> None:
    tensors = drawn(100, 100, None)
    with torch.no_grad():
        tensors[0].mul_(100).round_()
        tensors[1].mul_(8).round_()  # products of whole numbers are exact
    assert off(tensors, by_loops(tensors)) <= 1e-4  # of scores of a thousand, whose rounding is 6e-5
    tensors[0].detach().mul_(1e4)
    assert bool(by_loops(tensors).isfinite().all())


def test_a_bias_may_exclude_keys() -> None:
    tensors = drawn(50, 50, (1,))
    with torch.no_grad():
        tensors[3][..., ::3] = -math.inf
        tensors[3].diagonal(dim1=-2, dim2=-1).fill_(0.5)
    assert off(tensors, by_loops(tensors)) <= 2e-6


@pytest.mark.parametrize("row", [0, 17, 39])
def test_numbers_that_are_not_finite_stay_so(row: int) -> None:
    queries, keys, values = (one.detach() for one in drawn(40, 40, None))
    queries[1, 0, row, 2] = keys[2, 1, row, 3] = math.nan
    finite = softmax_sums(queries, keys, values).isfinite()
    assert not finite[1, 0, row].any()
    assert not finite[2, 1, row:].any()
    assert int((~finite).sum()) == 5 * (1 + 40 - row)  # neither earlier queries, nor other heads and sequences


@pytest.mark.parametrize("bias", BIASES, ids=str)
def test_stacked_runs_are_those_alone(bias: tuple[int, ...] | None) -> None:
    runs = [drawn(40, 40, bias) for _ in range(3)]
    with torch.no_grad():
        for index, run in enumerate(runs):
            for one in run:
                one.mul_(1 + index / 4)
    stacked = [torch.stack([one.detach() for one in same]) for same in zip(*runs, strict=True)]

    def loss(*tensors: Tensor) -> Tensor:
        return by_loops(list(tensors)).square().sum()

    together = torch.func.vmap(torch.func.grad(loss, argnums=tuple(range(len(stacked)))))(*stacked)
    for index, run in enumerate(runs):
        alone = torch.autograd.grad(loss(*run), run)
        for one, other in zip(together, alone, strict=True):
            assert torch.equal(one[index], other)


def test_runs_that_share_a_bias_have_gradients_of_their_own() -> None:
    queries, keys, values, bias = (one.detach() for one in drawn(40, 40, (1,)))
    runs = torch.stack([queries, queries * 2])

    def loss(queries: Tensor, bias: Tensor) -> Tensor:
        return softmax_sums(queries, keys, values, bias).square().sum()

    together = torch.func.vmap(torch.func.grad(loss, argnums=1), in_dims=(0, None))(runs, bias)
    for index, run in enumerate(runs):
        assert torch.equal(together[index], torch.func.grad(loss, argnums=1)(run, bias))


@pytest.mark.parametrize("bias", BIASES, ids=str)
def test_threads_change_no_digit(bias: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SHARE", 1)
    results = []
    for threads in (1, 2, 3):
        tensors = drawn(50, 50, bias)
        with torch_threads(threads):
            mixed = by_loops(tensors)
            results.append([mixed, *torch.autograd.grad(mixed.square().sum(), tensors)])
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            assert torch.equal(one, other)


def test_a_bias_that_is_the_same_for_all_queries_or_heads() -> None:
    queries, keys, values = drawn(40, 40, None)
    for shape in ((2, 1, 40), (1, 40, 40), (40, 40), (1, 1, 1, 40)):
        bias = noise(*shape, seed=5, dtype=torch.float32).requires_grad_()
        tensors = [queries, keys, values, bias]
        assert off(tensors, by_loops(tensors)) <= 2e-6


def test_what_loops_do_not_take_is_left_to_torch() -> None:
    queries, keys, values = (one.detach() for one in drawn(40, 40, None))
    assert softmax_sums_suit(queries, keys, values, None)
    assert not softmax_sums_suit(queries.double(), keys.double(), values.double(), None)
    assert not softmax_sums_suit(queries, keys[:, :1], values[:, :1], None)
    assert not softmax_sums_suit(queries, keys, values, torch.zeros(40, 40, dtype=torch.float64))
    with loops.no_loops():
        assert not softmax_sums_suit(queries, keys, values, None)


def test_the_fused_path_takes_the_loops_where_keys_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    forward = softmax_loops.forward

    def counted(*args: Any) -> Tensor:
        calls.append(args[0].shape[-2])
        return forward(*args)

    monkeypatch.setattr(softmax_loops, "forward", counted)
    for length in (sdpa.SHORT_BIASED, sdpa.SHORT_BIASED + 1, sdpa.SHORT, sdpa.SHORT + 1):
        queries, keys, values = drawn(length, length, None)
        sdpa.sdpa(QKV(queries, keys, values), None, None)
        sdpa.sdpa(QKV(queries, keys, values), torch.zeros(2, length, length), None)
        sdpa.sdpa(QKV(queries, keys, values), None, torch.ones(length, length, dtype=torch.bool))
    assert calls == [sdpa.SHORT_BIASED + 1, sdpa.SHORT, sdpa.SHORT + 1, sdpa.SHORT + 1]
