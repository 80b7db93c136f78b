"""DeltaFormer: the recurrence token by token; nothing erased is softmax; the solve by blocks and its gradients."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.attention.deltaformer import DeltaFormer
from attnlab.attention.ops.erased_values import erased_values, erasure
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of


def built(erase: str = "key", position: str = "none", tokens: int = 7) -> tuple[DeltaFormer, Position, QKV]:
    attention, built_position = pair_of(Part(name="deltaformer", options={"erase": erase}), Part(name=position))
    assert isinstance(attention, DeltaFormer)
    attention.strength.bias.data.copy_(torch.tensor([0.5, 3.0]))
    return attention, built_position, attention.prepare(noise(1, tokens, 8), built_position, LayerInputs())


def softmax(scores: list[float]) -> list[float]:
    parts = [math.exp(score) for score in scores]
    return [part / sum(parts) for part in parts]


@torch.no_grad()
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("erase", ["key", "query"])
def test_outputs_are_those_of_the_recurrence(erase: str, fast: bool) -> None:
    attention, position, qkv = built(erase)
    attention.fast = fast
    x_TD, mixed = noise(1, 7, 8)[0], torch.zeros(2, 7, 4, dtype=torch.float64)
    for head in range(2):
        rows = slice(4 * head, 4 * head + 4)
        maps = (attention.query, attention.key, attention.value)
        queries, keys, values = (x_TD @ linear.weight[rows].T for linear in maps)
        erasers = keys if erase == "key" else queries
        erased: list[torch.Tensor] = []
        for t in range(7):
            logit = float(x_TD[t] @ attention.strength.weight[head] + attention.strength.bias[head])
            weights = softmax([float(erasers[t] @ keys[j]) / 2 for j in range(t)])
            held = sum((weight * one for weight, one in zip(weights, erased, strict=True)), torch.zeros(4))
            erased.append(values[t] - held / (1 + math.exp(-logit)))
            reads = softmax([float(queries[t] @ keys[j]) / 2 for j in range(t + 1)])
            mixed[head, t] = sum((weight * one for weight, one in zip(reads, erased, strict=True)), torch.zeros(4))
    torch.testing.assert_close(attention.attend(qkv, position)[0], mixed, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("position", ["none", "alibi", "rotary", "cope"])
def test_without_erasing_it_is_softmax(position: str, fast: bool) -> None:
    attention, built_position, qkv = built("key", position)
    attention.fast = fast
    softmax_attention = attention_of("softmax", biased=attention.biased).double()
    expected = softmax_attention.effective_matrix(qkv._replace(extra=()), built_position)
    kept = qkv._replace(extra=(torch.zeros_like(qkv.extra[0]), qkv.extra[1]))
    assert (attention.effective_matrix(kept, built_position) - expected).abs().max() <= 1e-12


def test_a_token_replaces_the_value_of_an_equal_key() -> None:
    keys = 60 * torch.eye(3, dtype=torch.float64)[[0, 1, 0, 2, 1]]
    values, strengths = noise(5, 4), torch.ones(5, 1, dtype=torch.float64)
    erased = erased_values(keys, keys, strengths, values)
    torch.testing.assert_close(erased[:1], values[:1])
    torch.testing.assert_close(erased[2], values[2] - values[0])
    torch.testing.assert_close(erased[4], values[4] - erased[1])


@pytest.mark.parametrize("tokens", [65, 150])
def test_the_solve_by_blocks_and_its_gradients_are_those_of_one_solve(tokens: int) -> None:
    inputs = [noise(2, tokens, size, seed=seed).requires_grad_() for seed, size in enumerate((3, 3, 1, 4))]
    erasers, keys, strengths, values = inputs
    rows = erasure(erasers, keys, strengths.sigmoid())
    whole = torch.linalg.solve_triangular(rows, values, upper=False, unitriangular=True)
    blocks = erased_values(erasers, keys, strengths.sigmoid(), values)
    torch.testing.assert_close(blocks, whole, rtol=1e-11, atol=1e-12)
    weights = noise(2, tokens, 4, seed=9)
    for ours, theirs in zip(
        torch.autograd.grad((blocks * weights).sum(), inputs),
        torch.autograd.grad((whole * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_long_sequences_keep_no_matrix_for_the_backward_pass() -> None:
    kept: list[int] = []
    inputs = [noise(256, size, seed=seed).requires_grad_() for seed, size in enumerate((3, 3, 1, 4))]
    erasers, keys, strengths, values = inputs

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        erased_values(erasers, keys, strengths, values)
    assert kept
    assert max(kept) == 256 * 4


def test_it_has_one_strength_per_head() -> None:
    attention = attention_of("deltaformer", width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 16 * 16 + 16 * 4 + 4
