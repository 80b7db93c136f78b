"""Corrected scores by compiled loops: outputs and gradients are those of two convolutions in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.ops import loops
from attnlab.attention.ops.correction import Network, corrected, usable
from tests.builders import noise

pytestmark = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")

HEADS, BATCH, RUNS = 3, 2, 2


def network(taps: int, *, maps: int, after: int, summed: bool, adds_bias: bool, width: int = 5) -> Network:
    shapes = [(width, maps, 1, taps), (width,), (HEADS, width, 1, taps), (HEADS,)]
    first, second, third, fourth = (
        noise(*shape, seed=10 + index).float().requires_grad_() for index, shape in enumerate(shapes)
    )
    return Network(first, second, third, fourth, after, summed, adds_bias)


def by_convolutions(network: Network, scores: Tensor, bias: Tensor | None, start: int) -> Tensor:
    """By torch's convolutions in float64; what lies after a query is set to zero before each of them."""
    queries, keys = scores.shape[-2:]
    seen = torch.arange(keys) <= start + torch.arange(queries)[:, None]
    added = scores if bias is None else scores + bias
    maps = added if bias is None or network.summed else torch.cat([scores, bias], dim=1)
    pads = network.reader.shape[-1] - 1 - network.after, network.after
    reader, reader_bias, writer, writer_bias = (one.double() for one in network.tensors)
    hidden = functional.conv2d(functional.pad(maps * seen, pads), reader, reader_bias)
    hidden = functional.leaky_relu(hidden) * seen
    correction = functional.conv2d(functional.pad(hidden, pads), writer, writer_bias)
    return (correction + (added if network.adds_bias else scores)) * seen


def drawn(queries: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and biases, and a gradient that is zero after each query."""
    scores, bias, grad = (noise(BATCH, HEADS, queries, keys, seed=seed) for seed in range(3))
    seen = torch.arange(keys) <= keys - queries + torch.arange(queries)[:, None]
    return scores.float().requires_grad_(), bias.float().requires_grad_(), grad.float() * seen


FORMS = [(False, True), (False, False), (True, True)]


@pytest.mark.parametrize(("summed", "adds_bias"), FORMS)
@pytest.mark.parametrize(("taps", "after"), [(1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (4, 2)])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (6, 6), (2, 9), (70, 70)])
def test_outputs_and_gradients_are_those_of_the_convolutions(
    queries: int, keys: int, biased: bool, taps: int, after: int, summed: bool, adds_bias: bool
) -> None:
    scores, bias, grad = drawn(queries, keys)
    given = bias if biased else None
    maps = HEADS * (2 if biased and not summed else 1)
    own = network(taps, maps=maps, after=after, summed=summed, adds_bias=adds_bias)
    assert usable(own, scores, given)
    inputs = [scores, *([bias] if biased else []), *own.tensors]
    start = keys - queries
    exact = by_convolutions(own, scores.double(), None if given is None else given.double(), start)
    result = corrected(own, scores, given, start)
    seen = torch.arange(keys) <= start + torch.arange(queries)[:, None]
    found = [result * seen, *torch.autograd.grad(result, inputs, grad)]
    expected = [exact, *torch.autograd.grad(exact, inputs, grad.double())]
    for one, other in zip(found, expected, strict=True):
        one, other = one.detach(), other.detach()
        assert (one - other).abs().max() <= 1e-5 * other.abs().max().clamp_min(1)


def test_more_pairs_than_are_computed_at_a_time() -> None:
    own = network(3, maps=2 * HEADS, after=0, summed=False, adds_bias=True)
    scores, bias, grad = drawn(150, 150)
    exact = by_convolutions(own, scores.double(), bias.double(), 0)
    result = corrected(own, scores, bias, 0)
    found = torch.autograd.grad(result, [scores, *own.tensors], grad)
    expected = torch.autograd.grad(exact, [scores, *own.tensors], grad.double())
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max().clamp_min(1)


def test_vmapped_runs_are_those_one_by_one() -> None:
    own = network(2, maps=2 * HEADS, after=0, summed=False, adds_bias=True)
    stacked = [torch.stack([one * (run + 1) for run in range(RUNS)]).detach().requires_grad_() for one in own.tensors]
    scores, bias, grad = drawn(6, 6)
    runs = torch.stack([scores, 2 * scores]).detach().requires_grad_()

    def run(scores: Tensor, *weights: Tensor) -> Tensor:
        reader, reader_bias, writer, writer_bias = weights
        read = Network(reader, reader_bias, writer, writer_bias, after=0, summed=False, adds_bias=True)
        return corrected(read, scores, bias, 0)

    together = torch.func.vmap(run)(runs, *stacked)
    alone = torch.stack([run(*one) for one in zip(runs, *stacked, strict=True)])
    assert torch.equal(together, alone)
    grads = [
        torch.autograd.grad(result, [runs, bias, *stacked], torch.stack([grad, grad])) for result in (together, alone)
    ]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_a_bias_that_sequences_share_has_the_sum_of_their_gradients() -> None:
    own = network(1, maps=2 * HEADS, after=0, summed=False, adds_bias=True)
    scores, bias, grad = drawn(6, 6)
    shared = bias[:1].detach().requires_grad_()
    (found,) = torch.autograd.grad(corrected(own, scores, shared.expand_as(scores), 0), shared, grad)
    repeated = shared.detach().repeat(BATCH, 1, 1, 1).requires_grad_()
    (each,) = torch.autograd.grad(corrected(own, scores, repeated, 0), repeated, grad)
    torch.testing.assert_close(found, each.sum(0, keepdim=True))


def test_nothing_after_a_query_is_read() -> None:
    own = network(3, maps=2 * HEADS, after=1, summed=False, adds_bias=True)
    scores, bias, _ = drawn(6, 6)
    seen = torch.arange(6) <= torch.arange(6)[:, None]
    before = corrected(own, scores, bias, 0)
    for spoiled in (torch.nan, torch.inf, 0.0):
        after = corrected(own, scores.masked_fill(~seen, spoiled), bias.masked_fill(~seen, spoiled), 0)
        assert torch.equal(before.masked_select(seen), after.masked_select(seen))
