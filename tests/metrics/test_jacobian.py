"""Norms of softmax's Jacobian: closed forms against autograd, the norm for which uniform rows are not the largest."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.metrics.jacobian import largest, norms, of_map, softmax_of
from attnlab.metrics.metric import METRICS
from tests.builders import noise

TIGHT = 1e-12
NORMS = ("l1", "trace", "frobenius", "spectral")


def masked(scores: Tensor) -> Tensor:
    length = scores.shape[-1]
    return scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)


def scored(length: int = 6, gain: float = 2.0) -> Tensor:
    return gain * noise(3, 2, length, length)


def row(*probabilities: float) -> Tensor:
    """A matrix whose second and last row holds the probabilities: the first is left out of every mean."""
    first = [1.0] + [0.0] * (len(probabilities) - 1)
    return torch.tensor([[[first, list(probabilities)]]], dtype=torch.float64)


def of(name: str, weights: Tensor) -> float:
    return float(METRICS[f"jacobian-{name}"].measure(weights))


@pytest.mark.parametrize("gain", [0.1, 2.0, 30.0])
@pytest.mark.parametrize("name", NORMS)
def test_the_closed_form_is_the_norm_of_what_autograd_finds(name: str, gain: float) -> None:
    scores = scored(gain=gain)
    expected = norms(of_map(masked, scores))[name]
    # A hardened row's Frobenius norm is the root of a difference, which keeps half of the digits.
    bound = 1e-8 if gain > 10 else TIGHT
    assert (METRICS[f"jacobian-{name}"].measure(masked(scores)) - expected).abs().max() <= bound


def test_the_jacobian_of_a_row_is_the_matrix_it_is_said_to_be() -> None:
    scores = scored()
    p = masked(scores)
    expected = torch.diag_embed(p) - p[..., :, None] * p[..., None, :]
    assert (of_map(masked, scores) - expected).abs().max() <= TIGHT


@pytest.mark.parametrize("n", [2, 3, 8, 64])
def test_equal_shares_have_the_known_norms(n: int) -> None:
    even = row(*[1 / n] * n)
    assert of("l1", even) == pytest.approx(2 * (1 - 1 / n), rel=TIGHT)
    assert of("trace", even) == pytest.approx(1 - 1 / n, rel=TIGHT)
    assert of("frobenius", even) == pytest.approx(math.sqrt(n - 1) / n, rel=1e-11)
    assert of("spectral", even) == pytest.approx(1 / n, rel=TIGHT)


@pytest.mark.parametrize("n", [3, 8, 64])
def test_equal_shares_are_the_largest_in_l1_and_trace_alone(n: int) -> None:
    """Two rival keys beat them in the Frobenius and the spectral norm."""
    even, rivals = row(*[1 / n] * n), row(0.5, 0.5, *[0.0] * (n - 2))
    assert of("frobenius", rivals) == pytest.approx(0.5, abs=TIGHT)
    assert of("spectral", rivals) == pytest.approx(0.5, abs=TIGHT)
    assert of("frobenius", even) < of("frobenius", rivals)
    assert of("spectral", even) < of("spectral", rivals)
    for seed in range(20):
        drawn = row(*(3 * noise(n, seed=seed)).softmax(-1).tolist())
        assert of("l1", drawn) < of("l1", even)
        assert of("trace", drawn) < of("trace", even)


def test_the_counter_example_has_the_known_numbers() -> None:
    assert [round(of("frobenius", row(*[1 / n] * n)), 3) for n in (8, 64)] == [0.331, 0.124]
    assert [round(of("spectral", row(*[1 / n] * n)), 3) for n in (8, 64)] == [0.125, 0.016]


@pytest.mark.parametrize("p", [(1.0, 0.0, 0.0), (0.6, 0.4, 0.0), (0.4, 0.4, 0.2), (0.5, 0.3, 0.2), (0.0, 0.0, 0.0)])
def test_the_largest_eigenvalue_is_found_with_ties_and_zeros(p: tuple[float, ...]) -> None:
    drawn = torch.tensor(p, dtype=torch.float64)
    expected = torch.linalg.eigvalsh(torch.diag(drawn) - drawn[:, None] * drawn)[-1]
    assert (largest(drawn[None]) - expected).abs().max() <= TIGHT


@pytest.mark.parametrize("name", NORMS)
def test_the_closed_forms_are_not_read_off_what_is_no_softmax(name: str) -> None:
    measure, scores = METRICS[f"jacobian-{name}"].measure, scored()
    signed = 1.5 * masked(scores) - 0.5 * masked(-scores)
    linear = scores.exp().square().tril()
    linear = linear / linear.sum(-1, keepdim=True)
    assert measure(masked(scores), scores).isfinite().all()
    for other in (signed, linear, 0.5 * masked(scores)):
        assert measure(other, scores).isnan().all()
    assert measure(masked(scores), torch.empty(0)).isnan().all()


def test_a_softmax_over_fewer_keys_is_one_too() -> None:
    scores = scored()
    weights = masked(scores.masked_fill((torch.arange(6)[:, None] - torch.arange(6)) > 2, -torch.inf))
    assert softmax_of(scores, weights)
    assert not softmax_of(scores + noise(6, 6, seed=3), weights)


def test_two_opposed_softmaxes_add_their_jacobians() -> None:
    """With scores s and -s: ``(1 + l+) J(p+) + l- J(p-)``, which no closed form above covers."""
    plus, minus, scores = 0.5, 0.25, scored()
    result = of_map(lambda s: (1 + plus) * masked(s) - minus * masked(-s), scores)
    expected = (1 + plus) * of_map(masked, scores) + minus * of_map(masked, -scores)
    assert (result - expected).abs().max() <= TIGHT
    assert (norms(result)["trace"] > norms(of_map(masked, scores))["trace"]).all()
