"""Linear, based and hedgehog: features against loops, rows that sum to one, maps and parameter counts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS, Attention
from attnlab.attention.linear import positive, taylor
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

TOKENS = 7


def built(name: str, **options: Any) -> tuple[Attention, Position, QKV]:
    attention, position = pair_of(Part(name=name, options=options), Part(name="none"))
    return attention, position, attention.prepare(noise(1, TOKENS, 8), position, LayerInputs())


def kernel_linear(query: Tensor, key: Tensor) -> float:
    features = [[x + 1 if x > 0 else math.exp(x) for x in vector.tolist()] for vector in (query, key)]
    return sum(q * k for q, k in zip(*features, strict=True))


def kernel_based(query: Tensor, key: Tensor) -> float:
    score = sum(q * k for q, k in zip(query.tolist(), key.tolist(), strict=True)) / math.sqrt(len(query))
    return 1 + score + score**2 / 2


def kernel_hedgehog(query: Tensor, key: Tensor) -> float:
    features = []
    for vector in (query, key):
        parts = [math.exp(sign * 2 * x) for sign in (1, -1) for x in vector.tolist()]
        features.append([part / sum(parts) for part in parts])
    return sum(q * k for q, k in zip(*features, strict=True))


@pytest.mark.parametrize(
    ("name", "kernel"), [("linear", kernel_linear), ("based", kernel_based), ("hedgehog", kernel_hedgehog)]
)
@pytest.mark.parametrize("fast", [True, False])
def test_weights_are_those_of_a_loop(name: str, kernel: Any, fast: bool) -> None:
    attention, position, qkv = built(name)
    attention.fast = fast
    expected = torch.zeros(2, TOKENS, TOKENS, dtype=torch.float64)
    for head in range(2):
        for i in range(TOKENS):
            query, keys = qkv.queries_BHTC[0, head, i].detach(), qkv.keys_BHSC[0, head].detach()
            row = [kernel(query, keys[j]) for j in range(i + 1)]
            expected[head, i, : i + 1] = torch.tensor(row, dtype=torch.float64) / sum(row)
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-12, atol=1e-12)


def test_small_positive_features_are_exact() -> None:
    x = torch.tensor([-80.0, -20.0, -1.0, 0.0, 2.0], requires_grad=True)
    features = positive(x)
    features.sum().backward()
    expected = [math.exp(-80), math.exp(-20), math.exp(-1), 1.0, 3.0]
    assert features.tolist() == pytest.approx(expected, rel=1e-6)
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([*expected[:4], 1.0], rel=1e-6)


def test_taylor_features_are_the_triangle_of_the_products() -> None:
    queries, keys = noise(5, 16, seed=1), noise(6, 16, seed=2)
    assert taylor(queries).shape == (5, 1 + 16 + 16 * 17 // 2)
    scores = queries @ keys.mT / 4
    expected = 1 + scores + scores.square() / 2
    torch.testing.assert_close(taylor(queries) @ taylor(keys).mT, expected, rtol=1e-12, atol=1e-12)


def test_weights_of_based_are_at_least_one_half_before_the_division() -> None:
    attention, position, qkv = built("based")
    opposite = qkv._replace(queries_BHTC=-qkv.keys_BHSC / qkv.keys_BHSC.square().sum(-1, keepdim=True) * 4)
    scores = attention.score(opposite)
    unnormalized = 1 + scores + scores.square() / 2
    assert unnormalized.min() >= 0.5
    assert unnormalized.diagonal(dim1=-2, dim2=-1).sub(0.5).abs().max() < 1e-12
    assert attention.effective_matrix(opposite, position).tril().sum(-1).sub(1).abs().max() < 1e-12


def test_hedgehog_maps_differ_unless_tied() -> None:
    attention, position, qkv = built("hedgehog")
    before = attention.effective_matrix(qkv, position)
    with torch.no_grad():
        attention.map[0].copy_(noise(4, 4, seed=5))  # type: ignore[index]
    assert (attention.effective_matrix(qkv, position) - before).abs().max() > 1e-3
    queries = qkv.queries_BHTC @ (torch.eye(4).double() + noise(4, 4, seed=5)).mT
    identity, _, _ = built("hedgehog")
    expected = identity.effective_matrix(qkv._replace(queries_BHTC=queries), position)
    torch.testing.assert_close(attention.effective_matrix(qkv, position), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("linear", {}, 4 * 16**2),
        ("based", {}, 2 * 16 * 4 * 16 + 2 * 16**2),
        ("based", {"features": 8}, 2 * 16 * 4 * 8 + 2 * 16**2),
        ("hedgehog", {}, 4 * 16**2 + 2 * (4**2 + 4)),
        ("hedgehog", {"tied": True}, 4 * 16**2 + 4**2 + 4),
    ],
)
def test_parameter_counts_are_the_formulas(name: str, options: dict[str, Any], expected: int) -> None:
    attention = attention_of(name, options, width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == expected
    entry = ATTENTIONS.entry(name)
    assert entry.cls.num_parameters(16, 4, 16, **entry.complete(options)) == expected


def test_a_row_with_a_vanishing_sum_is_zero() -> None:
    attention, position, qkv = built("linear")
    vanishing = qkv._replace(queries_BHTC=(qkv.queries_BHTC.float() * 0 - 1e4).double())
    assert not attention.attend(vanishing, position).any()
    assert not attention.effective_matrix(vanishing, position).any()
