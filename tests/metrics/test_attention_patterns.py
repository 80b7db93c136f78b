"""Matrix metrics: loop references, matrices with known values, and rows that are signed, small or zero."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from attnlab.metrics._rows import probabilities, row_entropies
from attnlab.metrics.metric import METRICS, Point
from tests.builders import noise

TIGHT = 1e-12
MATRIX = sorted(name for name, one in METRICS.items() if one.point is Point.MATRIX and not name.startswith("jacobian"))
TOKENS = torch.tensor([[3, 1, 3, 1, 2, 3], [0, 0, 1, 2, 0, 1], [5, 4, 3, 2, 1, 0]])


def measure(name: str, weights: Tensor, tokens: Tensor = TOKENS) -> Tensor:
    return (
        METRICS[name].measure(weights, tokens) if name in ("duplicate", "induction") else METRICS[name].measure(weights)
    )


def softmaxes(batch: int = 3, heads: int = 2, length: int = 6, seed: int = 0) -> Tensor:
    scores = 2 * noise(batch, heads, length, length, seed=seed)
    return scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)


def signed() -> Tensor:
    """Rows of constant sum, signed."""
    return 1.5 * softmaxes(seed=1) - 0.5 * softmaxes(seed=2)


def small() -> Tensor:
    """Rows that sum to less than one, one of them tiny."""
    weights = 0.4 * softmaxes()
    weights[:, :, 3] *= 1e-300
    return weights


def zero_rows() -> Tensor:
    """Rows of which some are zero; in one head all are."""
    weights = softmaxes()
    weights[:, 0, 2:4] = 0
    weights[:, 1] = 0
    return weights


def free() -> Tensor:
    return noise(3, 2, 6, 6).tril()


def uniform(length: int) -> Tensor:
    """Uniform attention to all keys not after the query."""
    shares = torch.ones(length, length, dtype=torch.float64).tril() / torch.arange(1, length + 1)[:, None]
    return shares[None, None]


def by_loops(name: str, w: np.ndarray, tokens: list[int]) -> float:
    """One head of one sequence, by loops."""
    length = len(w)
    sums = [sum(abs(one) for one in row) for row in w]
    p = [[abs(one) / total if total else 0.0 for one in row] for row, total in zip(w, sums, strict=True)]
    entropy = [-sum(one * math.log(one) for one in row if one) for row in p]
    later = range(1, length)
    earlier = {i: [j for j in range(i) if tokens[j] == tokens[i]] for i in range(length)}
    repeated = [i for i in range(length) if earlier[i]]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    def gap() -> float:
        singular = np.linalg.svd(w, compute_uv=False)
        return float(singular[0] / singular[1])

    values: dict[str, Callable[[], float]] = {
        "entropy": lambda: mean([entropy[i] / math.log(i + 1) for i in later]),
        "entropy-nats": lambda: mean(entropy),
        "sink": lambda: mean([p[i][0] for i in range(length)]),
        "sink-rate": lambda: float(mean([p[i][0] for i in range(length)]) > 0.3),
        "distance": lambda: mean([sum(p[i][j] * (i - j) for j in range(i + 1)) / i for i in later]),
        "negative-mass": lambda: mean([sum(-one for one in w[i] if one < 0) / sums[i] for i in range(length)]),
        "row-gain": lambda: mean(sums),
        "row-sum": lambda: mean([sum(row) for row in w]),
        "peak": lambda: mean([max(abs(one) for one in w[i]) for i in later]),
        "saturation": lambda: mean([float(max(p[i]) > 0.999) for i in later]),
        "singular-gap": gap,
        "previous-token": lambda: mean([p[i][i - 1] for i in later]),
        "duplicate": lambda: mean([sum(p[i][j] for j in earlier[i]) for i in repeated]),
        "induction": lambda: mean([sum(p[i][j + 1] for j in earlier[i]) for i in repeated]),
    }
    return values[name]()


@pytest.mark.parametrize("matrix", [softmaxes, signed, free])
@pytest.mark.parametrize("name", [name for name in MATRIX if name != "diversity"])
def test_a_metric_is_its_definition_for_each_head(name: str, matrix: Callable[[], Tensor]) -> None:
    weights = matrix()
    expected = [[by_loops(name, head.numpy(), TOKENS[row].tolist()) for head in weights[row]] for row in range(3)]
    assert measure(name, weights).numpy() == pytest.approx(np.array(expected), rel=1e-11, nan_ok=True)


def test_diversity_is_the_mean_angle_between_the_rows_of_two_heads() -> None:
    weights = softmaxes(heads=3)
    cosine = torch.nn.functional.cosine_similarity
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = [
        sum(float(1 - cosine(one[a, i], one[b, i], dim=0)) for a, b in pairs for i in range(1, 6)) / 15
        for one in weights
    ]
    assert measure("diversity", weights) == pytest.approx(expected, rel=1e-11)
    assert measure("diversity", weights[:, :1].expand(-1, 3, -1, -1)) == pytest.approx([0.0] * 3, abs=TIGHT)
    assert measure("diversity", weights[:, :1]).isnan().all()


@pytest.mark.parametrize("matrix", [signed, small, zero_rows, free, lambda: torch.zeros(3, 2, 6, 6).double()])
@pytest.mark.parametrize("name", MATRIX)
def test_no_row_gives_nan(name: str, matrix: Callable[[], Tensor]) -> None:
    values = measure(name, matrix(), TOKENS[:1].expand(3, -1))
    assert values.isfinite().all()


def test_a_row_of_zeros_has_zero_entropy_and_zero_gain() -> None:
    weights = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    assert row_entropies(weights).tolist() == [[[0.0] * 6]]
    assert measure("entropy", weights).item() == measure("row-gain", weights).item() == 0.0
    assert measure("singular-gap", weights).item() == 1.0


def test_rows_of_any_size_are_normalized_to_probabilities() -> None:
    assert (probabilities(small()).sum(-1) - 1).abs().max() <= TIGHT
    assert (probabilities(signed()).sum(-1) - 1).abs().max() <= TIGHT
    assert (probabilities(softmaxes()) - softmaxes()).abs().max() <= TIGHT


def test_signed_rows_have_the_right_mass_gain_and_sum() -> None:
    """A row of weights 2 and -1."""
    weights = torch.tensor([[[[1.0, 0.0], [2.0, -1.0]]]], dtype=torch.float64)
    assert measure("negative-mass", weights).item() == pytest.approx(1 / 6)
    assert measure("row-gain", weights).item() == pytest.approx(2.0)
    assert measure("row-sum", weights).item() == pytest.approx(1.0)
    assert measure("peak", weights).item() == pytest.approx(2.0)
    assert row_entropies(weights)[0, 0, 1].item() == pytest.approx(math.log(3) - 2 / 3 * math.log(2))


@pytest.mark.parametrize("length", [2, 17, 64])
def test_uniform_attention_has_the_most_entropy_and_no_sink(length: int) -> None:
    weights = uniform(length)
    assert measure("entropy", weights).item() == pytest.approx(1.0, abs=TIGHT)
    assert measure("entropy-nats", weights).item() == pytest.approx(math.lgamma(length + 1) / length, rel=TIGHT)
    assert measure("sink", weights).item() == pytest.approx(sum(1 / i for i in range(1, length + 1)) / length)
    assert measure("distance", weights).item() == pytest.approx(0.5, abs=TIGHT)


def test_uniform_attention_over_64_tokens_has_the_known_values() -> None:
    assert round(measure("sink", uniform(64)).item(), 4) == 0.0741
    assert measure("sink-rate", uniform(64)).item() == 0.0
    assert round(measure("entropy-nats", uniform(64)).item(), 3) == 3.206


@pytest.mark.parametrize(("name", "back"), [("previous-token", 1), ("duplicate", 3), ("induction", 2)])
def test_a_head_of_a_known_kind_has_the_highest_score(name: str, back: int) -> None:
    """Tokens repeat every three positions: the same token is three back, the token after it two back."""
    tokens = torch.tensor([[7, 8, 9] * 4])
    weights = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    for i in range(12):
        weights[0, 0, i, max(0, i - back)] = 1.0
    scores = {kind: measure(kind, weights, tokens).item() for kind in ("previous-token", "duplicate", "induction")}
    assert scores.pop(name) == pytest.approx(1.0)
    assert max(scores.values()) < 0.2


@pytest.mark.parametrize("name", ["duplicate", "induction"])
def test_without_a_repeated_token_the_value_is_nan(name: str) -> None:
    assert measure(name, softmaxes())[2].isnan().all()
    assert measure(name, softmaxes())[:2].isfinite().all()


def test_one_token_gives_nan() -> None:
    weights = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for name in ("entropy", "distance", "peak", "previous-token", "singular-gap"):
        assert measure(name, weights).isnan().all()
    assert measure("sink", weights).item() == 1.0
