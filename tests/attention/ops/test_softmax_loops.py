"""Compiled loops of softmax mechanisms: sums and gradients of the plain path in float64; runs, threads and layouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attnlab.attention import Attention
from attnlab.attention.ops import loop_math, looped, loops
from attnlab.position import Position
from attnlab.specs import Modifiers, Part
from attnlab.tensors import QKV, LayerInputs
from attnlab.training.batched_sdpa import BatchedSDPAMode
from attnlab.training.environment import torch_threads
from tests.builders import model_of, noise, pair_of, tokens

needs_numba = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")
LENGTHS = [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 129, 193, 256, 257]
PARTS = [
    Part(name="wall", options={"start": 1.0}),
    Part(name="parallax"),
    Part(name="deltaformer"),
    Part(name="deltaformer", options={"erase": "query"}),
    Part(name="simplicial"),
    Part(name="simplicial", options={"near": 3}),
]
over_parts = pytest.mark.parametrize("part", PARTS, ids=map(str, PARTS))


def built(part: Part, length: int, *, width: int = 8, batch: int = 2) -> tuple[Attention, Position, list[Tensor]]:
    """An attention in float32, its position, and what it mixes, as leaves."""
    attention, position = pair_of(part, Part(name="none"), length=length, width=width)
    with torch.no_grad():
        for index, weight in enumerate(attention.parameters()):
            weight.add_(0.3 * math.sqrt(8 / width) * noise(*weight.shape, seed=index))
    qkv = attention.float().prepare(noise(batch, length, width, seed=3, dtype=torch.float32), position, LayerInputs())
    return attention, position, [one.detach().requires_grad_() for one in (*qkv[:3], *qkv.extra)]


def differentiated(
    attention: Attention, position: Position, leaves: list[Tensor], grad: Tensor | None = None
) -> list[Tensor]:
    queries, keys, values, *extra = leaves
    mixed = attention.attend(QKV(queries, keys, values, tuple(extra)), position)
    grad = noise(*mixed.shape, seed=9) if grad is None else grad
    return [mixed.detach(), *torch.autograd.grad(mixed, leaves, grad.to(mixed.dtype))]


def plain(attention: Attention, position: Position, leaves: list[Tensor]) -> list[Tensor]:
    """The plain path in float64."""
    attention.fast = False
    exact = [one.detach().double().requires_grad_() for one in leaves]
    results = differentiated(attention.double(), position, exact)
    attention.float().fast = True
    return results


def off(results: list[Tensor], expected: list[Tensor]) -> float:
    """The largest error, of the largest number of each tensor, or of 0.1 where all are smaller."""
    pairs = zip(results, expected, strict=True)
    return max(float((one - other).abs().max() / other.abs().max().clamp_min(0.1)) for one, other in pairs)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The loops that are called."""
    called: list[str] = []
    forward = looped._Looped.forward

    def noted(program: Any, *tensors: Tensor) -> Tensor:
        called.append(type(program).__name__)
        return forward(program, *tensors)

    monkeypatch.setattr(looped._Looped, "forward", staticmethod(noted))
    return called


@needs_numba
@over_parts
@pytest.mark.parametrize("length", LENGTHS)
def test_sums_and_gradients_are_those_of_the_plain_path(part: Part, length: int, calls: list[str]) -> None:
    attention, position, leaves = built(part, length)
    assert off(differentiated(attention, position, leaves), plain(attention, position, leaves)) <= 1e-5
    assert len(calls) == 1


@needs_numba
@over_parts
@pytest.mark.parametrize("width", [6, 10, 66, 256])
def test_heads_of_any_number_of_channels(part: Part, width: int, calls: list[str]) -> None:
    for length in (20, 70):
        attention, position, leaves = built(part, length, width=width, batch=1)
        assert off(differentiated(attention, position, leaves), plain(attention, position, leaves)) <= 2e-5
    assert len(calls) == 2


@needs_numba
@over_parts
def test_effective_matrices_are_those_of_the_plain_path(part: Part) -> None:
    for length in (9, 70):
        attention, position, leaves = built(part, length)
        queries, keys, values, *extra = leaves
        matrix = attention.effective_matrix(QKV(queries, keys, values, tuple(extra)), position).detach()
        attention.fast = False
        exact = [one.detach().double() for one in leaves]
        expected = attention.double().effective_matrix(QKV(exact[0], exact[1], exact[2], tuple(exact[3:])), position)
        assert off([matrix], [expected]) <= 1e-5


@needs_numba
@over_parts
@pytest.mark.parametrize("size", [30.0, 1e4])
def test_large_scores_overflow_nowhere(part: Part, size: float) -> None:
    attention, position, leaves = built(part, 40)
    with torch.no_grad():
        leaves[0].mul_(size)
    assert all(one.isfinite().all() for one in differentiated(attention, position, leaves))
    if size == 30:
        assert off(differentiated(attention, position, leaves), plain(attention, position, leaves)) <= 1e-4


@needs_numba
@over_parts
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("which", [0, 1])
def test_rows_that_are_finite_are_those_of_torch_operations(
    part: Part, which: int, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention, position, leaves = built(part, 40)
    with torch.no_grad():
        leaves[which][0, 0, 7, 3] = value
        results = differentiated_forward(attention, position, leaves)
        monkeypatch.setattr(looped, "usable", lambda *_: False)
        expected = differentiated_forward(attention, position, leaves)
    finite = expected.isfinite()
    assert results[finite].isfinite().all()
    if part.name not in ("wall", "parallax"):  # where torch multiplies what is not finite by zeros
        assert torch.equal(results.isfinite(), finite)
    torch.testing.assert_close(results[finite], expected[finite], rtol=1e-4, atol=1e-5)
    assert results[1].isfinite().all()


def differentiated_forward(attention: Attention, position: Position, leaves: list[Tensor]) -> Tensor:
    queries, keys, values, *extra = leaves
    return attention.attend(QKV(queries, keys, values, tuple(extra)), position)


@needs_numba
@over_parts
def test_gradients_may_be_expanded_and_inputs_laid_out_in_any_way(part: Part) -> None:
    attention, position, leaves = built(part, 40)
    expanded = torch.ones(()).expand(*differentiated(attention, position, leaves)[0].shape)
    expected = differentiated(attention, position, leaves, expanded.contiguous())
    turned = [one.detach().mT.contiguous().mT.requires_grad_() for one in leaves]
    results = differentiated(attention, position, turned, expanded)
    if part.name == "deltaformer":  # of which torch's fused softmax reads
        assert off(results, expected) <= 1e-6
    else:
        assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))


@needs_numba
@over_parts
def test_vmapped_runs_have_the_digits_of_single_ones(part: Part) -> None:
    attention, position, leaves = built(part, 40)
    stacked = [torch.stack([one, 0.5 * one.flip(0)]).detach().requires_grad_() for one in leaves]

    def one_run(*parts: Tensor) -> Tensor:
        return attention.attend(QKV(parts[0], leaves[1].detach(), parts[2], parts[3:]), position)

    with BatchedSDPAMode():
        together = torch.func.vmap(one_run)(*stacked)
    alone = torch.stack([one_run(*parts) for parts in zip(*stacked, strict=True)])
    assert torch.equal(together, alone)
    grad, used = noise(*together.shape, seed=7, dtype=torch.float32), [*stacked[:1], *stacked[2:]]
    results = [torch.autograd.grad(mixed, used, grad) for mixed in (together, alone)]
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@needs_numba
@over_parts
@pytest.mark.parametrize("batch", [1, 3])
def test_digits_do_not_depend_on_the_number_of_threads(part: Part, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SHARE", 1)
    attention, position, leaves = built(part, 40, batch=batch)
    results = []
    for threads in (1, 2, 3):
        with torch_threads(threads):
            results.append(differentiated(attention, position, leaves))
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


@needs_numba
@over_parts
def test_memory_for_the_backward_pass_grows_with_the_length_alone(part: Part) -> None:
    sizes = []
    for length in (64, 256):
        attention, position, leaves = built(part, length)
        kept: list[int] = []

        def keep(tensor: Tensor, kept: list[int] = kept) -> Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            differentiated_forward(attention, position, leaves)
        sizes.append(sum(kept))
    assert sizes[1] <= 4.1 * sizes[0]


@needs_numba
@over_parts
@pytest.mark.parametrize(
    "modifiers",
    [
        Modifiers(qk_norm=True),
        Modifiers(exclusive=True),
        Modifiers(value_residual="learned", gate="element"),
        Modifiers(short_conv=3),
        Modifiers(canon="ABCD"),
    ],
    ids=["qk_norm", "exclusive", "value_residual", "short_conv", "canon"],
)
def test_models_with_modifiers_have_the_losses_and_gradients_of_the_plain_path(
    part: Part, modifiers: Modifiers, calls: list[str]
) -> None:
    model = model_of(part, modifiers=modifiers, length=20)
    inputs_BT = tokens(2, 20)

    def results(dtype: torch.dtype, fast: bool) -> list[Tensor]:
        model.to(dtype)
        for module in model.modules():
            if isinstance(module, Attention):
                module.fast = fast
        logits = model(inputs_BT, None).logits_NV
        parameters = [one for one in model.parameters() if one.requires_grad]
        grads = torch.autograd.grad(logits.square().sum(), parameters, allow_unused=True, materialize_grads=True)
        return [logits.detach(), *grads]

    expected = results(torch.float64, False)
    assert not calls
    found = results(torch.float32, True)
    assert len([name for name in calls if name != "UnitLoops"]) == 2  # those are the norms of queries and keys
    assert off(found, expected) <= 2e-5


@needs_numba
@over_parts
def test_other_numbers_and_chunks_of_queries_take_torch_operations(part: Part, calls: list[str]) -> None:
    attention, position, leaves = built(part, 20)
    queries, keys, values, *extra = leaves
    whole = attention.attend(QKV(queries, keys, values, tuple(extra)), position)
    calls.clear()
    chunk = attention.attend(QKV(queries[..., 7:, :], keys, values, tuple(extra), 7), position)
    assert calls == (["ErasedLoops"] if part.name == "deltaformer" else [])  # which erases with all tokens
    torch.testing.assert_close(chunk, whole[..., 7:, :], rtol=1e-4, atol=1e-5)
    calls.clear()
    differentiated(attention.double(), position, [one.detach().double().requires_grad_() for one in leaves])
    assert not calls


@over_parts
def test_without_numba_torch_operations_compute_the_sums(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "works", lambda: False)
    monkeypatch.setattr(looped._Looped, "forward", lambda *_: pytest.fail("a loop was called"))
    attention, position, leaves = built(part, 70)
    assert off(differentiated(attention, position, leaves), plain(attention, position, leaves)) <= 1e-5


def each(function: Callable[..., Any], numbers: list[float]) -> np.ndarray:
    return np.array([function(np.float32(one)) for one in numbers])


@needs_numba
def test_exponentials_have_a_relative_error_of_a_millionth() -> None:
    numbers = np.linspace(-86.9, 88.0, 20_001).astype(np.float32)
    exact = np.exp(numbers.astype(np.float64))
    assert np.abs(each(loop_math.exponential, list(numbers)) / exact - 1).max() <= 1e-6
    assert each(loop_math.exponential, [0.0, -0.0, -88.0, -1e30, -math.inf]).tolist() == [1, 1, 0, 0, 0]
    assert math.isnan(loop_math.exponential(np.float32(math.nan)))


@needs_numba
def test_the_largest_number_is_found_by_the_order_of_its_bits() -> None:
    for seed in range(20):
        row = noise(33, seed=seed).float().numpy() - seed
        assert loop_math.largest(row, 33) == row.max()
        assert loop_math.largest(row, 7) == row[:7].max()
    for special in ([-1.0, -math.inf], [math.inf, 3.0], [-0.0, -2.0], [-1e-45, -1.0], [-math.inf, -math.inf]):
        row = np.array(special, np.float32)
        assert loop_math.largest(row, 2) == row.max()
