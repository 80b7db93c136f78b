"""Stream metrics: slow references, their relations, and the mistake of stacking the batch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from attnlab.metrics.collapse import spectrum
from attnlab.metrics.metric import METRICS, Point
from tests.builders import noise

TIGHT = 1e-12
STREAM = sorted(name for name, one in METRICS.items() if one.point in (Point.STREAM, Point.BRANCH))


def measure(name: str, stream: Tensor) -> Tensor:
    return METRICS[name].measure(stream)


def streams(batch: int = 3, tokens: int = 7, width: int = 5) -> Tensor:
    """Noise around a token of each sequence, alike to different degrees."""
    share = torch.linspace(0.1, 2.0, batch, dtype=torch.float64)[:, None, None]
    return noise(batch, 1, width, seed=1) + share * noise(batch, tokens, width, seed=2)


def slow(name: str, rows: list[list[float]]) -> float:
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
    if base == "effective-rank-centerd":
        return rank(rest)
    values = np.linalg.eigvalsh(x.T @ x)
    return float(values.sum() / values.max() if base == "stable-rank" else values.sum() ** 2 / (values**2).sum())


@pytest.mark.parametrize("name", STREAM)
def test_a_metric_is_its_definition_for_each_sequence(name: str) -> None:
    stream = streams()
    expected = [slow(name, rows) for rows in stream.tolist()]
    assert measure(name, stream) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("name", STREAM)
def test_a_metric_is_of_directions_and_not_of_size(name: str) -> None:
    stream = streams()
    assert (measure(name, stream) - measure(name, 1e-30 * stream)).abs().max() <= 1e-10


@pytest.mark.parametrize("name", STREAM)
def test_stacking_the_batch_into_one_matrix_is_another_number(name: str) -> None:
    stream = streams()
    apart = METRICS[name].average(measure(name, stream))
    stacked = measure(name, stream.flatten(0, 1)[None])
    assert abs(float(apart - stacked)) > 0.01


@pytest.mark.parametrize(("tokens", "width"), [(7, 5), (5, 7), (6, 6), (2, 9), (16, 2)])
def test_the_ranks_are_in_order(tokens: int, width: int) -> None:
    stream = streams(20, tokens, width)
    values = torch.linalg.svdvals(stream)
    shares = values.square() / values.square().sum(-1, keepdim=True)
    ranks = [
        torch.ones(20, dtype=torch.float64),
        measure("stable-rank", stream),
        measure("participation", stream),
        torch.special.entr(shares).sum(-1).exp(),
        measure("effective-rank", stream),
        torch.full((20,), min(tokens, width), dtype=torch.float64),
    ]
    for less, more in itertools.pairwise(ranks):
        assert (less <= more + TIGHT).all()
    assert (ranks[1] < ranks[4] - 0.01).any()


def test_residual_and_cosine_say_the_same_of_tokens_of_one_norm() -> None:
    stream = torch.nn.functional.normalize(streams(), dim=-1) * 3.0
    expected = (7 - 1) * (1 - measure("cosine", stream)) / 7
    assert (measure("residual", stream).square() - expected).abs().max() <= TIGHT


def test_frequencies_follow_from_the_residual() -> None:
    residual = measure("residual", streams())
    assert (measure("frequency", streams()) - residual / (1 - residual.square()).sqrt()).abs().max() <= TIGHT


def test_the_stable_rank_of_the_gram_matrix_is_another_number() -> None:
    """That is what the code of Mind the Gap measures."""
    stream = streams()
    gram = measure("stable-rank", stream @ stream.mT)
    assert (gram - spectrum(stream).pow(4).sum(-1)).abs().max() <= 1e-10
    assert ((gram - measure("stable-rank", stream)).abs() > 0.01).any()


def test_equal_tokens_have_collapsed() -> None:
    stream = noise(2, 1, 5).expand(2, 7, 5)
    assert (measure("residual", stream) < 1e-15).all()
    assert (measure("residual-composite", stream) < 1e-15).all()
    assert (measure("frequency", stream) < 1e-15).all()
    for name in ("cosine", "stable-rank", "participation", "effective-rank"):
        assert measure(name, stream) == pytest.approx([1.0, 1.0], abs=1e-10)


def test_what_is_left_of_equal_tokens_is_rounding_and_has_no_rank() -> None:
    stream = noise(1, 1, 5) + 1e-15 * noise(1, 7, 5)
    assert measure("effective-rank-centerd", stream).isnan().all()
    assert measure("effective-rank-centerd", noise(1, 1, 5) + 1e-9 * noise(1, 7, 5)) > 2


def test_a_token_of_zeros_is_like_no_other() -> None:
    """Centerd attention without a skip leaves the first token zero."""
    stream = noise(1, 1, 5).expand(1, 3, 5).clone()
    stream[0, 0] = 0
    assert measure("cosine", stream) == pytest.approx([1 / 3])


def test_one_token_has_nothing_to_be_compared_with() -> None:
    assert measure("cosine", noise(2, 1, 5)).isnan().all()
    assert measure("residual", noise(2, 1, 5)).tolist() == [0.0, 0.0]
