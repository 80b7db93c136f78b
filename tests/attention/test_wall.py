"""Wall attention: a loop over tokens and channels; open gates give softmax; closed ones overflow nowhere."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.attention.ops.channel_decay import decayed_scores
from attnlab.attention.ops.scan import closed_form
from attnlab.attention.wall import Wall
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of


def built(start: float, position: str = "none") -> tuple[Wall, Position, QKV]:
    attention, built_position = pair_of(Part(name="wall", options={"start": start}), Part(name=position))
    assert isinstance(attention, Wall)
    return attention, built_position, attention.prepare(noise(1, 7, 8), built_position, LayerInputs())


@torch.no_grad()
@pytest.mark.parametrize("start", [8.0, 0.0, -2.0])
def test_a_channel_is_weighted_by_the_product_of_its_gates_after_the_key(start: float) -> None:
    attention, position, qkv = built(start)
    x_TD, matrix = noise(1, 7, 8)[0], torch.zeros(2, 7, 7, dtype=torch.float64)
    for head in range(2):
        rows = slice(4 * head, 4 * head + 4)
        queries, keys = x_TD @ attention.query.weight[rows].T, x_TD @ attention.key.weight[rows].T
        gates = (x_TD @ attention.forget.weight[rows].T + start).sigmoid()
        for i in range(7):
            for j in range(i + 1):
                kept = [math.prod(float(gates[t, c]) for t in range(j + 1, i + 1)) for c in range(4)]
                matrix[head, i, j] = math.exp(sum(float(queries[i, c] * keys[j, c]) * kept[c] for c in range(4)) / 2)
    expected = matrix / matrix.sum(-1, keepdim=True)
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_open_gates_are_softmax(position: str) -> None:
    attention, built_position, qkv = built(60.0, position)
    softmax = attention_of("softmax", biased=position == "alibi").double()
    expected = softmax.effective_matrix(qkv._replace(extra=()), built_position)
    assert (attention.effective_matrix(qkv, built_position) - expected).abs().max() <= 1e-12


def test_closed_gates_leave_the_score_of_the_token_itself() -> None:
    attention, _, qkv = built(-60.0)
    scores = attention.score(qkv)
    diagonal = (qkv.queries_BHTC * qkv.keys_BHSC).sum(-1) / 2
    torch.testing.assert_close(scores, torch.diag_embed(diagonal), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("tokens", "start", "rows"), [(1, 0, 1), (5, 0, 5), (64, 0, 64), (150, 0, 150), (150, 3, 70), (150, 149, 1)]
)
def test_merged_blocks_give_the_sum_over_channels(tokens: int, start: int, rows: int) -> None:
    queries, keys = noise(2, rows, 3), noise(2, tokens, 3, seed=1)
    decays = -noise(2, tokens, 3, seed=2).square()
    expected = closed_form(queries, keys, decays, start)
    torch.testing.assert_close(decayed_scores(queries, keys, decays, start), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_decays_of_any_size_are_exact_in_single_precision(size: float) -> None:
    queries, keys = noise(100, 3), noise(100, 3, seed=1)
    decays = -noise(100, 3, seed=2).square()
    decays[10:40] *= size
    single = [tensor.float().requires_grad_() for tensor in (queries, keys, decays)]
    scores = decayed_scores(single[0], single[1], single[2])
    wide = [tensor.detach().double() for tensor in single]
    exact = closed_form(wide[0], wide[1], wide[2])
    assert (scores - exact).abs().max() <= 1e-5
    assert all(one.isfinite().all() for one in torch.autograd.grad(scores.square().sum(), single))


def test_it_has_a_gate_for_every_channel() -> None:
    attention = attention_of("wall", width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 5 * 16 * 16 + 16
