"""Norms of softmax's Jacobian: closed forms against autograd, the norms for which uniform rows are not the largest."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.metrics.jacobian import is_softmax_of, jacobian_norms, largest_eigenvalue, row_jacobians
from attnlab.metrics.metric import METRICS
from tests.builders import noise

TIGHT = 1e-12
NORMS = ("l1", "trace", "frobenius", "spectral")


def causal_softmax(scores: Tensor) -> Tensor:
    length = scores.shape[-1]
    return scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)


def random_scores(length: int = 6, gain: float = 2.0) -> Tensor:
    return gain * noise(3, 2, length, length)


def one_row(*probabilities: float) -> Tensor:
    """A matrix of two rows with the probabilities in the second: the first is left out of every mean."""
    first = [1.0] + [0.0] * (len(probabilities) - 1)
    return torch.tensor([[[first, list(probabilities)]]], dtype=torch.float64)


def norm_of(name: str, weights: Tensor) -> float:
    return float(METRICS[f"jacobian-{name}"].measure(weights))


@pytest.mark.parametrize("gain", [0.1, 2.0, 30.0])
@pytest.mark.parametrize("name", NORMS)
def test_the_closed_form_is_the_norm_of_the_jacobian_by_autograd(name: str, gain: float) -> None:
    scores = random_scores(gain=gain)
    expected = jacobian_norms(row_jacobians(causal_softmax, scores))[name]
    # The Frobenius norm of a saturated row is the root of a difference, which keeps half of the digits.
    bound = 1e-8 if gain > 10 else TIGHT
    assert (METRICS[f"jacobian-{name}"].measure(causal_softmax(scores)) - expected).abs().max() <= bound


def test_the_jacobian_of_a_row_is_the_closed_form() -> None:
    scores = random_scores()
    p = causal_softmax(scores)
    expected = torch.diag_embed(p) - p[..., :, None] * p[..., None, :]
    assert (row_jacobians(causal_softmax, scores) - expected).abs().max() <= TIGHT


@pytest.mark.parametrize("n", [2, 3, 8, 64])
def test_uniform_attention_has_the_known_norms(n: int) -> None:
    uniform = one_row(*[1 / n] * n)
    assert norm_of("l1", uniform) == pytest.approx(2 * (1 - 1 / n), rel=TIGHT)
    assert norm_of("trace", uniform) == pytest.approx(1 - 1 / n, rel=TIGHT)
    assert norm_of("frobenius", uniform) == pytest.approx(math.sqrt(n - 1) / n, rel=1e-11)
    assert norm_of("spectral", uniform) == pytest.approx(1 / n, rel=TIGHT)


@pytest.mark.parametrize("n", [3, 8, 64])
def test_uniform_attention_is_the_largest_in_l1_and_trace_alone(n: int) -> None:
    """Two keys of equal weight have larger Frobenius and spectral norms."""
    uniform, two_keys = one_row(*[1 / n] * n), one_row(0.5, 0.5, *[0.0] * (n - 2))
    assert norm_of("frobenius", two_keys) == pytest.approx(0.5, abs=TIGHT)
    assert norm_of("spectral", two_keys) == pytest.approx(0.5, abs=TIGHT)
    assert norm_of("frobenius", uniform) < norm_of("frobenius", two_keys)
    assert norm_of("spectral", uniform) < norm_of("spectral", two_keys)
    for seed in range(20):
        drawn = one_row(*(3 * noise(n, seed=seed)).softmax(-1).tolist())
        assert norm_of("l1", drawn) < norm_of("l1", uniform)
        assert norm_of("trace", drawn) < norm_of("trace", uniform)


def test_the_counterexample_has_the_known_values() -> None:
    assert [round(norm_of("frobenius", one_row(*[1 / n] * n)), 3) for n in (8, 64)] == [0.331, 0.124]
    assert [round(norm_of("spectral", one_row(*[1 / n] * n)), 3) for n in (8, 64)] == [0.125, 0.016]


@pytest.mark.parametrize("p", [(1.0, 0.0, 0.0), (0.6, 0.4, 0.0), (0.4, 0.4, 0.2), (0.5, 0.3, 0.2), (0.0, 0.0, 0.0)])
def test_the_largest_eigenvalue_is_right_with_ties_and_zeros(p: tuple[float, ...]) -> None:
    drawn = torch.tensor(p, dtype=torch.float64)
    expected = torch.linalg.eigvalsh(torch.diag(drawn) - drawn[:, None] * drawn)[-1]
    assert (largest_eigenvalue(drawn[None]) - expected).abs().max() <= TIGHT


@pytest.mark.parametrize("name", NORMS)
def test_the_closed_forms_are_nan_where_rows_are_not_a_softmax(name: str) -> None:
    measure, scores = METRICS[f"jacobian-{name}"].measure, random_scores()
    signed = 1.5 * causal_softmax(scores) - 0.5 * causal_softmax(-scores)
    linear = scores.exp().square().tril()
    linear = linear / linear.sum(-1, keepdim=True)
    assert measure(causal_softmax(scores), scores).isfinite().all()
    for other in (signed, linear, 0.5 * causal_softmax(scores)):
        assert measure(other, scores).isnan().all()
    assert measure(causal_softmax(scores), torch.empty(0)).isnan().all()


def test_a_softmax_over_fewer_keys_counts_as_a_softmax() -> None:
    scores = random_scores()
    weights = causal_softmax(scores.masked_fill((torch.arange(6)[:, None] - torch.arange(6)) > 2, -torch.inf))
    assert is_softmax_of(scores, weights)
    assert not is_softmax_of(scores + noise(6, 6, seed=3), weights)


def test_two_opposed_softmaxes_add_their_jacobians() -> None:
    """With scores s and -s: ``(1 + l+) J(p+) + l- J(p-)``, which no closed form above covers."""
    plus, minus, scores = 0.5, 0.25, random_scores()
    jacobian = row_jacobians(lambda s: (1 + plus) * causal_softmax(s) - minus * causal_softmax(-s), scores)
    expected = (1 + plus) * row_jacobians(causal_softmax, scores) + minus * row_jacobians(causal_softmax, -scores)
    assert (jacobian - expected).abs().max() <= TIGHT
    assert (jacobian_norms(jacobian)["trace"] > jacobian_norms(row_jacobians(causal_softmax, scores))["trace"]).all()
