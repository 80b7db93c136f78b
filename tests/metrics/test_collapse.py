"""Residual-x_BTD metrics: loop references, their relations, and the mistake of stacking the batch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from attnlab.metrics.collapse import relative_singular_values
from attnlab.metrics.metric import METRICS, Point
from tests.builders import noise

TIGHT = 1e-12
TOKEN_METRICS = sorted(name for name, one in METRICS.items() if one.point in (Point.RESIDUAL, Point.BRANCH))


def measure(name: str, x_BTD: Tensor) -> Tensor:
    return METRICS[name].measure(x_BTD)


def random_tokens(batch: int = 3, tokens: int = 7, width: int = 5) -> Tensor:
    """Noise around one token per sequence, of a strength that differs by sequence."""
    share = torch.linspace(0.1, 2.0, batch, dtype=torch.float64)[:, None, None]
    return noise(batch, 1, width, seed=1) + share * noise(batch, tokens, width, seed=2)


def by_loops(name: str, rows: list[list[float]]) -> float:
    """One sequence, by loops and numpy."""
    x = np.array(rows)
    tokens = len(x)
    mean = np.array([sum(x[i][d] for i in range(tokens)) / tokens for d in range(x.shape[1])])
    rest = np.array([[x[i][d] - mean[d] for d in range(x.shape[1])] for i in range(tokens)])
    base = name.removeprefix("branch-")

    def composite(m: np.ndarray) -> float:
        columns = max(sum(abs(m[i][d]) for i in range(m.shape[0])) for d in range(m.shape[1]))
        return math.sqrt(columns * max(sum(abs(one) for one in row) for row in m))

    def rank(m: np.ndarray) -> float:
        s = np.sqrt(np.linalg.eigvalsh(m.T @ m))  # fewer channels than tokens: none is zero
        p = s / s.sum()
        return math.exp(-sum(one * math.log(one) for one in p))

    if base == "residual":
        return float(np.linalg.norm(rest) / np.linalg.norm(x))
    if base == "residual-composite":
        return composite(rest) / composite(x)
    if base == "cosine":
        pairs = [(i, j) for i in range(tokens) for j in range(tokens) if i != j]
        return sum(float(x[i] @ x[j] / math.sqrt((x[i] @ x[i]) * (x[j] @ x[j]))) for i, j in pairs) / len(pairs)
    if base == "frequency":
        return float(np.linalg.norm(rest) / math.sqrt(tokens * float(mean @ mean)))
    if base == "effective-rank":
        return rank(x)
    if base == "effective-rank-centered":
        return rank(rest)
    values = np.linalg.eigvalsh(x.T @ x)
    return float(values.sum() / values.max() if base == "stable-rank" else values.sum() ** 2 / (values**2).sum())


@pytest.mark.parametrize("name", TOKEN_METRICS)
def test_a_metric_is_its_definition_for_each_sequence(name: str) -> None:
    x_BTD = random_tokens()
    expected = [by_loops(name, rows) for rows in x_BTD.tolist()]
    assert measure(name, x_BTD) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("name", TOKEN_METRICS)
def test_a_metric_does_not_depend_on_scale(name: str) -> None:
    x_BTD = random_tokens()
    assert (measure(name, x_BTD) - measure(name, 1e-30 * x_BTD)).abs().max() <= 1e-10


@pytest.mark.parametrize("name", TOKEN_METRICS)
def test_stacking_the_batch_into_one_matrix_is_another_number(name: str) -> None:
    x_BTD = random_tokens()
    per_sequence = METRICS[name].average(measure(name, x_BTD))
    stacked = measure(name, x_BTD.flatten(0, 1)[None])
    assert abs(float(per_sequence - stacked)) > 0.01


@pytest.mark.parametrize(("tokens", "width"), [(7, 5), (5, 7), (6, 6), (2, 9), (16, 2)])
def test_the_ranks_are_in_order(tokens: int, width: int) -> None:
    x_BTD = random_tokens(20, tokens, width)
    values = torch.linalg.svdvals(x_BTD)
    shares = values.square() / values.square().sum(-1, keepdim=True)
    ranks = [
        torch.ones(20, dtype=torch.float64),
        measure("stable-rank", x_BTD),
        measure("participation", x_BTD),
        torch.special.entr(shares).sum(-1).exp(),
        measure("effective-rank", x_BTD),
        torch.full((20,), min(tokens, width), dtype=torch.float64),
    ]
    for less, more in itertools.pairwise(ranks):
        assert (less <= more + TIGHT).all()
    assert (ranks[1] < ranks[4] - 0.01).any()


def test_residual_and_cosine_agree_for_tokens_of_one_norm() -> None:
    x_BTD = torch.nn.functional.normalize(random_tokens(), dim=-1) * 3.0
    expected = (7 - 1) * (1 - measure("cosine", x_BTD)) / 7
    assert (measure("residual", x_BTD).square() - expected).abs().max() <= TIGHT


def test_frequencies_follow_from_the_residual() -> None:
    residual = measure("residual", random_tokens())
    assert (measure("frequency", random_tokens()) - residual / (1 - residual.square()).sqrt()).abs().max() <= TIGHT


def test_the_stable_rank_of_the_gram_matrix_is_another_number() -> None:
    """The code of Mind the Gap measures that rank."""
    x_BTD = random_tokens()
    gram = measure("stable-rank", x_BTD @ x_BTD.mT)
    assert (gram - relative_singular_values(x_BTD).pow(4).sum(-1)).abs().max() <= 1e-10
    assert ((gram - measure("stable-rank", x_BTD)).abs() > 0.01).any()


def test_equal_tokens_have_collapsed() -> None:
    x_BTD = noise(2, 1, 5).expand(2, 7, 5)
    assert (measure("residual", x_BTD) < 1e-15).all()
    assert (measure("residual-composite", x_BTD) < 1e-15).all()
    assert (measure("frequency", x_BTD) < 1e-15).all()
    for name in ("cosine", "stable-rank", "participation", "effective-rank"):
        assert measure(name, x_BTD) == pytest.approx([1.0, 1.0], abs=1e-10)


def test_the_residual_of_equal_tokens_is_rounding_error_and_has_no_rank() -> None:
    x_BTD = noise(1, 1, 5) + 1e-15 * noise(1, 7, 5)
    assert measure("effective-rank-centered", x_BTD).isnan().all()
    assert measure("effective-rank-centered", noise(1, 1, 5) + 1e-9 * noise(1, 7, 5)) > 2


def test_a_token_of_zeros_has_cosine_zero_with_every_other() -> None:
    """Centered attention without a residual connection leaves the first token zero."""
    x_BTD = noise(1, 1, 5).expand(1, 3, 5).clone()
    x_BTD[0, 0] = 0
    assert measure("cosine", x_BTD) == pytest.approx([1 / 3])


def test_one_token_has_no_cosine() -> None:
    assert measure("cosine", noise(2, 1, 5)).isnan().all()
    assert measure("residual", noise(2, 1, 5)).tolist() == [0.0, 0.0]
