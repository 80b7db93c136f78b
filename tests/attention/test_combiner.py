"""Combiner: partitions token by token; full support, row sums of one, blocks of rank one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.attention.loop_reference import prepared
from tests.builders import attention_of

TOKENS = 23


def partition(kind: str, i: int, block: int) -> tuple[list[int], list[list[int]]]:
    """The direct set and the spans of row i."""
    if kind == "fixed":
        own = i // block
        return list(range(own * block, i + 1)), [list(range(b * block, (b + 1) * block)) for b in range(own)]
    if kind == "logsparse":
        spans, begin = [], 0
        for level in reversed(range(12)):
            if i & 2**level:
                spans.append(list(range(begin, begin + 2**level)))
                begin += 2**level
        return [i], spans
    row, column = divmod(i, block)
    direct = [j for j in range(i + 1) if j // block == row or j % block == column]
    columns = [[r * block + c for r in range(row)] for c in range(block) if c != column]
    return direct, columns if row else []


def row_of(queries: Tensor, keys: Tensor, i: int, direct: list[int], spans: list[list[int]]) -> Tensor:
    scale = math.sqrt(queries.shape[-1])
    near = [math.exp(float(queries[i] @ keys[j]) / scale) for j in direct]
    far = [math.exp(float(queries[i] @ keys[span].amax(0)) / scale) for span in spans]
    total = sum(near) + sum(far)
    row = torch.zeros(len(keys), dtype=torch.float64)
    for j, weight in zip(direct, near, strict=True):
        row[j] = weight / total
    for span, weight in zip(spans, far, strict=True):
        pooled = queries[span].amax(0)
        within = [math.exp(float(pooled @ keys[j]) / scale) for j in span]
        for j, share in zip(span, within, strict=True):
            row[j] = weight / total * share / sum(within)
    return row


@torch.no_grad()
def looped(qkv: QKV, kind: str, block: int) -> Tensor:
    queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
    tokens = keys.shape[-2]
    rows = [
        row_of(queries[b, h], keys[b, h], i, *partition(kind, i, block))
        for b in range(2)
        for h in range(2)
        for i in range(tokens)
    ]
    return torch.stack(rows).reshape(2, 2, tokens, tokens)


def part(kind: str, block: int) -> Part:
    sizes = {} if kind == "logsparse" else {"block": block}
    return Part(name="combiner", options={"partition": kind, **sizes})


CASES = [(kind, block) for kind in ("fixed", "axial") for block in (1, 2, 4, 5, 23, 40)] + [("logsparse", 0)]
cases = pytest.mark.parametrize(("kind", "block"), CASES)


@cases
def test_weights_are_those_of_a_loop_over_the_partition(kind: str, block: int) -> None:
    attention, position, qkv = prepared(part(kind, block), TOKENS)
    torch.testing.assert_close(
        attention.effective_matrix(qkv, position), looped(qkv, kind, block), rtol=1e-11, atol=1e-12
    )


@cases
def test_every_earlier_token_has_weight_and_rows_sum_to_one(kind: str, block: int) -> None:
    attention, position, qkv = prepared(part(kind, block), TOKENS)
    matrix = attention.effective_matrix(qkv, position)
    assert matrix[..., *torch.tril_indices(TOKENS, TOKENS)].min() > 0
    assert not matrix.triu(1).any()
    torch.testing.assert_close(matrix.sum(-1), torch.ones_like(matrix[..., 0]))


@cases
def test_direct_set_and_spans_are_a_partition_of_the_past(kind: str, block: int) -> None:
    for i in range(64):
        direct, spans = partition(kind, i, block)
        assert sorted(direct + [j for span in spans for j in span]) == list(range(i + 1))
        if kind == "logsparse":
            assert len(spans) == i.bit_count()


def test_queries_of_a_block_weight_an_earlier_block_alike() -> None:
    attention, position, qkv = prepared(part("fixed", 4), TOKENS)
    matrix = attention.effective_matrix(qkv, position)
    for later in range(1, 5):
        for earlier in range(later):
            cell = matrix[..., 4 * later : 4 * later + 4, 4 * earlier : 4 * earlier + 4]
            singular = torch.linalg.svdvals(cell)
            assert (singular[..., 1] / singular[..., 0]).max() < 1e-12


def test_queries_of_a_row_of_the_grid_weight_a_column_above_alike() -> None:
    attention, position, qkv = prepared(part("axial", 5), 20)
    matrix = attention.effective_matrix(qkv, position)
    for column in range(5):
        rows = [15 + other for other in range(5) if other != column]
        cell = matrix[..., rows, :][..., [column, column + 5, column + 10]]
        singular = torch.linalg.svdvals(cell)
        assert (singular[..., 1] / singular[..., 0]).max() < 1e-12


def test_queries_of_spans_are_pooled_over_all_rows_for_a_chunk_of_rows() -> None:
    for kind, block in CASES:
        attention, position, qkv = prepared(part(kind, block), TOKENS)
        chunk = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., 9:14, :], start=9)
        torch.testing.assert_close(
            attention.effective_matrix(chunk, position), attention.effective_matrix(qkv, position)[..., 9:14, :]
        )


def test_the_default_block_is_the_square_root_of_the_length() -> None:
    assert [attention_of("combiner", length=length).block for length in (1, 3, 16, 256)] == [1, 2, 4, 16]


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="'block' has no meaning for logsparse"):
        attention_of("combiner", {"partition": "logsparse", "block": 4})
    with pytest.raises(InvalidValueError, match="'block' cannot be 17"):
        attention_of("combiner", {"block": 17}, length=16)
