"""Parallax: the regression key by key; without a second query it is softmax; rows sum to one and may be negative."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from attnlab.attention.parallax import Parallax
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of


def built(position: str = "none", gain: float = 1.0) -> tuple[Parallax, Position, QKV]:
    attention, built_position = pair_of(Part(name="parallax"), Part(name=position))
    assert isinstance(attention, Parallax)
    attention.slope.weight.data *= gain
    return attention, built_position, attention.prepare(noise(1, 7, 8), built_position, LayerInputs())


@torch.no_grad()
@pytest.mark.parametrize("gain", [1.0, 8.0])
def test_outputs_are_those_of_a_loop(gain: float) -> None:
    attention, position, qkv = built(gain=gain)
    x_TD = noise(1, 7, 8)[0]
    mixed = torch.zeros(2, 7, 4, dtype=torch.float64)
    for head in range(2):
        rows = slice(4 * head, 4 * head + 4)
        maps = (attention.query, attention.key, attention.value, attention.slope)
        queries, keys, values, slopes = (x_TD @ linear.weight[rows].T for linear in maps)
        for i in range(7):
            parts = [math.exp(float(queries[i] @ keys[j]) / 2) for j in range(i + 1)]
            p = [part / sum(parts) for part in parts]
            r = [float(slopes[i] @ keys[j]) for j in range(i + 1)]
            mean = sum(a * b for a, b in zip(p, r, strict=True))
            for j in range(i + 1):
                mixed[head, i] += (1 + mean) * p[j] * values[j] - p[j] * r[j] * values[j]
    torch.testing.assert_close(attention.attend(qkv, position)[0], mixed, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_without_a_second_query_it_is_softmax(position: str) -> None:
    attention, built_position, qkv = built(position, gain=0.0)
    softmax = attention_of("softmax", biased=position == "alibi").double()
    expected = softmax.effective_matrix(qkv._replace(extra=()), built_position)
    assert (attention.effective_matrix(qkv, built_position) - expected).abs().max() <= 1e-12


@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_rows_sum_to_one_and_may_be_negative(position: str) -> None:
    attention, built_position, qkv = built(position, gain=20.0)
    matrix = attention.effective_matrix(qkv, built_position)
    torch.testing.assert_close(matrix.sum(-1), torch.ones_like(matrix[..., 0]))
    assert matrix.min() < -0.1


def test_equal_keys_need_no_correction() -> None:
    attention, position, qkv = built(gain=20.0)
    same = qkv._replace(keys_BHSC=qkv.keys_BHSC[..., :1, :].expand_as(qkv.keys_BHSC))
    uniform = torch.ones(7, 7, dtype=torch.float64).tril() / torch.arange(1, 8)[:, None]
    assert (attention.effective_matrix(same, position) - uniform).abs().max() <= 1e-12


def test_rotated_second_queries_see_distances_alone() -> None:
    attention, position, _ = built("rotary", gain=20.0)
    repeated = attention.prepare(noise(1, 1, 8).expand(1, 7, 8), position, LayerInputs())
    products = repeated.extra[0] @ repeated.keys_BHSC.mT
    assert (products[..., 1:, 1:] - products[..., :-1, :-1]).abs().max() <= 1e-12
    assert products.std() > 0.1


def test_the_second_query_starts_smaller_than_the_first() -> None:
    attention = attention_of("parallax", width=256, heads=4)
    assert isinstance(attention.slope, nn.Linear)
    ratio = attention.query.weight.std() / attention.slope.weight.std()
    assert ratio.item() == pytest.approx(math.sqrt(64), rel=0.05)
    assert sum(weight.numel() for weight in attention.parameters()) == 5 * 256 * 256
