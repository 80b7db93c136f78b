"""Known laws of collapse, of gradients and of repeated averaging, as the metrics measure them, in float64.

Bidirectional attention is built here; causal attention is that of attnlab where possible.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from attnlab.attention import Attention
from attnlab.metrics.collapse import frobenius_norm, relative_singular_values, subtract_mean_token
from attnlab.metrics.decay import decay
from attnlab.metrics.gradients import gradients
from attnlab.metrics.metric import METRICS
from attnlab.tensors import LayerInputs
from tests.builders import attention_of, noise, position_of

EPSILONS = (1e-2, 5e-3, 2.5e-3, 1.25e-3)


def measure(name: str, tensor: Tensor) -> Tensor:
    return METRICS[name].measure(tensor)


def near(epsilon: float, tokens: int = 8, width: int = 8, seed: int = 0) -> Tensor:
    """Tokens that are nearly equal: ``1 m^T + eps R``."""
    return noise(1, 1, width, seed=seed + 1) + epsilon * noise(1, tokens, width, seed=seed)


def scores_of(x_BTD: Tensor, seed: int = 3) -> Tensor:
    width = x_BTD.shape[-1]
    queries, keys = (x_BTD @ noise(width, width, seed=seed + more) / math.sqrt(width) for more in (0, 1))
    return queries @ keys.mT / math.sqrt(width)


def softmax(scores: Tensor, causal: bool) -> Tensor:
    length = scores.shape[-1]
    masked = torch.ones(length, length).triu(1).bool() & causal
    return scores.masked_fill(masked, -torch.inf).softmax(-1)


def uniform(length: int) -> Tensor:
    """Uniform attention to all tokens not after the query."""
    return torch.ones(length, length, dtype=torch.float64).tril() / torch.arange(1, length + 1)[:, None]


def exponent(values: list[float]) -> float:
    """The exponent of a power of epsilon, at the smallest epsilons."""
    before, last = values[-2:]
    return math.log(before / last) / math.log(EPSILONS[-2] / EPSILONS[-1])


@pytest.mark.parametrize("name", ["residual", "residual-composite", "frequency"])
@pytest.mark.parametrize(("causal", "order"), [(False, 3.0), (True, 1.0)])
def test_the_residual_falls_as_the_cube_in_bidirectional_and_linearly_in_causal_attention(
    name: str, causal: bool, order: float
) -> None:
    mixed = [softmax(scores_of(near(epsilon)), causal) @ near(epsilon) for epsilon in EPSILONS]
    assert exponent([float(measure(name, one)) for one in mixed]) == pytest.approx(order, abs=0.02)


def test_the_causal_attention_of_attnlab_follows_the_linear_law() -> None:
    attention, position = attention_of("softmax", heads=1).double(), position_of("none")
    result = []
    for epsilon in EPSILONS:
        x_BTD = near(epsilon)
        matrix = attention.effective_matrix(attention.prepare(x_BTD, position, LayerInputs()), position)[:, 0].detach()
        result.append(float(measure("residual", matrix @ x_BTD)))
    assert exponent(result) == pytest.approx(1.0, abs=0.02)


def test_repeated_averaging_of_the_past_halves_the_residual() -> None:
    """All tokens converge to the first, not to the mean; the eigenvalues of C are 1, 1/2, 1/3, .."""
    x_BTD, residuals = noise(1, 16, 8), []
    first = x_BTD[:, :1]
    for _ in range(30):
        x_BTD = uniform(16) @ x_BTD
        residuals.append(float(measure("residual", x_BTD)))
    assert residuals[-1] / residuals[-2] == pytest.approx(0.5, abs=1e-3)
    assert (x_BTD - first).abs().max() < 1e-6
    fit = decay(residuals, start=12)
    assert fit.rate == pytest.approx(0.5, abs=0.01)
    assert fit.fit > 0.9999
    assert fit.order == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("length", "expected"), [(16, 0.679), (64, 0.671), (256, 0.668)])
def test_one_causal_layer_of_uniform_attention_gives_the_known_cosines(length: int, expected: float) -> None:
    """The tokens are orthogonal before; bidirectional attention would make them equal."""
    orthogonal = torch.eye(length, dtype=torch.float64)[None]
    mixed = uniform(length) @ orthogonal
    unit = torch.nn.functional.normalize(mixed[0], dim=-1)
    positions = torch.arange(1, length + 1, dtype=torch.float64)
    ratio = torch.minimum(positions[:, None], positions) / torch.maximum(positions[:, None], positions)
    assert (unit @ unit.mT - ratio.sqrt()).abs().max() <= 1e-12
    assert float(measure("cosine", mixed)) == pytest.approx(expected, abs=5e-4)
    bidirectional = torch.full((length, length), 1 / length, dtype=torch.float64) @ orthogonal
    assert float(measure("cosine", bidirectional)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("plus", "minus"), [(0.5, 0.5), (1.0, 1.0), (1.0, 0.5), (2.0, 2.0)])
def test_opposed_softmaxes_delay_collapse_in_bidirectional_and_not_in_causal_attention(
    plus: float, minus: float
) -> None:
    """With scores s and -s the gain is 1 + l+ + l-, and 1 + l+ - l-; the exponent stays as it was."""
    gains = {}
    for causal in (False, True):
        result = []
        for epsilon in EPSILONS:
            x_BTD = near(epsilon)
            scores = scores_of(x_BTD)
            plain = softmax(scores, causal)
            generalized = (1 + plus) * plain - minus * softmax(-scores, causal)
            result.append(
                [float(frobenius_norm(subtract_mean_token(weights @ x_BTD))) for weights in (plain, generalized)]
            )
        gains[causal] = result[-1][1] / result[-1][0]
        assert exponent([one for _, one in result]) == pytest.approx(1.0 if causal else 3.0, abs=0.02)
    assert gains[False] == pytest.approx(1 + plus + minus, rel=0.02)
    assert gains[True] == pytest.approx(1 + plus - minus, rel=0.02)


@pytest.mark.parametrize(
    ("name", "total"), [("softmax", 1.0), ("gpam", 1.0), ("attnscale", 1.0), ("differential", None)]
)
def test_collapsed_tokens_stay_collapsed_under_rows_of_a_constant_sum(name: str, total: float | None) -> None:
    attention, position = attention_of(name, width=16).double(), position_of("none")
    x_BTD = noise(1, 1, 16).expand(1, 9, 16)
    matrix = attention.effective_matrix(attention.prepare(x_BTD, position, LayerInputs()), position)[:, 0].detach()
    assert float(measure("residual", matrix @ x_BTD)) < 1e-14
    if name != "differential":
        assert float(measure("row-sum", matrix[:, None])) == pytest.approx(1.0, abs=1e-12)


class OneAttention(nn.Module):
    """One attention over given tokens, causal as in attnlab, or bidirectional."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.attention: Attention = attention_of("softmax", heads=1)
        self.causal, self.position = causal, position_of("none")

    def forward(self, x_BTD: Tensor) -> Tensor:
        attention = self.attention
        if self.causal:
            return attention(x_BTD, self.position, LayerInputs()).output_BTD
        qkv = attention.project(x_BTD, LayerInputs())
        return attention.output(attention.score(qkv).softmax(-1) @ qkv.values_BHSC, x_BTD)


@pytest.mark.parametrize("causal", [False, True])
def test_near_collapse_gradients_of_queries_and_keys_vanish_quadratically_and_those_of_values_stay(
    causal: bool,
) -> None:
    model, target = OneAttention(causal).double(), noise(1, 8, 8, seed=7)

    def norms(epsilon: float) -> dict[str, float]:
        def loss() -> Tensor:
            out = model(near(epsilon))
            return (out.sin() * target + out.pow(3)).sum()

        grads = gradients(model, [loss], {name: (1, name.split(".")[1]) for name, _ in model.named_parameters()})
        return {one.kind: one.norm for one in grads}

    result = [norms(epsilon) for epsilon in EPSILONS]
    exponents = {kind: exponent([one[kind] for one in result]) for kind in ("query", "key", "value")}
    assert exponents == pytest.approx({"query": 2.0, "key": 2.0, "value": 0.0}, abs=0.03)


@pytest.mark.parametrize(("alpha_squared", "expected"), [(1.0, 0.9925), (1 / 12, 0.0777)])
def test_uniform_attention_with_a_scaled_residual_connection_follows_the_closed_form(
    alpha_squared: float, expected: float
) -> None:
    """``rho = q / (T - 1 + q)`` with ``q = (1 + alpha^2)^L``; rho is one less the residual's square."""
    tokens, layers, width, seeds = 32, 12, 256, 8
    q = (1 + alpha_squared) ** layers
    assert q / (tokens - 1 + q) == pytest.approx(expected, abs=1e-4)
    result = []
    for seed in range(seeds):
        x_BTD = noise(1, tokens, width, seed=seed)
        for layer in range(layers):
            values = noise(width, width, seed=1000 * (seed + 1) + layer) / math.sqrt(width)
            x_BTD = x_BTD + math.sqrt(alpha_squared) * x_BTD.mean(-2, keepdim=True) @ values
        result.append(1 - float(measure("residual", x_BTD).square()))
    # The odds, rho / (1 - rho), are multiplied by each layer; they vary between runs by a few per cent per layer.
    odds = sum(rho / (1 - rho) for rho in result) / seeds
    assert odds == pytest.approx(expected / (1 - expected), rel=0.15)


def lognormal(length: int, seed: int) -> Tensor:
    """A random attention matrix: lognormal entries of mean and variance 1, normalized."""
    entries = (-math.log(2) / 2 + math.sqrt(math.log(2)) * noise(length, length, seed=seed)).exp()
    return entries / entries.sum(-1, keepdim=True)


@pytest.mark.parametrize(("length", "second"), [(64, 0.245), (256, 0.141)])
def test_random_attention_has_one_dominant_singular_value(length: int, second: float) -> None:
    """The others end near 2 / sqrt(T)."""
    gaps = torch.stack([measure("singular-gap", lognormal(length, seed)[None, None])[0, 0] for seed in range(8)])
    assert float(gaps.reciprocal().mean()) == pytest.approx(second, rel=0.1)
    assert float(gaps.reciprocal().mean()) == pytest.approx(2 / math.sqrt(length), rel=0.1)


@pytest.mark.parametrize(
    ("length", "centered", "expected", "spread"),
    [
        (32, False, (32.0, 1.074, 1.0001, 1.0), 0.03),
        (128, False, (128.0, 1.020, 1.000002, 1.0), 0.006),
        (128, True, (128.0, 8.9, 4.9, 3.8), 0.8),
    ],
)
def test_random_attention_collapses_in_one_layer_and_more_slowly_without_its_mean(
    length: int, centered: bool, expected: tuple[float, ...], spread: float
) -> None:
    """The stable rank of X X^T by layer, from orthonormal tokens, with values of variance 1/D, D = T."""
    runs = []
    for seed in range(8):
        x_BTD = torch.linalg.qr(noise(length, length, seed=seed)).Q[None]
        ranks = []
        for layer in range(4):
            ranks.append(float(relative_singular_values(x_BTD).pow(4).sum()))
            fresh = 100 * (seed + 1) + layer
            attention = lognormal(length, fresh) - (1 / length if centered else 0.0)
            x_BTD = attention @ x_BTD @ noise(length, length, seed=fresh + 50) / math.sqrt(length)
        runs.append(ranks)
    means = torch.tensor(runs, dtype=torch.float64).mean(0).tolist()
    assert means == pytest.approx(expected, abs=spread)
    if centered:
        assert all(before > after for before, after in pairwise(means))
    else:
        assert means[2] < 1.001


@pytest.mark.parametrize("length", [8, 64])
def test_scores_of_bounded_norm_have_a_lower_bound_on_entropy(length: int) -> None:
    """The bound of scores with centered norm s, which one raised score among equal ones attains."""
    for size in (0.5, 2.0, 8.0):
        ratio = math.exp(-size * math.sqrt(length / (length - 1)))
        total = 1 + (length - 1) * ratio
        bound = math.log(total) + size * math.sqrt(length * (length - 1)) * ratio / total
        worst = torch.full((length,), 0.0, dtype=torch.float64)
        worst[0] = size * math.sqrt(length / (length - 1))
        rows = [worst, *(noise(length, seed=seed) for seed in range(30))]
        result = []
        for row in rows:
            centered = row - row.mean()
            weights = (centered / centered.norm() * size).softmax(-1)
            result.append(float(torch.special.entr(weights).sum()))
        assert result[0] == pytest.approx(bound, rel=1e-10)
        assert min(result[1:]) > bound
