"""2-simplicial attention: sums over pairs in plain loops, its matrices, and its special case."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.attention.simplicial import Simplicial, by_channel, by_head
from attnlab.position import Position
from attnlab.specs import Modifiers, Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, model_of, noise, pair_of, tokens


def built(length: int, near: int = 3, position: str = "none") -> tuple[Simplicial, Position, QKV]:
    attention, built_position = pair_of(Part(name="simplicial", options={"near": near}), Part(name=position))
    assert isinstance(attention, Simplicial)
    return attention, built_position, attention.prepare(noise(1, length, 8), built_position, LayerInputs())


@torch.no_grad()
def looped(attention: Simplicial, x_TD: Tensor, near: int) -> Tensor:
    """Pair by pair, from the weights alone: H x T x C."""
    maps = (attention.query, attention.key, attention.value, attention.second_key, attention.second_value)
    parts = [(x_TD @ one.weight.T).unflatten(-1, (2, 4)).transpose(0, 1) for one in maps]
    queries, keys, values, second_keys, second_values = parts
    mixed = torch.zeros(2, len(x_TD), 4, dtype=torch.float64)
    for h in range(2):
        for i in range(len(x_TD)):
            pairs = [(j, k) for j in range(i + 1) for k in range(max(0, i - near + 1), i + 1)]
            exponentials = [
                math.exp(sum(float(queries[h, i, c] * keys[h, j, c] * second_keys[h, k, c]) for c in range(4)) / 2)
                for j, k in pairs
            ]
            for (j, k), one in zip(pairs, exponentials, strict=True):
                mixed[h, i] += one / sum(exponentials) * values[h, j] * second_values[h, k]
    return mixed


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("length", "near"), [(1, 1), (7, 1), (7, 3), (7, 16)])
def test_outputs_are_sums_over_pairs(length: int, near: int, fast: bool) -> None:
    attention, position, qkv = built(length, near)
    attention.fast = fast
    expected = looped(attention, noise(1, length, 8)[0], near)
    mixed = by_head(attention.attend(qkv, position), 2)[0]
    torch.testing.assert_close(mixed, expected, rtol=1e-11, atol=1e-12)


def test_there_is_one_matrix_for_each_channel() -> None:
    attention, position, qkv = built(7)
    matrix = attention.effective_matrix(qkv, position)
    assert matrix.shape == (1, 8, 7, 7)
    torch.testing.assert_close(matrix @ qkv.values_BHSC, attention.attend(qkv, position), rtol=1e-11, atol=1e-12)
    assert torch.equal(by_head(by_channel(noise(2, 2, 5, 4)), 2), noise(2, 2, 5, 4))


def test_second_keys_and_values_of_ones_are_softmax_attention() -> None:
    attention, position, qkv = built(9, near=1, position="rotary")
    softmax, rotary = pair_of(Part(name="softmax"), Part(name="rotary"))
    softmax.load_state_dict({n: w for n, w in attention.state_dict().items() if not n.startswith("second")})
    ones = torch.ones_like(qkv.extra[0])
    expected = softmax.attend(softmax.prepare(noise(1, 9, 8), rotary, LayerInputs()), rotary)
    mixed = by_head(attention.attend(qkv._replace(extra=(ones, ones)), position), 2)
    torch.testing.assert_close(mixed, expected, rtol=1e-11, atol=1e-12)


def test_blocks_of_rows_are_the_whole_with_gradients() -> None:
    attention, position, qkv = built(16, near=5)
    leaves = [part.detach().requires_grad_() for part in (*qkv[:3], *qkv.extra)]
    results = []
    for limit in (2**21, 2 * 5 * 16 * 3):  # three rows at a time
        attention.max_recomputed_elements = limit
        mixed = attention.attend(QKV(leaves[0], leaves[1], leaves[2], tuple(leaves[3:])), position)
        results.append([mixed, *torch.autograd.grad(mixed.square().sum(), leaves)])
    assert attention.block_rows(qkv) == 3
    for whole, blocks in zip(*results, strict=True):
        torch.testing.assert_close(whole, blocks, rtol=1e-11, atol=1e-11)


def test_exclusive_takes_away_the_direction_of_a_heads_own_value() -> None:
    model = model_of(Part(name="simplicial"), modifiers=Modifiers(exclusive=True), layers=1)
    attention = model.blocks[0].attention
    assert isinstance(attention, Simplicial)
    mixed, own = noise(2, 2, 5, 4), noise(2, 2, 5, 4, seed=1)
    kept = by_head(attention.excluded(by_channel(mixed), by_channel(own)), 2)
    assert (kept * own).sum(-1).abs().max() < 1e-12
    assert (kept - mixed).abs().max() > 0.1
    assert model(tokens(2, 5), None).logits_NV.isfinite().all()


def test_no_more_second_keys_than_the_longest_sequence() -> None:
    attention = attention_of("simplicial", {"near": 99}, length=16)
    assert isinstance(attention, Simplicial)
    assert attention.near == 16
    assert attention.state_size(4) == 4 * 16 + 4 * 8
    assert attention.state_size(40) == 40 * 16 + 15 * 8
