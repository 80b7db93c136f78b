"""Latent attention against a loop over the two parts of each key; rotated channels; sizes that do not compress."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention.latent import Latent
from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

SIZES: list[dict[str, Any]] = [{}, {"rank": 3, "turned": 4}, {"rank": 5, "turned": 0}, {"rank": 20, "turned": 6}]
all_options = pytest.mark.parametrize("options", SIZES, ids=lambda options: str(Part(name="mla", options=options)))


def built(options: dict[str, Any], position: str = "none") -> tuple[Latent, Position, QKV]:
    attention, encoding = pair_of(Part(name="latent", options=options), Part(name=position), width=16)
    assert isinstance(attention, Latent)
    attention.gain_R.data.copy_(1 + 0.1 * noise(*attention.gain_R.shape))
    return attention, encoding, attention.prepare(noise(1, 6, 16), encoding, LayerInputs())


def rotate(x: Tensor, position: int) -> Tensor:
    """Pairs (m, m + P / 2), one at a time."""
    half = len(x) // 2
    out = x.clone()
    for m in range(half):
        angle = position * 10_000 ** (-2 * m / len(x))
        out[m] = x[m] * math.cos(angle) - x[m + half] * math.sin(angle)
        out[m + half] = x[m + half] * math.cos(angle) + x[m] * math.sin(angle)
    return out


@torch.no_grad()
@all_options
@pytest.mark.parametrize("position", ["none", "rotary"])
def test_it_is_a_loop_over_two_parts(options: dict[str, Any], position: str) -> None:
    attention, encoding, qkv = built(options, position)
    turned, content = attention.turned, 8 - attention.turned
    expected = torch.zeros(2, 6, 8, dtype=torch.float64)
    for head in range(2):
        content_keys, rotated_keys, values, queries = [], [], [], []
        for t, x in enumerate(noise(1, 6, 16)[0]):
            latent = attention.down.weight @ x
            latent = attention.gain_R * latent / (latent.square().mean() + 1e-6).sqrt()
            shared = attention.place.weight @ x if turned else x[:0]
            query = attention.query.weight[8 * head : 8 * head + 8] @ x
            if position == "rotary":
                shared, query = rotate(shared, t), torch.cat([query[:content], rotate(query[content:], t)])
            content_keys.append(attention.key.weight[content * head : content * (head + 1)] @ latent)
            rotated_keys.append(shared)
            values.append(attention.value.weight[8 * head : 8 * head + 8] @ latent)
            queries.append(query)
        for i in range(6):
            scores = [queries[i][:content] @ content_keys[j] + queries[i][content:] @ rotated_keys[j] for j in range(6)]
            parts = [torch.exp(score / math.sqrt(8)) for score in scores[: i + 1]]
            expected[head, i] = sum(part * value for part, value in zip(parts, values[: i + 1], strict=True)) / sum(
                parts
            )
    torch.testing.assert_close(attention.attend(qkv, encoding)[0], expected, rtol=1e-9, atol=1e-11)


def test_only_the_last_channels_are_rotated_and_heads_share_them() -> None:
    unrotated, _, _ = built({"turned": 4})
    turned, position, qkv = built({"turned": 4}, "rotary")
    plain = unrotated.project(noise(1, 6, 16), LayerInputs())
    assert torch.equal(qkv.queries_BHTC[..., :4], plain.queries_BHTC[..., :4])
    assert torch.equal(qkv.keys_BHSC[..., :4], plain.keys_BHSC[..., :4])
    assert torch.equal(qkv.keys_BHSC[..., 4:], position.rotate(plain.keys_BHSC[..., 4:]))
    assert torch.equal(qkv.keys_BHSC[:, 0, :, 4:], qkv.keys_BHSC[:, 1, :, 4:])
    assert (qkv.keys_BHSC[..., 4:] - plain.keys_BHSC[..., 4:]).abs().max() > 0.1
    assert turned.turned == 4


@all_options
def test_parameter_count_is_the_formula(options: dict[str, Any]) -> None:
    attention, _, _ = built(options)
    rank, turned = options.get("rank", 8), options.get("turned", 4)
    expected = 2 * 256 + 16 * rank + rank + rank * 2 * (8 - turned) + rank * 16 + 16 * turned
    assert sum(weight.numel() for weight in attention.parameters()) == expected
    assert Latent.num_parameters(16, 2, 16, **{"rank": None, "turned": None, **options}) == expected


def test_keys_and_values_have_the_rank_of_the_latent() -> None:
    attention, _, _ = built({"rank": 3, "turned": 0})
    qkv = attention.project(noise(1, 40, 16), LayerInputs())
    joined = torch.cat([attention.join(qkv.keys_BHSC), attention.join(qkv.values_BHSC)], dim=-1)[0]
    assert torch.linalg.matrix_rank(joined) == 3


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (
            {"rank": 32},
            "A rank of 32 does not compress: full keys and values have 32 numbers per token.",
            "Use a rank below 28.",
        ),
        ({"rank": 28, "turned": 4}, "A rank of 28 does not compress", "Use a rank below 28."),
        ({"turned": 8}, "8 rotated channels of 8 leave no channel for the content.", "Use an even number below 8."),
        ({"turned": 3}, "Option 'turned' cannot be 3", "Input should be a multiple of 2. Default: None."),
        ({"rank": 0}, "Option 'rank' cannot be 0", "Input should be greater than or equal to 1. Default: None."),
    ],
)
def test_invalid_sizes_are_refused(options: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        attention_of("latent", options, width=16)
    assert message in caught.value.problem
    assert caught.value.hint == hint
