"""cosFormer: the cosine weighting entry by entry, its constant reach, and rows without any key."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.attention import Attention
from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

TOKENS = 11


def built(position: str = "none", tokens: int = TOKENS, **options: int) -> tuple[Attention, Position, QKV]:
    attention, built_position = pair_of(Part(name="cosformer", options=options), Part(name=position))
    return attention, built_position, attention.prepare(noise(1, tokens, 8), built_position, LayerInputs())


def looped(qkv: QKV, reach: int) -> Tensor:
    expected = torch.zeros(2, TOKENS, TOKENS, dtype=torch.float64)
    for head in range(2):
        queries, keys = qkv.queries_BHTC[0, head].tolist(), qkv.keys_BHSC[0, head].tolist()
        for i in range(TOKENS):
            row = []
            for j in range(i + 1):
                product = sum(max(q, 0) * max(k, 0) for q, k in zip(queries[i], keys[j], strict=True))
                row.append(product * math.cos(math.pi / 2 * (i - j) / reach))
            expected[head, i, : i + 1] = torch.tensor(row, dtype=torch.float64) / max(sum(row), 1e-6)
    return expected


@pytest.mark.parametrize("position", ["none", "rotary"])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("reach", [16, 40])
def test_weights_are_those_of_a_loop(position: str, fast: bool, reach: int) -> None:
    attention, built_position, qkv = built(position, reach=reach)
    attention.fast = fast
    expected = looped(qkv, reach)
    torch.testing.assert_close(attention.effective_matrix(qkv, built_position)[0], expected, rtol=1e-11, atol=1e-12)


def test_the_default_reach_is_the_longest_sequence_for_every_length() -> None:
    attention, position, qkv = built()
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], looped(qkv, 16), rtol=1e-11, atol=1e-12)
    _, _, shorter = built(tokens=6)
    whole = attention.effective_matrix(qkv, position)
    torch.testing.assert_close(
        attention.effective_matrix(shorter, position), whole[..., :6, :6], rtol=1e-12, atol=1e-12
    )
    moving = looped(qkv, TOKENS)[..., :6, :6] - whole[0, :, :6, :6]
    assert moving.abs().max() > 1e-3, "with the current length for reach the same rows would differ"


def test_a_key_at_the_reach_has_weight_zero() -> None:
    attention, position, qkv = built(tokens=17)
    ones = qkv._replace(queries_BHTC=torch.ones_like(qkv.queries_BHTC), keys_BHSC=torch.ones_like(qkv.keys_BHSC))
    last = attention.weights(ones, position)[0, 0, -1]
    assert abs(float(last[0])) < 1e-15
    assert (last.diff() > 0).all()


def test_rows_without_overlap_are_zero_with_a_finite_gradient() -> None:
    attention, position, _ = built()
    x_BTD = noise(1, TOKENS, 8)
    queries, keys = torch.zeros(1, 2, TOKENS, 4).double(), torch.zeros(1, 2, TOKENS, 4).double()
    queries[..., 0], keys[..., 1] = 1.0, 1.0
    keys[..., -1, 0] = 1.0
    qkv = QKV(queries.requires_grad_(), keys.requires_grad_(), x_BTD.unflatten(-1, (2, 4)).transpose(1, 2))
    mixed = attention.attend(qkv, position)
    mixed.square().sum().backward()
    assert not mixed[..., :-1, :].any()
    assert attention.effective_matrix(qkv, position).sum(-1)[0, 0].tolist() == pytest.approx(
        [0.0] * (TOKENS - 1) + [1.0]
    )
    assert queries.grad is not None
    assert not queries.grad[..., :-1, :].any()


def test_a_reach_below_the_longest_sequence_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        attention_of("cosformer", {"reach": 10})
    assert str(caught.value) == (
        "  A reach of 10 is shorter than the longest sequence, 16 tokens.\n"
        "  Use at least 16: beyond 'reach' the cosine turns negative."
    )
