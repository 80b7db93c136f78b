"""Easy attention: a loop over learned numbers; independence of content; scaled rows; the longest sequence."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention.easy import Easy
from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of


def built(tokens: int = 7) -> tuple[Easy, Position, QKV]:
    attention, position = pair_of(Part(name="easy"), Part(name="none"))
    assert isinstance(attention, Easy)
    return attention, position, attention.prepare(noise(2, tokens, 8), position, LayerInputs())


def test_it_is_a_loop_over_learned_numbers() -> None:
    attention, position, qkv = built()
    expected = torch.zeros(2, 2, 7, 4, dtype=torch.float64)
    for head in range(2):
        values = noise(2, 7, 8) @ attention.value.weight[4 * head : 4 * head + 4].T
        for i in range(7):
            for j in range(i + 1):
                expected[:, head, i] += attention.alpha_HLL[head, i, j] * values[:, j]
    torch.testing.assert_close(attention.attend(qkv, position), expected, rtol=1e-12, atol=1e-12)


def test_the_matrix_does_not_depend_on_content() -> None:
    attention, position, qkv = built()
    other = attention.prepare(noise(2, 7, 8, seed=5), position, LayerInputs())
    assert torch.equal(attention.effective_matrix(qkv, position), attention.effective_matrix(other, position))
    assert torch.equal(attention.effective_matrix(qkv, position)[0], attention.alpha_HLL[:, :7, :7].tril())


def test_the_initial_weights_scale_with_the_row() -> None:
    attention = attention_of("easy", length=200)
    assert isinstance(attention, Easy)
    sizes = attention.alpha_HLL.std(dim=(0, 2)) * torch.arange(1, 201)
    assert sizes.mean().item() == pytest.approx(1.0, rel=0.05)
    assert sizes[-20:].mean().item() == pytest.approx(1.0, rel=0.1)


def test_it_learns_one_number_for_each_pair_of_positions() -> None:
    attention = attention_of("easy", width=64, heads=4, length=64)
    count = sum(weight.numel() for weight in attention.parameters())
    output = attention.out_proj.weight.numel()
    assert count - output == 20_480  # as published, where no output projection follows
    assert count == Easy.num_parameters(64, 4, 64)


def test_a_sequence_beyond_the_longest_is_refused() -> None:
    attention, position, qkv = built(17)
    with pytest.raises(InvalidValueError, match="Easy attention has weights for 16 tokens; the sequence has 17"):
        attention.attend(qkv, position)
