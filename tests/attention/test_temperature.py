"""SSMax, norm-softmax and powers: the divisor of each row, and powers that do not overflow."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from attnlab.errors import InvalidValueError
from tests.attention.row_reference import assert_follows, learned, looped, normalized, perturbed, softmax
from tests.builders import LENGTH, attention_of, noise


def scaled(scores: list[float], factor: float, bias: float = 0.0) -> list[float]:
    """SSMax: the count of the row's keys, to the power of factor times score, over their sum."""
    parts = [len(scores) ** (factor * s) * math.exp(bias * s) for s in scores]
    return [part / sum(parts) for part in parts]


def normalized_row(scores: list[float], ceiling: float = 1.0) -> list[float]:
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
    return softmax([s / max(min(deviation, ceiling), 1e-3) for s in scores])


def powered(scores: list[float], power: int, floor: float) -> list[float]:
    total = floor + sum(s**power for s in scores)
    return [s**power / total for s in scores]


def test_ssmax_is_its_formula() -> None:
    assert_follows("ssmax", lambda scores, _: scaled(scores, 1 / math.log(LENGTH / 2)), tolerance=1e-7)
    assert_follows("ssmax", lambda scores, _: scaled(scores, 0.5), {"start": 0.5})


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("position", ["none", "alibi"])
def test_each_head_has_its_own_factor_and_bias(bias: bool, position: str) -> None:
    attention, encoding, qkv = perturbed("ssmax", {"bias": bias}, position)
    factors, biases = (attention.get_parameter(name).tolist() for name in ("factor_H", "bias_H"))
    added = encoding.bias(torch.zeros(2, 2, 9, 9, dtype=torch.float64), qkv, 0)
    penalties = torch.zeros(2, 9, 9) if added is None else added
    assert any(biases) == bias

    def rule(scores: list[float], head: int) -> list[float]:
        row = penalties[head, len(scores) - 1].tolist()
        penalized = [s + penalty for s, penalty in zip(scores, row, strict=False)]
        return scaled(penalized, factors[head], biases[head])

    torch.testing.assert_close(attention.effective_matrix(qkv, encoding), looped(qkv, rule))


def test_ssmax_starts_as_softmax_at_half_the_longest_length() -> None:
    scores = noise(LENGTH, LENGTH)
    result, expected = (normalized(name, scores)[LENGTH // 2 - 1] for name in ("ssmax", "softmax"))
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-7)


def test_a_prefix_has_the_weights_of_the_whole() -> None:
    scores = noise(7, 7)
    torch.testing.assert_close(normalized("ssmax", scores)[:3, :3], normalized("ssmax", scores[:3, :3]))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_shortest_runs_start_finite(length: int) -> None:
    factor = attention_of("ssmax", length=length).get_parameter("factor_H")
    assert bool(((factor > 0) & (factor < 2)).all())


def test_norm_softmax_divides_by_the_deviation_of_the_row() -> None:
    assert_follows("norm-softmax", lambda scores, _: normalized_row(scores))
    assert_follows("norm-softmax", lambda scores, _: normalized_row(scores, 0.25), {"ceiling": 0.25})
    assert_follows("norm-softmax", lambda scores, _: normalized_row(scores, 1e9), {"ceiling": 1e9})


def test_norm_softmax_is_softmax_where_scores_are_wide_and_sharper_where_they_are_not() -> None:
    scores = noise(30, 30)
    torch.testing.assert_close(normalized("norm-softmax", 9 * scores)[5:], normalized("softmax", 9 * scores)[5:])
    result, expected = (normalized(name, 0.1 * scores)[5:].amax(-1) for name in ("norm-softmax", "softmax"))
    assert bool((result > 1.5 * expected).all())


def test_keys_after_the_query_do_not_change_the_deviation() -> None:
    scores = 0.3 * noise(6, 6)
    moved = scores + 50 * torch.ones(6, 6, dtype=torch.float64).triu(1)
    torch.testing.assert_close(normalized("norm-softmax", scores), normalized("norm-softmax", moved))


@pytest.mark.parametrize("options", [{}, {"power": 2}, {"power": 6, "floor": 0.01}])
def test_power_is_its_formula(options: dict[str, Any]) -> None:
    power, floor = options.get("power", 4), options.get("floor", 1.0)
    assert_follows("power", lambda scores, _: powered(scores, power, floor), options)


def test_a_position_multiplies_the_power() -> None:
    attention, alibi, qkv = perturbed("power", position="alibi")
    bias = alibi.bias(torch.zeros(2, 2, 9, 9, dtype=torch.float64), qkv, 0)
    assert bias is not None

    def rule(scores: list[float], head: int) -> list[float]:
        row = bias[head, len(scores) - 1].tolist()
        parts = [s**4 * math.exp(penalty) for s, penalty in zip(scores, row, strict=False)]
        return [part / (1 + sum(parts)) for part in parts]

    torch.testing.assert_close(attention.effective_matrix(qkv, alibi), looped(qkv, rule))


def test_opposite_keys_have_equal_weights() -> None:
    attention, no_position, qkv = perturbed("power")
    negated = qkv._replace(keys_BHSC=-qkv.keys_BHSC)
    assert torch.equal(attention.effective_matrix(qkv, no_position), attention.effective_matrix(negated, no_position))


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e3, 1e15])
def test_no_power_overflows(size: float) -> None:
    attention, no_position, qkv = perturbed("power", {"power": 8})  # 1e15 to the eighth is far beyond float32
    queries = (size * qkv.queries_BHTC.detach().float()).requires_grad_()
    lifted = qkv._replace(queries_BHTC=queries, keys_BHSC=qkv.keys_BHSC.detach().float())
    weights = attention.weights(lifted, no_position)
    weights.square().sum().backward()
    assert queries.grad is not None
    assert bool(weights.isfinite().all() and queries.grad.isfinite().all())
    expected = torch.ones_like(weights[..., 0]) if size > 1 else torch.zeros_like(weights[..., 0])
    torch.testing.assert_close(weights.sum(-1), expected, rtol=1e-3, atol=1e-3)


def test_an_odd_power_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="Option 'power' cannot be 3"):
        attention_of("power", {"power": 3})


@pytest.mark.parametrize(
    ("name", "options", "extra"),
    [("ssmax", {}, 2), ("ssmax", {"bias": True}, 4), ("norm-softmax", {}, 0), ("power", {}, 0)],
)
def test_only_ssmax_has_more_parameters_than_softmax(name: str, options: dict[str, Any], extra: int) -> None:
    assert learned(attention_of(name, options)) == 4 * 8 * 8 + extra
