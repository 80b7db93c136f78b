"""L2 attention: a loop over distances; every token hears itself best; values tied to the queries."""

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
    attention, place = pair_of(Part(name="lipschitz", options={"values": values}), Part(name=position))
    assert isinstance(attention, Lipschitz)
    return attention, place, attention.prepare(noise(1, 6, 8), place, LayerInputs())


@torch.no_grad()
def looped(attention: Lipschitz, x_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Weights H x T x S, and what the heads write, H x T x C."""
    weights, written = torch.zeros(2, 6, 6, dtype=torch.float64), torch.zeros(2, 6, 4, dtype=torch.float64)
    for head in range(2):
        positions, spoken = (
            attention.query.weight[4 * head : 4 * head + 4],
            attention.value.weight[4 * head : 4 * head + 4],
        )
        tokens = [positions @ x for x in x_TD]
        for i in range(6):
            row = [torch.exp(-(tokens[i] - tokens[j]).square().sum() / 2) for j in range(i + 1)]
            weights[head, i, : i + 1] = torch.stack(row) / sum(row)
            for j in range(i + 1):
                read = positions.T @ tokens[j] / 2 if attention.tied else x_TD[j]
                written[head, i] += weights[head, i, j] * (spoken @ read)
    return weights, written


@both
def test_it_is_a_loop_over_distances(values: Literal["tied", "plain"]) -> None:
    attention, position, qkv = built(values)
    weights, written = looped(attention, noise(1, 6, 8)[0])
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], weights, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(attention.attend(qkv, position)[0], written, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("position", ["none", "rotary"])
def test_every_token_hears_itself_best_unless_it_is_turned(position: str) -> None:
    attention, place, qkv = built("tied", position)
    scores = attention.scores(qkv, place)
    assert scores.diagonal(dim1=-2, dim2=-1).abs().max() <= 1e-12
    assert scores.max() <= 1e-12
    assert scores.amin() < -1


@both
def test_it_has_no_weights_for_keys(values: Literal["tied", "plain"]) -> None:
    attention = attention_of("lipschitz", {"values": values}, width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 3 * 16 * 16
    assert not hasattr(attention, "key")


@both
def test_values_start_as_large_as_the_stream(values: Literal["tied", "plain"]) -> None:
    attention, position = pair_of(
        Part(name="lipschitz", options={"values": values}), Part(name="none"), width=256, heads=8
    )
    qkv = attention.prepare(noise(4, 50, 256), position, LayerInputs())
    again = 32 / 256 if attention.tied else 0.0  # W_Q twice in a row favors what it has let through
    assert qkv.values_BHSC.var().item() == pytest.approx(1 + again, rel=0.05)
