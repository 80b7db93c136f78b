"""Easy attention: a loop over learned numbers; blind to content; scaled rows; no places beyond the last."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention.easy import Easy
from attnlab.errors import BadValue
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import Context, Heads
from tests.builders import attention_of, noise, pair_of


def built(tokens: int = 7) -> tuple[Easy, Position, Heads]:
    attention, place = pair_of(Part(name="easy"), Part(name="none"))
    assert isinstance(attention, Easy)
    return attention, place, attention.prepare(noise(2, tokens, 8), place, Context())


def test_it_is_a_loop_over_learned_numbers() -> None:
    attention, place, heads = built()
    expected = torch.zeros(2, 2, 7, 4, dtype=torch.float64)
    for head in range(2):
        values = noise(2, 7, 8) @ attention.value.weight[4 * head : 4 * head + 4].T
        for i in range(7):
            for j in range(i + 1):
                expected[:, head, i] += attention.alpha_HLL[head, i, j] * values[:, j]
    torch.testing.assert_close(attention.mix(heads, place), expected, rtol=1e-12, atol=1e-12)


def test_the_matrix_is_blind_to_content() -> None:
    attention, place, heads = built()
    other = attention.prepare(noise(2, 7, 8, seed=5), place, Context())
    assert torch.equal(attention.matrix(heads, place), attention.matrix(other, place))
    assert torch.equal(attention.matrix(heads, place)[0], attention.alpha_HLL[:, :7, :7].tril())


def test_the_start_scales_with_the_row() -> None:
    attention = attention_of("easy", length=200)
    assert isinstance(attention, Easy)
    sizes = attention.alpha_HLL.std(dim=(0, 2)) * torch.arange(1, 201)
    assert sizes.mean().item() == pytest.approx(1.0, rel=0.05)
    assert sizes[-20:].mean().item() == pytest.approx(1.0, rel=0.1)


def test_it_learns_one_number_for_each_pair_of_places() -> None:
    attention = attention_of("easy", width=64, heads=4, length=64)
    count = sum(weight.numel() for weight in attention.parameters())
    output = attention.output.weight.numel()
    assert count - output == 20_480  # as published, where no output projection follows
    assert count == Easy.declared(64, 4, 64)


def test_nothing_lies_beyond_the_longest_sequence() -> None:
    attention, place, heads = built(17)
    with pytest.raises(BadValue, match="Easy attention ends at 16 tokens; the sequence has 17"):
        attention.mix(heads, place)
