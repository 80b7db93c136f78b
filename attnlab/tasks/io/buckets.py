"""Rows of several lengths in buckets: a batch has rows of one bucket, so that a long row does not pad the short ones.

    lengths    12 12 9 11 1500 13      bucket of 16: five rows, padded to 13; bucket of 2,048: one row

Buckets end at powers of two, and rows are padded to the longest row of their bucket in the whole file. A file therefore
has few widths, the same in all batches and splits, and compiled programs and CUDA graphs are made once for each. A
training batch draws its bucket in proportion to the rows in it, and then rows of the bucket, so that every row is drawn
equally often. A bucket with fewer rows than a batch gives each of them once, since copies would cost time and change no
mean. Where all rows are in one bucket, nothing is drawn but rows.

Letters  N rows of the file, M of them in the split, B of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_BATCH_TOKENS = 2**14
"""Most tokens of a batch of held-out sequences; a single sequence may be longer."""
SMALLEST_BUCKET = 16
"""Rows of up to this length are in one bucket."""

Rows = NDArray[np.int64]


def batch_rows(batch: int, length: int) -> int:
    """Compute how many held-out sequences a batch has.

    >>> batch_rows(64, 32), batch_rows(64, 1500), batch_rows(64, 20_000)
    (64, 10, 1)

    Args:
        batch: Most sequences of a batch.
        length: Tokens of a sequence.

    Returns:
        The number of sequences, such that the batch has at most :data:`MAX_BATCH_TOKENS` tokens where possible.
    """
    return max(1, min(batch, MAX_BATCH_TOKENS // length))


def bucket_widths(lengths_N: Rows) -> Rows:
    """Find to which length each row is padded.

    >>> bucket_widths(np.array([12, 12, 9, 11, 1500, 13])).tolist()
    [13, 13, 13, 13, 1500, 13]

    Args:
        lengths_N: Tokens of each row.

    Returns:
        The length of the longest row of the same bucket, N.
    """
    exponents_N = np.ceil(np.log2(np.maximum(lengths_N, SMALLEST_BUCKET))).astype(np.int64)
    longest = np.zeros(int(exponents_N.max(initial=0)) + 1, dtype=np.int64)
    np.maximum.at(longest, exponents_N, lengths_N)
    return longest[exponents_N]


class Bucket(NamedTuple):
    """Rows of one width."""

    width: int
    rows: Rows
    """Indices of the rows in the file."""


class Buckets:
    """The rows of a split.

    Args:
        rows_M: Indices of the rows, each once.
        widths_N: The width of each row of the file.
    """

    def __init__(self, rows_M: Rows, widths_N: Rows) -> None:
        self.rows, own_M = rows_M, widths_N[rows_M]
        self.buckets = [Bucket(int(width), rows_M[own_M == width]) for width in np.unique(own_M)]
        """By rising width."""
        self.ends = np.cumsum([len(bucket.rows) for bucket in self.buckets])

    def draw(self, random: np.random.Generator, batch: int) -> Bucket:
        """Draw rows of one bucket with replacement.

        Args:
            random: The only source of randomness.
            batch: B, the number of rows.

        Returns:
            Their width, and B indices; all rows of the bucket, if there are other buckets and it has fewer than B.
        """
        bucket = self.buckets[0]
        if len(self.buckets) > 1:
            bucket = self.buckets[int(np.searchsorted(self.ends, random.integers(0, len(self.rows)), side="right"))]
            if len(bucket.rows) < batch:
                return bucket
        return bucket._replace(rows=bucket.rows[random.integers(0, len(bucket.rows), batch)])

    def each_once(self, random: np.random.Generator, count: int, batch: int) -> Iterator[Bucket]:
        """Take rows without replacement: all of them, or as many of each bucket as is its share.

        Args:
            random: The only source of randomness.
            count: The most rows in all.
            batch: The most rows of a batch.

        Yields:
            Batches of rows of one width, by rising width.
        """
        taken = shares([len(bucket.rows) for bucket in self.buckets], count)
        for bucket, number in zip(self.buckets, taken, strict=True):
            rows = bucket.rows[random.permutation(len(bucket.rows))[:number]]
            size = batch_rows(batch, bucket.width)
            for start in range(0, number, size):
                yield bucket._replace(rows=rows[start : start + size])


def shares(sizes: Sequence[int], count: int) -> list[int]:
    """Divide a number among groups in proportion to their sizes.

    >>> shares([200, 1], 50), shares([3, 3, 3], 4), shares([3, 1], 9)
    ([50, 0], [2, 1, 1], [3, 1])

    Args:
        sizes: The size of each group.
        count: The number to divide.

    Returns:
        The part of each group, at most its size; remainders go to the largest fractions.
    """
    total = sum(sizes)
    if count >= total:
        return list(sizes)
    parts = [count * size // total for size in sizes]
    by_fraction = sorted(range(len(sizes)), key=lambda index: (-(count * sizes[index] % total), index))
    for index in by_fraction[: count - sum(parts)]:
        parts[index] += 1
    return parts
