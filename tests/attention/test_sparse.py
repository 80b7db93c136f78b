"""Sparse patterns as attention: sets over layers, over heads, or joined."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attnlab.attention.ops.sparsity import SETS, pattern
from attnlab.attention.sparse import Sparse
from attnlab.errors import InvalidValueError
from attnlab.specs import Part
from attnlab.tensors import LayerContext
from tests.attention.loop_reference import looped, prepared
from tests.builders import attention_of, seeded


def pattern_mask(name: Any, tokens: int, window: int, **options: int) -> torch.Tensor:
    return pattern(name, torch.arange(tokens)[:, None], torch.arange(tokens), window=window, **options)


@pytest.mark.parametrize("name", list(SETS))
@pytest.mark.parametrize("random", [None, 2])
def test_weights_are_those_of_a_loop_over_the_sets(name: str, random: int | None) -> None:
    attention, position, qkv = prepared(
        Part(name="sparse", options={"pattern": name, "window": 3, "random": random}), 13
    )
    drawn = random or (3 if name == "random" else 0)
    union = torch.stack([pattern_mask(name, 13, 3, part=part, random=drawn) for part in range(SETS[name])]).any(0)
    expected = looped(qkv, lambda q, k, i: union[i].nonzero().flatten().tolist())
    torch.testing.assert_close(attention.effective_matrix(qkv, position), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["strided", "fixed"])
def test_layers_alternate_and_heads_divide_the_sets(name: str) -> None:
    options = {"pattern": name, "window": 3}
    shared, position, qkv = prepared(Part(name="sparse", options={**options, "mode": "heads"}), 13)
    matrix = shared.effective_matrix(qkv, position)
    for part in (0, 1):
        expected = pattern_mask(name, 13, 3, part=part)
        assert torch.equal(matrix[0, part] > 0, expected)
        for layer in (part, part + 2):
            context = LayerContext(width=8, heads=2, layer=layer, layers=4, generator=seeded())
            alone = Sparse(context, pattern=name, window=3, mode="alternate").double()  # type: ignore[arg-type]
            assert torch.equal(alone.effective_matrix(qkv, position)[0, 0] > 0, expected)


def test_each_half_of_the_heads_has_its_own_sample() -> None:
    attention, position, qkv = prepared(
        Part(name="sparse", options={"pattern": "random", "window": 3, "mode": "heads"}), 13
    )
    matrix = attention.effective_matrix(qkv, position) > 0
    assert torch.equal(matrix[0, 0], pattern_mask("random", 13, 3, random=3))
    assert torch.equal(matrix[1, 1], pattern_mask("random", 13, 3, random=3, draw=1))
    assert not torch.equal(matrix[0, 0], matrix[0, 1])


def test_of_three_heads_two_use_the_first_set() -> None:
    attention = attention_of("sparse", {"mode": "heads", "window": 2}, width=12, heads=3)
    qkv = prepared(Part(name="window"), 6)[2]
    first, second, third = attention.mask(qkv)  # type: ignore[misc]
    assert torch.equal(first, second)
    assert not torch.equal(second, third)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "star", "mode": "heads"}, "The pattern star has one set"),
        ({"window": 65}, "'window' cannot be 65"),
        ({"random": 65}, "'random' cannot be 65"),
        ({"pattern": "random", "random": 0}, "A random pattern needs 'random' of at least 1"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        attention_of("sparse", options, length=64)


def test_mode_heads_needs_two_heads() -> None:
    with pytest.raises(InvalidValueError, match="Mode heads needs at least 2 heads, not 1"):
        attention_of("sparse", {"mode": "heads"}, heads=1)
