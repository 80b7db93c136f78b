"""Buckets of length: few widths, every row once, quotas that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from attnlab.tasks.io.buckets import MAX_BATCH_TOKENS, SMALLEST_BUCKET, Buckets, Rows, bucket_widths, shares

LENGTHS = some.lists(some.integers(1, 3000), min_size=1, max_size=200).map(np.array)


@given(LENGTHS)
def test_rows_are_padded_to_the_longest_of_their_bucket(lengths_N: Rows) -> None:
    widths_N = bucket_widths(lengths_N)
    assert (widths_N >= lengths_N).all()
    assert ((widths_N < 2 * lengths_N) | (widths_N <= SMALLEST_BUCKET)).all()
    assert set(widths_N.tolist()) <= set(lengths_N.tolist())
    assert len(set(widths_N.tolist())) <= 9
    for width in set(widths_N.tolist()):
        assert lengths_N[widths_N == width].max() == width


@given(some.lists(some.integers(1, 50), min_size=1, max_size=8), some.integers(0, 500))
def test_shares_add_up_and_are_proportional(sizes: list[int], count: int) -> None:
    parts = shares(sizes, count)
    assert sum(parts) == min(count, sum(sizes))
    assert all(0 <= part <= size for part, size in zip(parts, sizes, strict=True))
    if count < sum(sizes):
        exact = [count * size / sum(sizes) for size in sizes]
        assert all(abs(part - one) < 1 for part, one in zip(parts, exact, strict=True))


@pytest.mark.parametrize("count", [1, 7, 40, 41, 1000])
def test_each_row_is_taken_once_in_batches_of_one_width(count: int) -> None:
    lengths = np.array([5] * 30 + [100] * 10 + [9000])
    rows = np.arange(41)[::-1]
    batches = list(Buckets(rows, bucket_widths(lengths)).each_once(np.random.default_rng(0), count, 8))
    taken = [row for batch in batches for row in batch.rows.tolist()]
    assert len(taken) == len(set(taken)) == min(count, 41)
    for batch in batches:
        assert set(lengths[batch.rows].tolist()) == {batch.width}
        assert 1 <= len(batch.rows) <= 8
        assert len(batch.rows) * batch.width <= MAX_BATCH_TOKENS


def test_a_bucket_with_fewer_rows_than_a_batch_gives_each_once() -> None:
    buckets = Buckets(np.arange(33), bucket_widths(np.array([5] * 30 + [100] * 3)))
    random = np.random.default_rng(0)
    drawn = [buckets.draw(random, 8) for _ in range(2000)]
    assert {(batch.width, len(batch.rows)) for batch in drawn} == {(5, 8), (100, 3)}
    assert all(sorted(batch.rows.tolist()) == [30, 31, 32] for batch in drawn if batch.width == 100)
    share = sum(batch.width == 100 for batch in drawn) / len(drawn)
    assert share == pytest.approx(3 / 33, abs=0.025)
    assert len(Buckets(np.arange(3), np.array([5, 5, 5])).draw(random, 8).rows) == 8
