"""L2 attention: against a loop over distances; the largest score is a token's own; values tied to the queries."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from attnlab.attention.lipschitz import Lipschitz
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

both = pytest.mark.parametrize("values", ["tied", "plain"])


def built(values: Literal["tied", "plain"], position: str = "none") -> tuple[Lipschitz, Position, QKV]:
    attention, encoding = pair_of(Part(name="lipschitz", options={"values": values}), Part(name=position))
    assert isinstance(attention, Lipschitz)
    return attention, encoding, attention.prepare(noise(1, 6, 8), encoding, LayerInputs())


@torch.no_grad()
def looped(attention: Lipschitz, x_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Weights, H x T x S, and outputs of the heads, H x T x C."""
    weights, outputs = torch.zeros(2, 6, 6, dtype=torch.float64), torch.zeros(2, 6, 4, dtype=torch.float64)
    for head in range(2):
        query_CD, value_CD = (
            attention.query.weight[4 * head : 4 * head + 4],
            attention.value.weight[4 * head : 4 * head + 4],
        )
        tokens = [query_CD @ x for x in x_TD]
        for i in range(6):
            row = [torch.exp(-(tokens[i] - tokens[j]).square().sum() / 2) for j in range(i + 1)]
            weights[head, i, : i + 1] = torch.stack(row) / sum(row)
            for j in range(i + 1):
                value_input = query_CD.T @ tokens[j] / 2 if attention.tied else x_TD[j]
                outputs[head, i] += weights[head, i, j] * (value_CD @ value_input)
    return weights, outputs


@both
def test_it_is_a_loop_over_distances(values: Literal["tied", "plain"]) -> None:
    attention, position, qkv = built(values)
    weights, outputs = looped(attention, noise(1, 6, 8)[0])
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], weights, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(attention.attend(qkv, position)[0], outputs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("position", ["none", "rotary"])
def test_the_largest_score_is_that_of_the_own_token(position: str) -> None:
    attention, encoding, qkv = built("tied", position)
    scores = attention.scores(qkv, encoding)
    assert scores.diagonal(dim1=-2, dim2=-1).abs().max() <= 1e-12
    assert scores.max() <= 1e-12
    assert scores.amin() < -1


@both
def test_it_has_no_key_projection(values: Literal["tied", "plain"]) -> None:
    attention = attention_of("lipschitz", {"values": values}, width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 3 * 16 * 16
    assert not hasattr(attention, "key")


@both
def test_values_start_at_the_scale_of_the_input(values: Literal["tied", "plain"]) -> None:
    attention, position = pair_of(
        Part(name="lipschitz", options={"values": values}), Part(name="none"), width=256, heads=8
    )
    qkv = attention.prepare(noise(4, 50, 256), position, LayerInputs())
    excess = 32 / 256 if attention.tied else 0.0  # W_Q applied twice amplifies its own range
    assert qkv.values_BHSC.var().item() == pytest.approx(1 + excess, rel=0.05)
