"""AttnScale, centered and shaped attention: softmax, equal shares and the identity, in their proportions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.attention.row_reference import assert_follows, learned, looped, normalized, perturbed, softmax
from tests.builders import attention_of, noise, pair_of


def weighed(scores: list[float], own: float, reached: float, less: float) -> list[float]:
    """``own`` of oneself, ``heard`` of softmax, ``less`` taken from each alike."""
    row = [reached * share - less / len(scores) for share in softmax(scores)]
    row[-1] += own
    return row


def test_attnscale_is_softmax_at_first() -> None:
    assert_follows("attnscale", lambda scores, _: softmax(scores))


def test_attnscale_scales_what_differs_from_equal_shares() -> None:
    attention, nowhere, qkv = perturbed("attnscale")
    more = attention.get_parameter("more_H").tolist()
    expected = looped(qkv, lambda scores, head: weighed(scores, 0, 1 + more[head], more[head]))
    result = attention.effective_matrix(qkv, nowhere)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(result.sum(-1), torch.ones(2, 2, 9, dtype=torch.float64))


@pytest.mark.parametrize("gain", [1.0, 0.25])
def test_centered_takes_the_equal_shares_away(gain: float) -> None:
    assert_follows("centered", lambda scores, _: weighed(scores, 0, 1, gain), {"gain": gain})
    assert_follows("centered", lambda scores, _: weighed(scores, 0, 1, gain), {"gain": gain, "learned": True})


def test_each_head_learns_how_much_to_take_away() -> None:
    attention, nowhere, qkv = perturbed("centered", {"gain": 0.5, "learned": True})
    gains = attention.get_parameter("gain_H").tolist()
    expected = looped(qkv, lambda scores, head: weighed(scores, 0, 1, gains[head]))
    torch.testing.assert_close(attention.effective_matrix(qkv, nowhere), expected)


def test_the_first_centered_row_is_zero_and_a_flat_matrix_leaves_nothing() -> None:
    assert not normalized("centered", noise(6, 6))[0].any()
    assert normalized("centered", torch.zeros(6, 6, dtype=torch.float64)).abs().max() < 1e-15


def test_equal_shares_have_the_eigenvalues_one_half_third_and_centering_removes_them() -> None:
    flat = torch.zeros(6, 6, dtype=torch.float64)
    shares = normalized("softmax", flat)
    torch.testing.assert_close(shares.diagonal(), 1 / torch.arange(1, 7, dtype=torch.float64))
    vector = noise(6, 1)
    smoothed: Tensor = torch.linalg.matrix_power(shares, 40) @ vector
    torch.testing.assert_close(smoothed, vector[:1].expand(6, 1), rtol=0, atol=1e-9)


def test_shaped_is_exactly_the_identity_at_first() -> None:
    attention, nowhere = pair_of(Part(name="shaped"), Part(name="none"))
    qkv = attention.prepare(noise(2, 9, 8), nowhere, LayerInputs())
    assert not qkv.queries_BHTC.any()
    identity = torch.eye(9, dtype=torch.float64).expand(2, 2, 9, 9)
    torch.testing.assert_close(attention.effective_matrix(qkv, nowhere), identity, rtol=0, atol=1e-15)


def test_shaped_weighs_three_matrices() -> None:
    assert_follows("shaped", lambda scores, _: weighed(scores, 1, 1, 1), {"silent": False})
    attention, nowhere, qkv = perturbed("shaped", {"silent": False})
    gains = [attention.get_parameter(name) for name in ("own_H", "softmax_H", "shares_H")]
    own, reached, less = (gain.tolist() for gain in gains)
    expected = looped(qkv, lambda scores, head: weighed(scores, own[head], reached[head], less[head]))
    result = attention.effective_matrix(qkv, nowhere)
    torch.testing.assert_close(result, expected)
    total_H = (gains[0] + gains[1] - gains[2])[:, None]
    torch.testing.assert_close(result.sum(-1), total_H.expand(2, 2, 9))


def test_the_queries_of_shaped_learn_although_they_start_at_zero() -> None:
    attention, nowhere, qkv = perturbed("shaped")
    (attention.attend(qkv, nowhere) * noise(2, 2, 9, 4, seed=1)).sum().backward()
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
