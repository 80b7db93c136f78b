"""MoBA: against a loop over rows and blocks; the own block is always selected."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.specs import Part
from tests.attention.loop_reference import looped, prepared
from tests.builders import attention_of


def selected_keys(queries: Tensor, keys: Tensor, i: int, block: int, keep: int) -> list[int]:
    own = i // block
    affinity = {b: float(queries[i] @ keys[b * block : (b + 1) * block].mean(0)) for b in range(own)}
    blocks = {own, *sorted(affinity, key=lambda b: -affinity[b])[: keep - 1]}
    return [j for j in range(i + 1) if j // block in blocks]


@pytest.mark.parametrize(("block", "keep"), [(1, 1), (1, 3), (3, 1), (3, 2), (4, 3), (5, 2), (50, 1)])
def test_weights_are_those_of_a_loop(block: int, keep: int) -> None:
    attention, position, qkv = prepared(Part(name="moba", options={"block": block, "keep": keep}), 17)
    expected = looped(qkv, lambda q, k, i: selected_keys(q, k, i, block, keep))
    torch.testing.assert_close(attention.effective_matrix(qkv, position), expected, rtol=1e-12, atol=1e-12)


def test_with_one_block_each_query_attends_to_its_own() -> None:
    attention, position, qkv = prepared(Part(name="moba", options={"block": 4, "keep": 1}), 12)
    blocks = torch.arange(12) // 4
    expected = ((blocks[:, None] == blocks) & torch.ones(12, 12, dtype=torch.bool).tril()).expand(2, 2, 12, 12)
    assert torch.equal(attention.effective_matrix(qkv, position) > 0, expected)


def test_with_all_blocks_it_is_softmax() -> None:
    attention, position, qkv = prepared(Part(name="moba", options={"block": 4, "keep": 16}), 18)
    expected = looped(qkv, lambda q, k, i: range(i + 1))
    torch.testing.assert_close(attention.effective_matrix(qkv, position), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 17}, "'block' cannot be 17: the longest sequence of the run has 16 tokens"),
        ({"block": 4, "keep": 5}, "'keep' cannot be 5: the longest sequence of the run has 4 blocks of 4"),
    ],
)
def test_sizes_above_the_longest_sequence_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        attention_of("moba", options, length=16)
