"""Forgetting attention: a loop over gates; open gates give softmax; sums in single precision at least."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.attention.forgetting import Forgetting
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of


def built(start: float, tokens: int = 7, position: str = "none") -> tuple[Forgetting, Position, QKV]:
    attention, built_position = pair_of(Part(name="forgetting", options={"start": start}), Part(name=position))
    assert isinstance(attention, Forgetting)
    return attention, built_position, attention.prepare(noise(1, tokens, 8), built_position, LayerInputs())


@torch.no_grad()
@pytest.mark.parametrize("start", [0.0, 4.0, -2.0])
def test_a_key_is_weighted_by_the_product_of_the_gates_after_it(start: float) -> None:
    attention, position, qkv = built(start)
    x_TD, matrix = noise(1, 7, 8)[0], torch.zeros(2, 7, 7, dtype=torch.float64)
    for head in range(2):
        rows = slice(4 * head, 4 * head + 4)
        queries, keys = x_TD @ attention.query.weight[rows].T, x_TD @ attention.key.weight[rows].T
        gates = [1 / (1 + math.exp(-float(x_TD[t] @ attention.forget.weight[head]) - start)) for t in range(7)]
        for i in range(7):
            for j in range(i + 1):
                matrix[head, i, j] = math.prod(gates[j + 1 : i + 1]) * math.exp(float(queries[i] @ keys[j]) / 2)
    expected = matrix / matrix.sum(-1, keepdim=True)
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_open_gates_are_softmax(position: str) -> None:
    attention, built_position, qkv = built(60.0, position=position)
    softmax = attention_of("softmax", biased=position == "alibi").double()
    assert (
        attention.effective_matrix(qkv, built_position)
        - softmax.effective_matrix(qkv._replace(extra=()), built_position)
    ).abs().max() <= 1e-12


def test_closed_gates_leave_the_token_itself() -> None:
    attention, position, qkv = built(-60.0)
    assert (attention.effective_matrix(qkv, position) - torch.eye(7)).abs().max() <= 1e-12


def test_the_sums_are_computed_in_single_precision() -> None:
    attention, position, _ = built(0.0, 200)
    half = attention.bfloat16().prepare(noise(1, 200, 8).bfloat16(), position, LayerInputs())
    assert half.extra[0].dtype == torch.float32
    assert (half.extra[0].diff(dim=-1) < 0).all()


def test_it_has_one_gate_per_head() -> None:
    attention = attention_of("forgetting", width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 16 * 16 + 16 * 4 + 4
