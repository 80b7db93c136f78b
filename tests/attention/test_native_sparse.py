"""Native sparse attention: the three branches against a loop, the rows before the first block, the forced blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention.native_sparse import NativeSparse
from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.attention.loop_reference import prepared, row_of
from tests.builders import attention_of

Sizes = tuple[int, int, int]


def coarse(queries: Tensor, keys: Tensor, i: int, block: int) -> Tensor:
    """The weights of row i for the blocks that are complete at i."""
    blocks = (i + 1) // block
    means = torch.stack([keys[b * block : (b + 1) * block].mean(0) for b in range(blocks)]) if blocks else keys[:0]
    return row_of(queries, means, i, range(blocks))


def branches(queries: Tensor, keys: Tensor, i: int, sizes: Sizes) -> list[Tensor]:
    """The rows of the three branches over the tokens."""
    block, keep, window = sizes
    over_blocks = coarse(queries, keys, i, block)
    compressed = torch.zeros(len(keys), dtype=torch.float64)
    for b, weight in enumerate(over_blocks):
        compressed[b * block : (b + 1) * block] = weight / block
    own = i // block
    forced = [own, *([own - 1] if own else []), *([0] if own > 1 else [])]
    others = sorted(set(range(own)) - set(forced), key=lambda b: -float(over_blocks[b]))
    kept = set((forced + others)[:keep])
    selected = row_of(queries, keys, i, [j for j in range(i + 1) if j // block in kept])
    return [compressed, selected, row_of(queries, keys, i, [j for j in range(i + 1) if i - j < window])]


@torch.no_grad()
def expected_of(qkv: QKV, sizes: Sizes) -> Tensor:
    queries, keys, gates = qkv.queries_BHTC, qkv.keys_BHSC, qkv.extra[0]
    matrix = torch.zeros(*queries.shape[:-1], keys.shape[-2], dtype=torch.float64)
    for b in range(queries.shape[0]):
        for h in range(queries.shape[1]):
            for i in range(queries.shape[2]):
                parts = branches(queries[b, h], keys[b, h], i, sizes)
                matrix[b, h, i] = sum(float(gates[b, h, i, n]) * part for n, part in enumerate(parts))
    return matrix


def options(sizes: Sizes) -> dict[str, int]:
    return dict(zip(("block", "keep", "window"), sizes, strict=True))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 1, 2), (3, 2, 4), (2, 4, 3), (4, 3, 1), (2, 6, 3), (30, 1, 5)])
def test_weights_are_those_of_a_loop(sizes: Sizes) -> None:
    attention, position, qkv = prepared(Part(name="native-sparse", options=options(sizes)), 19)
    torch.testing.assert_close(
        attention.effective_matrix(qkv, position), expected_of(qkv, sizes), rtol=1e-12, atol=1e-12
    )


def test_before_the_first_complete_block_the_compressed_branch_is_zero() -> None:
    attention, position, qkv = prepared(Part(name="native-sparse", options=options((4, 2, 3))), 10)
    closed = qkv._replace(extra=(torch.eye(3, dtype=torch.float64)[0].expand_as(qkv.extra[0]),))
    matrix = attention.effective_matrix(closed, position)
    assert not matrix[..., :3, :].any()
    torch.testing.assert_close(matrix[..., 3:, :].sum(-1), torch.ones(2, 2, 7, dtype=torch.float64))


def test_rows_sum_to_the_three_gates() -> None:
    attention, position, qkv = prepared(Part(name="native-sparse", options=options((2, 2, 3))), 10)
    sums = attention.effective_matrix(qkv, position).sum(-1)
    torch.testing.assert_close(sums[..., 1:], qkv.extra[0].sum(-1)[..., 1:])
    torch.testing.assert_close(sums[..., 0], qkv.extra[0][..., 0, 1:].sum(-1))


def test_the_compressed_branch_uses_the_mean_of_alibi() -> None:
    attention, _, qkv = prepared(Part(name="native-sparse", options=options((2, 2, 3))), 6)
    assert isinstance(attention, NativeSparse)
    bias = torch.arange(36.0, dtype=torch.float64).reshape(6, 6)
    scores = attention.score(qkv) + bias
    rows = torch.arange(6)[:, None]
    means = bias.reshape(6, 3, 2).mean(-1)
    blocks = qkv.keys_BHSC.unflatten(-2, (3, 2)).mean(-2)
    unmasked = qkv.queries_BHTC @ blocks.mT / 2 + means
    allowed = torch.tensor([1, 3, 5]) <= rows
    expected = unmasked.masked_fill(~allowed, -torch.inf).softmax(-1).nan_to_num()
    torch.testing.assert_close(attention.compressed(scores, rows), expected)


def test_it_has_three_more_gates_per_head() -> None:
    attention = attention_of("nsa", width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 16 * 16 + 3 * 16 * 4
