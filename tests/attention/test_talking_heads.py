"""Talking heads against loops over heads before and after the softmax; initialization; the mask."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention.talking_heads import TalkingHeads
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of


def built(position: str = "none", size: float = 0.5) -> tuple[TalkingHeads, Position, QKV]:
    attention, encoding = pair_of(Part(name="talking-heads"), Part(name=position), width=12, heads=3)
    assert isinstance(attention, TalkingHeads)
    for seed, mix in enumerate((attention.before, attention.after)):
        mix.change_GH.data.copy_(size * noise(3, 3, seed=seed))
    return attention, encoding, attention.prepare(noise(1, 6, 12), encoding, LayerInputs())


def softmaxed(scores: Tensor) -> Tensor:
    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)


@torch.no_grad()
@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_weights_are_those_of_a_loop_over_heads(position: str) -> None:
    attention, encoding, qkv = built(position)
    scores = (qkv.queries_BHTC @ qkv.keys_BHSC.mT / 2)[0]
    bias = encoding.bias(scores, qkv, 0)
    scores = scores if bias is None else scores + bias
    before, after = (torch.eye(3) + mix.change_GH for mix in (attention.before, attention.after))
    softmaxes = [softmaxed(sum(before[g, h] * scores[h] for h in range(3))) for g in range(3)]  # type: ignore[arg-type]
    expected = torch.stack([sum(after[g, h] * softmaxes[h] for h in range(3)) for g in range(3)])  # type: ignore[misc]
    torch.testing.assert_close(attention.effective_matrix(qkv, encoding)[0], expected, rtol=1e-10, atol=1e-12)


def test_it_starts_as_softmax() -> None:
    attention, position, qkv = built("alibi", 0.0)
    softmax = attention_of("softmax", biased=True, width=12, heads=3).double()
    softmax.fast = False
    assert torch.equal(attention.effective_matrix(qkv, position), softmax.effective_matrix(qkv, position))


def test_infinities_are_not_mixed() -> None:
    attention, position, qkv = built()
    attention.before.change_GH.data.copy_(-torch.eye(3))  # heads with zero weight
    matrix = attention.effective_matrix(qkv, position)
    assert matrix.isfinite().all()
    assert not matrix.triu(1).any()


def test_it_has_two_maps_over_the_heads() -> None:
    attention = attention_of("talking-heads", width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 16 * 16 + 2 * 4 * 4
