"""Softmaxes with sinks: one in the denominator, learned sinks, softpick."""

from __future__ import annotations

import math

import pytest
import torch

from tests.attention.row_reference import assert_follows, learned, looped, normalized, perturbed
from tests.builders import attention_of, noise


def with_sink(scores: list[float], sink: float) -> list[float]:
    total = math.exp(sink) + sum(math.exp(s) for s in scores)
    return [math.exp(s) / total for s in scores]


def softpick_row(scores: list[float]) -> list[float]:
    total = 1e-8 + sum(abs(math.exp(s) - 1) for s in scores)
    return [max(math.exp(s) - 1, 0) / total for s in scores]


def test_off_by_one_adds_one_to_the_denominator() -> None:
    assert_follows("off-by-one", lambda scores, _: with_sink(scores, 0.0))


def test_a_sink_starts_as_off_by_one() -> None:
    assert_follows("sink", lambda scores, _: with_sink(scores, 0.0))
    assert_follows("sink", lambda scores, _: with_sink(scores, -1.5), {"start": -1.5})


def test_each_head_has_its_own_sink() -> None:
    attention, no_position, qkv = perturbed("sink")
    sinks = attention.get_parameter("sink_H").tolist()
    assert sinks[0] != sinks[1]
    expected = looped(qkv, lambda scores, head: with_sink(scores, sinks[head]))
    torch.testing.assert_close(attention.effective_matrix(qkv, no_position), expected)
    attention.effective_matrix(qkv, no_position).sum().backward()
    gradient = attention.get_parameter("sink_H").grad
    assert gradient is not None
    torch.testing.assert_close(gradient, -(expected.sum(-1) * (1 - expected.sum(-1))).sum((0, 2)))


@pytest.mark.parametrize("name", ["off-by-one", "sink"])
def test_the_maximum_includes_the_sink(name: str) -> None:
    scores = torch.full((4, 4), -200.0).requires_grad_()  # exp(200) is beyond float32
    weights = normalized(name, scores)
    weights.sum().backward()
    assert not weights.any()
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())
    torch.testing.assert_close(normalized(name, -scores), torch.ones(4, 4).tril() / torch.arange(1, 5)[:, None])


def test_softpick_is_its_formula() -> None:
    assert_follows("softpick", lambda scores, _: softpick_row(scores))


def test_softpick_does_not_count_the_keys_after_a_query() -> None:
    scores = noise(5, 5)
    moved = scores + 50 * torch.ones(5, 5, dtype=torch.float64).triu(1)
    assert torch.equal(normalized("softpick", scores), normalized("softpick", moved))
    assert torch.equal(normalized("softpick", scores.abs()).sum(-1) > 0.999, torch.ones(5, dtype=torch.bool))


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 30.0])
def test_softpick_is_exact_for_scores_of_any_size(size: float) -> None:
    scores = size * noise(8, 8)
    expected = torch.zeros(8, 8, dtype=torch.float64)
    for i in range(8):
        terms = [math.expm1(float(s)) for s in scores[i, : i + 1]]
        total = 1e-8 + sum(map(abs, terms))
        expected[i, : i + 1] = torch.tensor([max(term, 0) / total for term in terms], dtype=torch.float64)
    torch.testing.assert_close(normalized("softpick", scores), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(normalized("softpick", scores.float()).double(), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e4, 1e9])
def test_softpick_is_finite_at_extremes(size: float) -> None:
    for sign in (1, -1):
        scores = (sign * size * noise(8, 8).abs().float()).requires_grad_()
        weights = normalized("softpick", scores)
        weights.square().sum().backward()
        assert scores.grad is not None
        assert bool(weights.isfinite().all() and scores.grad.isfinite().all())
        expected = torch.ones(8) if sign * size > 0 else torch.zeros(8)
        torch.testing.assert_close(weights.sum(-1), expected)


def test_only_the_sink_has_more_parameters_than_softmax() -> None:
    extra = {name: learned(attention_of(name)) - 4 * 8 * 8 for name in ("off-by-one", "sink", "softpick")}
    assert extra == {"off-by-one": 0, "sink": 2, "softpick": 0}
