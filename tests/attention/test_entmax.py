"""Sparsemax and entmax: the definition, the exact zeros, and the implicit gradients, of alpha too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from attnlab.attention.entmax import entmax, threshold, threshold_by_bisection
from attnlab.errors import InvalidValueError
from tests.attention.row_reference import assert_follows, learned, looped, normalized, perturbed
from tests.builders import attention_of, noise

ALPHAS = [1.05, 1.3, 1.5, 1.75, 2.0, 3.0]
ALL = torch.ones(1, 1, dtype=torch.bool)


def defined(scores: Sequence[float], alpha: float) -> list[float]:
    """The definition, with t from 200 halvings."""
    levels = [(alpha - 1) * s for s in scores]
    low, high = max(levels) - 1, max(levels)

    def weights(lowered: float) -> list[float]:
        return [max(level - lowered, 0.0) ** (1 / (alpha - 1)) for level in levels]

    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(weights(middle)) >= 1 else (low, middle)
    return weights(low)


def expected_gradients(weights: Tensor, loss_weights: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The published backward: of scores, and of alpha."""
    grad = torch.where(weights > 0, weights ** (2 - alpha), torch.zeros_like(weights))
    skewed = grad / grad.sum(-1, keepdim=True)
    of_scores = grad * (loss_weights - (skewed * loss_weights).sum(-1, keepdim=True))
    terms = torch.xlogy(weights, weights)
    by_size = (weights - skewed) / (alpha - 1) ** 2
    by_entropy = (terms - skewed * terms.sum(-1, keepdim=True)) / (alpha - 1)
    return of_scores, (loss_weights * (by_size - by_entropy)).sum()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_entmax_is_its_definition(alpha: float) -> None:
    assert_follows("entmax", lambda scores, _: defined(scores, alpha), {"alpha": alpha}, 1e-10)


def test_sparsemax_is_entmax_two() -> None:
    assert_follows("sparsemax", lambda scores, _: defined(scores, 2.0), tolerance=1e-12)
    assert torch.equal(normalized("sparsemax", noise(9, 9)), normalized("entmax", noise(9, 9), {"alpha": 2.0}))


def test_adaptive_starts_at_one_and_a_half_with_one_alpha_per_head() -> None:
    assert_follows("entmax", lambda scores, _: defined(scores, 1.5), {"alpha": "adaptive"})
    attention, no_position, qkv = perturbed("entmax", {"alpha": "adaptive"})
    alphas = [1 + 1 / (1 + math.exp(-a)) for a in attention.get_parameter("alpha_H").tolist()]
    expected = looped(qkv, lambda scores, head: defined(scores, alphas[head]))
    torch.testing.assert_close(attention.effective_matrix(qkv, no_position), expected)


def test_known_rows() -> None:
    scores = torch.tensor([[1.0, 0.5, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(entmax(scores, ALL, 2.0), torch.tensor([[0.75, 0.25, 0.0]], dtype=torch.float64))
    root = math.sqrt(7)  # alpha 1.5 of two scores 1 apart: levels 1/2 and 0, (1/2 - t)^2 + t^2 = 1
    pair = torch.tensor([[((1 + root) / 4) ** 2, ((1 - root) / 4) ** 2]], dtype=torch.float64)
    torch.testing.assert_close(entmax(scores.new_tensor([[1.0, 0.0]]), ALL, 1.5), pair)


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_sorting_and_bisection_agree(alpha: float) -> None:
    levels = 2 * noise(50, 30)
    levels = (levels - levels.amax(-1, keepdim=True)).clamp_min(-2)
    torch.testing.assert_close(
        threshold(levels, alpha), threshold_by_bisection(levels, 1 / (alpha - 1)), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_gradients_are_the_implicit_ones_of_scores_and_of_alpha(alpha: float) -> None:
    scores, loss_weights = (2 * noise(6, 10)).requires_grad_(), noise(6, 10, seed=1)
    alpha_tensor = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    weights = entmax(scores, ALL, alpha_tensor)
    (weights * loss_weights).sum().backward()
    of_scores, of_alpha = expected_gradients(weights.detach(), loss_weights, alpha)
    assert scores.grad is not None
    assert alpha_tensor.grad is not None
    torch.testing.assert_close(scores.grad, of_scores, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(alpha_tensor.grad, of_alpha, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.8])
def test_gradients_agree_with_finite_differences(alpha: float) -> None:
    scores = noise(3, 6).requires_grad_()
    alpha_tensor = torch.full((3, 1), alpha, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, a: entmax(s, ALL, a), (scores, alpha_tensor), eps=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(lambda s: entmax(s, ALL, alpha), (scores,), eps=1e-6, atol=1e-6)


def test_gradients_under_vmap_equal_the_loop() -> None:
    scores, loss_weights, alphas = (
        noise(3, 4, 6),
        noise(4, 6, seed=1),
        torch.tensor([1.3, 1.5, 1.9], dtype=torch.float64),
    )

    def loss(s: Tensor, a: Tensor) -> Tensor:
        return (entmax(s, ALL, a) * loss_weights).sum()

    together = vmap(grad(loss, argnums=(0, 1)))(scores, alphas)
    for run in range(3):
        for grads, expected in zip(together, grad(loss, argnums=(0, 1))(scores[run], alphas[run]), strict=True):
            torch.testing.assert_close(grads[run], expected)


def test_a_larger_alpha_gives_more_zeros_and_softmax_is_the_limit() -> None:
    scores = 2 * noise(30, 30)
    zeros = [int((normalized("entmax", scores, {"alpha": alpha}).tril() == 0).sum()) for alpha in ALPHAS]
    assert zeros == sorted(zeros)
    assert zeros[-1] > zeros[0] + 100
    softmax = normalized("softmax", scores)
    assert (normalized("entmax", scores, {"alpha": 1.01}) - softmax).abs().max() < 0.02


@pytest.mark.parametrize("options", [{"alpha": alpha} for alpha in (*ALPHAS, "adaptive")])
@pytest.mark.parametrize("size", [0.0, 1e-12, 1.0, 1e9])
def test_rows_sum_to_one_with_finite_gradients_in_float32(options: dict[str, Any], size: float) -> None:
    scores = (size * noise(40, 40).float()).requires_grad_()
    weights = normalized("entmax", scores, options)
    weights.square().sum().backward()
    torch.testing.assert_close(weights.sum(-1), torch.ones(40))
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())


def test_a_key_without_weight_gives_no_gradient() -> None:
    scores = (3 * noise(20, 20)).requires_grad_()
    weights = normalized("sparsemax", scores)
    weights.square().sum().backward()
    assert scores.grad is not None
    assert not scores.grad[weights == 0].any()
    assert scores.grad[weights > 0].any()


def test_a_row_without_keys_is_zero() -> None:
    mask = torch.tensor([[False, False, False], [True, False, True]])
    alphas: list[Tensor | float] = [*ALPHAS, torch.tensor(1.4)]
    for alpha in alphas:
        scores = noise(2, 3).requires_grad_()
        weights = entmax(scores, mask, alpha)
        weights.square().sum().backward()
        assert scores.grad is not None
        assert bool(scores.grad.isfinite().all())
        assert not weights[~mask].any()
        torch.testing.assert_close(weights[1].sum(), torch.tensor(1.0, dtype=torch.float64))


def test_adaptive_learns_one_number_per_head() -> None:
    extra = [learned(attention_of("entmax", {"alpha": alpha})) - 4 * 8 * 8 for alpha in (1.5, 1.3, "adaptive")]
    assert extra == [0, 0, 2]


def test_softmax_is_not_an_alpha() -> None:
    with pytest.raises(InvalidValueError, match=r"Option 'alpha' cannot be 1\.0\."):
        attention_of("entmax", {"alpha": 1.0})
