"""Signed weights: Cog, NAP, NON and CoDA against their formulas; the effect of a position's bias."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from attnlab.attention import Attention
from attnlab.position import Position
from attnlab.tensors import QKV
from tests.attention.row_reference import assert_follows, learned, looped, normalized, perturbed, softmax
from tests.builders import attention_of, noise


def cog_row(scores: list[float]) -> list[float]:
    return [math.copysign(share, s) for share, s in zip(softmax([abs(s) for s in scores]), scores, strict=True)]


def standard(scores: list[float], gain: float = 1.0, bias: float = 0.0) -> list[float]:
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
    return [gain * (s - mean) / (deviation + 1e-3) + bias for s in scores]


def nearness(qkv: QKV, b: int, h: int, i: int, j: int) -> float:
    """Minus the scaled L1 distance, channel by channel."""
    query, key = qkv.queries_BHTC[b, h, i], qkv.keys_BHSC[b, h, j]
    return -sum(abs(float(q) - float(k)) for q, k in zip(query, key, strict=True)) / math.sqrt(len(query))


@torch.no_grad()
def assert_coda_formula(attention: Attention, position: Position, qkv: QKV) -> None:
    """CoDA's matrix is its formula, with the position's bias in the second factor."""
    bias = position.bias(torch.zeros(2, 2, 9, 9, dtype=torch.float64), qkv, 0)
    biases = torch.zeros(2, 9, 9) if bias is None else bias.detach()
    result = attention.effective_matrix(qkv, position)
    for b, h, i, j in itertools.product(range(2), range(2), range(9), range(9)):
        score = float(qkv.queries_BHTC[b, h, i] @ qkv.keys_BHSC[b, h, j]) / 2
        gate = 2 / (1 + math.exp(-nearness(qkv, b, h, i, j) - float(biases[h, i, j])))
        assert math.isclose(float(result[b, h, i, j]), math.tanh(score) * gate * (j <= i), abs_tol=1e-12)


def test_cog_is_the_signed_softmax_of_absolute_scores() -> None:
    assert_follows("cog", lambda scores, _: cog_row(scores))


def test_absolute_weights_of_cog_sum_to_one_and_a_score_of_zero_has_weight_zero() -> None:
    weights = normalized("cog", noise(8, 8))
    torch.testing.assert_close(weights.abs().sum(-1), torch.ones(8, dtype=torch.float64))
    assert weights.sum(-1).std() > 0.1
    assert not normalized("cog", torch.zeros(8, 8)).any()


def test_a_penalty_on_far_keys_reduces_their_weights_in_cog() -> None:
    attention, alibi, qkv = perturbed("cog", position="alibi")
    bias = alibi.bias(torch.zeros(2, 2, 9, 9, dtype=torch.float64), qkv, 0)
    assert bias is not None
    rows = iter([bias[h, i, : i + 1].tolist() for _ in range(2) for h in range(2) for i in range(9)])

    def rule(scores: list[float], _: int) -> list[float]:
        shares = softmax([abs(s) + b for s, b in zip(scores, next(rows), strict=True)])
        return [math.copysign(share, s) for share, s in zip(shares, scores, strict=True)]

    torch.testing.assert_close(attention.effective_matrix(qkv, alibi), looped(qkv, rule))


def test_nap_standardizes_each_row() -> None:
    assert_follows("nap", lambda scores, _: standard(scores))
    attention, no_position, qkv = perturbed("nap")
    gains, biases = attention.get_parameter("gain_H").tolist(), attention.get_parameter("bias_H").tolist()
    expected = looped(qkv, lambda scores, head: standard(scores, gains[head], biases[head]))
    torch.testing.assert_close(attention.effective_matrix(qkv, no_position), expected)
    sums = torch.tensor(biases, dtype=torch.float64)[:, None] * torch.arange(1, 10)
    torch.testing.assert_close(expected.sum(-1), sums.expand(2, 2, 9))


def test_the_norm_of_a_nap_row_is_the_root_of_its_length() -> None:
    weights = normalized("nap", 1e4 * noise(40, 40))
    count = torch.arange(1, 41, dtype=torch.float64)
    torch.testing.assert_close(weights.square().sum(-1)[1:], count[1:], rtol=1e-3, atol=0)
    assert bool((weights.abs().amax(-1) <= (count - 1).sqrt() + 1e-9).all())
    assert not weights[0].any()


def test_a_nap_row_of_equal_scores_is_its_bias_with_a_finite_gradient() -> None:
    scores = torch.full((6, 6), 3.0).requires_grad_()
    weights = normalized("nap", scores)
    weights.square().sum().backward()
    assert not weights.any()
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())


def test_non_divides_by_the_root_of_the_row_not_of_the_sequence() -> None:
    assert_follows("non", lambda scores, _: [s / math.sqrt(len(scores)) for s in scores])


def test_coda_is_its_formula() -> None:
    assert_coda_formula(*perturbed("coda"))


def test_a_bias_is_in_the_gate_of_coda_alone() -> None:
    assert_coda_formula(*perturbed("coda", position="alibi"))


def test_coda_weights_stay_within_one() -> None:
    attention, no_position, qkv = perturbed("coda")
    for size in (1e-6, 1.0, 1e8):
        weights = attention.effective_matrix(qkv._replace(queries_BHTC=size * qkv.queries_BHTC), no_position)
        assert weights.abs().max() < 1


@pytest.mark.parametrize(("name", "extra"), [("cog", 0), ("nap", 4), ("non", 0), ("coda", 0)])
def test_only_nap_has_more_parameters_than_softmax(name: str, extra: int) -> None:
    assert learned(attention_of(name)) == 4 * 8 * 8 + extra
