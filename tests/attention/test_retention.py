"""Retention: one decay per head, no normalizer, a norm per head; parameter counts."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.attention import ATTENTIONS
from attnlab.specs import Modifiers, Part
from attnlab.tensors import LayerContext, LayerInputs
from tests.builders import attention_of, noise, pair_of, seeded

TOKENS = 9


@pytest.mark.parametrize("position", ["none", "rotary"])
@pytest.mark.parametrize("octave", [5.0, 1.0])
@pytest.mark.parametrize("fast", [True, False])
def test_weights_are_those_of_a_loop(position: str, octave: float, fast: bool) -> None:
    attention, encoding = pair_of(Part(name="retention", options={"octave": octave}), Part(name=position))
    attention.fast = fast
    qkv = attention.prepare(noise(1, TOKENS, 8), encoding, LayerInputs())
    matrix = attention.effective_matrix(qkv, encoding)[0].detach()
    for head in range(2):
        gamma = 1 - 2 ** (-octave - head)
        for i in range(TOKENS):
            for j in range(TOKENS):
                product = float((qkv.queries_BHTC[0, head, i] @ qkv.keys_BHSC[0, head, j]).detach()) / math.sqrt(4)
                expected = gamma ** (i - j) * product if j <= i else 0.0
                assert float(matrix[head, i, j]) == pytest.approx(expected, rel=1e-11, abs=1e-13)


def test_the_scan_is_the_token_by_token_recurrence_over_many_chunks() -> None:
    attention, position = pair_of(Part(name="retention"), Part(name="none"))
    qkv = attention.prepare(noise(2, 200, 8), position, LayerInputs())
    gamma_H11 = torch.tensor([1 - 2**-5, 1 - 2**-6], dtype=torch.float64)[:, None, None]
    state, outputs = torch.zeros(2, 2, 4, 8, dtype=torch.float64), []
    for token in range(200):
        update = qkv.keys_BHSC[..., token, :, None] * qkv.values_BHSC[..., token, None, :]
        state = gamma_H11 * state + update
        outputs.append((qkv.queries_BHTC[..., token, None, :] @ state).squeeze(-2) / 2)
    torch.testing.assert_close(attention.attend(qkv, position), torch.stack(outputs, -2), rtol=1e-10, atol=1e-10)


def test_there_is_a_norm_per_head_before_the_output_projection() -> None:
    attention, position = pair_of(Part(name="retention"), Part(name="none"))
    x_BTD = noise(1, TOKENS, 8)
    mixed = attention.attend(attention.prepare(x_BTD, position, LayerInputs()), position)
    normed = mixed / mixed.square().mean(-1, keepdim=True).sqrt()
    expected = normed.transpose(1, 2).flatten(-2) @ attention.out_proj.weight.T
    torch.testing.assert_close(attention(x_BTD, position, LayerInputs()).output_BTD, expected, rtol=1e-9, atol=1e-9)


def test_heads_ungatedly_decay_within_64_tokens_as_published() -> None:
    remaining = [(1 - 2.0 ** (-5 - head)) ** 64 for head in range(4)]
    assert remaining == pytest.approx([0.131, 0.365, 0.605, 0.778], abs=1e-3)


def test_with_the_gate_it_has_the_published_number_of_parameters() -> None:
    def count(**options: int) -> int:
        context = LayerContext(width=16, heads=4, generator=seeded(), modifiers=Modifiers(gate="element"))
        entry = ATTENTIONS.entry("retnet")
        return sum(weight.numel() for weight in entry.cls(context, **entry.complete(options)).parameters())

    assert count() == 8 * 16**2
    assert count(expand=1) == 5 * 16**2
    ungated = attention_of("retention", width=16, heads=4)
    assert sum(weight.numel() for weight in ungated.parameters()) == 6 * 16**2
