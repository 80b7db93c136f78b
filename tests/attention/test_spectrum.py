"""AttnScale, centered and shaped attention: weighted sums of softmax, uniform attention and the identity."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.attention.row_reference import assert_follows, learned, looped, normalized, perturbed, softmax
from tests.builders import attention_of, noise, pair_of


def weighted_row(scores: list[float], own: float, softmax_gain: float, uniform_gain: float) -> list[float]:
    """``own`` times the identity plus ``softmax_gain`` times softmax minus ``uniform_gain`` times uniform attention."""
    row = [softmax_gain * share - uniform_gain / len(scores) for share in softmax(scores)]
    row[-1] += own
    return row


def test_attnscale_starts_as_softmax() -> None:
    assert_follows("attnscale", lambda scores, _: softmax(scores))


def test_attnscale_scales_the_deviation_from_uniform_attention() -> None:
    attention, no_position, qkv = perturbed("attnscale")
    more = attention.get_parameter("more_H").tolist()
    expected = looped(qkv, lambda scores, head: weighted_row(scores, 0, 1 + more[head], more[head]))
    result = attention.effective_matrix(qkv, no_position)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(result.sum(-1), torch.ones(2, 2, 9, dtype=torch.float64))


@pytest.mark.parametrize("gain", [1.0, 0.25])
def test_centered_subtracts_uniform_attention(gain: float) -> None:
    assert_follows("centered", lambda scores, _: weighted_row(scores, 0, 1, gain), {"gain": gain})
    assert_follows("centered", lambda scores, _: weighted_row(scores, 0, 1, gain), {"gain": gain, "learned": True})


def test_each_head_has_its_own_gain() -> None:
    attention, no_position, qkv = perturbed("centered", {"gain": 0.5, "learned": True})
    gains = attention.get_parameter("gain_H").tolist()
    expected = looped(qkv, lambda scores, head: weighted_row(scores, 0, 1, gains[head]))
    torch.testing.assert_close(attention.effective_matrix(qkv, no_position), expected)


def test_the_first_centered_row_is_zero_and_so_is_a_uniform_matrix() -> None:
    assert not normalized("centered", noise(6, 6))[0].any()
    assert normalized("centered", torch.zeros(6, 6, dtype=torch.float64)).abs().max() < 1e-15


def test_uniform_attention_has_the_eigenvalues_one_half_third() -> None:
    flat = torch.zeros(6, 6, dtype=torch.float64)
    shares = normalized("softmax", flat)
    torch.testing.assert_close(shares.diagonal(), 1 / torch.arange(1, 7, dtype=torch.float64))
    vector = noise(6, 1)
    smoothed: Tensor = torch.linalg.matrix_power(shares, 40) @ vector
    torch.testing.assert_close(smoothed, vector[:1].expand(6, 1), rtol=0, atol=1e-9)


def test_shaped_starts_as_the_identity() -> None:
    attention, no_position = pair_of(Part(name="shaped"), Part(name="none"))
    qkv = attention.prepare(noise(2, 9, 8), no_position, LayerInputs())
    assert not qkv.queries_BHTC.any()
    identity = torch.eye(9, dtype=torch.float64).expand(2, 2, 9, 9)
    torch.testing.assert_close(attention.effective_matrix(qkv, no_position), identity, rtol=0, atol=1e-15)


def test_shaped_is_a_weighted_sum_of_three_matrices() -> None:
    assert_follows("shaped", lambda scores, _: weighted_row(scores, 1, 1, 1), {"silent": False})
    attention, no_position, qkv = perturbed("shaped", {"silent": False})
    gains = [attention.get_parameter(name) for name in ("own_H", "softmax_H", "shares_H")]
    own, softmax_gain, uniform_gain = (gain.tolist() for gain in gains)
    expected = looped(qkv, lambda scores, head: weighted_row(scores, own[head], softmax_gain[head], uniform_gain[head]))
    result = attention.effective_matrix(qkv, no_position)
    torch.testing.assert_close(result, expected)
    total_H = (gains[0] + gains[1] - gains[2])[:, None]
    torch.testing.assert_close(result.sum(-1), total_H.expand(2, 2, 9))


def test_the_queries_of_shaped_have_gradients_at_zero() -> None:
    attention, no_position, qkv = perturbed("shaped")
    (attention.attend(qkv, no_position) * noise(2, 2, 9, 4, seed=1)).sum().backward()
    gradient = attention.query.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "options", "extra"),
    [
        ("attnscale", {}, 2),
        ("centered", {}, 0),
        ("centered", {"learned": True}, 2),
        ("shaped", {}, 6),
        ("shaped", {"silent": False}, 6),
    ],
)
def test_gains_are_learned_per_head(name: str, options: dict[str, Any], extra: int) -> None:
    assert learned(attention_of(name, options)) == 4 * 8 * 8 + extra
