"""Softmax attention: against torch's own, and a loop over queries and keys in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of, position_of


def looped(queries_TC: Tensor, keys_SC: Tensor, bias_TS: Tensor | None = None) -> list[list[float]]:
    """The weights of one head, number by number."""
    queries, keys = queries_TC.tolist(), keys_SC.tolist()
    rows = []
    for i, query in enumerate(queries):
        scores = [sum(q * k for q, k in zip(query, key, strict=True)) / math.sqrt(len(query)) for key in keys[: i + 1]]
        if bias_TS is not None:
            scores = [score + float(bias_TS[i, j]) for j, score in enumerate(scores)]
        parts = [math.exp(score) for score in scores]
        rows.append([part / sum(parts) for part in parts] + [0.0] * (len(keys) - i - 1))
    return rows


@pytest.mark.parametrize("fast", [True, False])
def test_it_is_torchs_own_attention(fast: bool) -> None:
    attention, position = pair_of(Part(name="softmax"), Part(name="none"))
    attention.fast = fast
    qkv = QKV(noise(2, 2, 7, 4), noise(2, 2, 7, 4, seed=1), noise(2, 2, 7, 4, seed=2))
    expected = functional.scaled_dot_product_attention(*qkv[:3], is_causal=True)
    torch.testing.assert_close(attention.attend(qkv, position), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fast", [True, False])
def test_it_is_the_loop_over_queries_and_keys(fast: bool) -> None:
    attention, position = pair_of(Part(name="softmax"), Part(name="none"))
    attention.fast = fast
    qkv = attention.prepare(noise(2, 5, 8), position, LayerInputs())
    matrix = attention.effective_matrix(qkv, position)
    for batch in range(2):
        for head in range(2):
            rows = looped(qkv.queries_BHTC[batch, head], qkv.keys_BHSC[batch, head])
            torch.testing.assert_close(matrix[batch, head], torch.tensor(rows, dtype=torch.float64))


def test_a_bias_is_added_to_the_scores() -> None:
    attention, position = pair_of(Part(name="softmax"), Part(name="alibi"))
    qkv = attention.prepare(noise(1, 5, 8), position, LayerInputs())
    matrix = attention.effective_matrix(qkv, position)
    for head, slope in enumerate((2.0**-4, 2.0**-8)):
        bias_TS = torch.tensor([[-slope * (i - j) for j in range(5)] for i in range(5)])
        rows = looped(qkv.queries_BHTC[0, head], qkv.keys_BHSC[0, head], bias_TS)
        torch.testing.assert_close(matrix[0, head], torch.tensor(rows, dtype=torch.float64))


def test_the_layer_is_the_kernel_between_four_projections() -> None:
    attention, position = pair_of(Part(name="softmax"), Part(name="none"))
    x_BTD = noise(2, 6, 8)
    queries, keys, values = (
        (x_BTD @ layer.weight.mT).reshape(2, 6, 2, 4).permute(0, 2, 1, 3)
        for layer in (attention.query, attention.key, attention.value)
    )
    mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    expected = mixed.permute(0, 2, 1, 3).reshape(2, 6, 8) @ attention.out_proj.weight.mT
    out = attention(x_BTD, position, LayerInputs())
    torch.testing.assert_close(out.output_BTD, expected, rtol=1e-12, atol=1e-12)
    assert out.auxiliary.item() == 0
    assert out.scores_BHTS == ()
    assert out.weights_BHTS == ()


def test_it_has_four_square_matrices() -> None:
    attention = attention_of("softmax", width=12, heads=3)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 12 * 12


def test_the_output_projection_starts_smaller_with_depth() -> None:
    shallow = attention_of("softmax", width=64, heads=2)
    assert shallow.out_proj.weight.std().item() == pytest.approx(1 / math.sqrt(2 * 64), rel=0.05)
    assert shallow.query.weight.std().item() == pytest.approx(1 / math.sqrt(64), rel=0.05)


def test_its_scores_are_computed_in_single_precision_at_least() -> None:
    attention, position = attention_of("softmax").bfloat16(), position_of("none")
    qkv = attention.prepare(noise(1, 4, 8, dtype=torch.bfloat16), position, LayerInputs())
    assert attention.scores(qkv, position).dtype == torch.float32
    assert attention.weights(qkv, position).dtype == torch.float32
    attention.fast = False
    assert attention.attend(qkv, position).dtype == torch.bfloat16
