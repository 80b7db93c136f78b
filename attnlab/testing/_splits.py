"""Split check: have training, validation and test of a finite data set one distribution?

A file whose rows cycle can be divided so that all short rows are in training and all long ones in the test. So the rows
of the splits are compared in several looks: their lengths, one answer of each row, and their tokens at each of the
first positions. Each look is a table of splits x categories, rare tokens in one category and lengths in as many groups
of ranks. Its statistic is chi squared, minus its degrees of freedom, in standard deviations.

    observed      the largest statistic of all looks
    by chance     the same after the rows have been divided at random, 999 times
    they differ   if no random division has a largest statistic as large: one false alarm in 1,000

The largest of all looks is compared with the largest of all looks, so that many looks find no more by chance than one,
however they depend on one another; and with a random division of the very rows, so that small counts do no harm.

Source   Westfall and Young, "Resampling-based multiple testing", 1993: the permutation test of the largest statistic.

Letters  N rows of all splits, K categories of all looks, P random divisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.tasks import IGNORE, Batch, Split, Task
from attnlab.tasks.io.sidecar import PADDING
from attnlab.tasks.io.streams import generator

SPLITS = {"training": Split.TRAIN, "validation": Split.VALIDATION, "test": Split.TEST}
ROWS = 1024
"""Most rows of each split that are compared."""
POSITIONS = 32
"""Positions whose tokens are compared, from the first."""
CATEGORIES = 16
"""Categories of a look."""
DIVISIONS = 999
"""Random divisions."""
BATCH = 256

Codes = NDArray[np.int64]


class SplitComparison(NamedTuple):
    """The comparison of the splits of a finite data set."""

    rows: tuple[int, ...]
    """Rows of training, validation and test that were compared."""
    look: str
    """The look in which they differ most."""
    evidence: str
    """That difference in words."""
    p_value: float
    """Share of the random divisions, and of the present one, that differ at least as much."""

    @property
    def differ(self) -> bool:
        """Whether the splits differ more than every random division."""
        return self.p_value <= 1 / (DIVISIONS + 1)


class _Look(NamedTuple):
    """One look at the rows."""

    name: str
    code_N: Codes
    """The category of each row."""
    value_N: Codes
    """The length or the token itself."""


def compare_splits(task: Task, seed: int) -> SplitComparison | None:
    """Compare training, validation and test.

    Args:
        task: The task at one level.
        seed: Seed of the rows, if there are many, and of the random divisions.

    Returns:
        The comparison; None if sequences are drawn without end.
    """
    parts = []
    for split in SPLITS.values():
        batches = task.for_split(split).held_out(generator(seed, split), ROWS, BATCH)
        if batches is None:
            return None
        parts.append(list(batches))
    sizes = [sum(len(batch.inputs_BT) for batch in part) for part in parts]
    random = generator(seed, Split.BOOTSTRAP, 1)
    looks = _looks([batch for part in parts for batch in part], random)
    split_N = np.repeat(np.arange(len(sizes)), sizes)
    orders_PN = np.stack([split_N, *(random.permutation(split_N) for _ in range(DIVISIONS))])
    statistics_P = np.stack([_statistics(look.code_N, orders_PN, sizes) for look in looks])
    largest_P = statistics_P.max(axis=0)
    look = looks[int(statistics_P[:, 0].argmax())]
    p_value = float((largest_P >= largest_P[0] - 1e-9).mean())
    return SplitComparison(tuple(sizes), look.name, _describe(look, split_N), p_value)


def _looks(batches: Sequence[Batch], random: np.random.Generator) -> list[_Look]:
    """Every look at the rows of some batches, in order."""
    width = max(batch.inputs_BT.shape[1] for batch in batches)
    pads = [((0, 0), (0, width - batch.inputs_BT.shape[1])) for batch in batches]
    inputs_NT = np.concatenate(
        [np.pad(b.inputs_BT, p, constant_values=PADDING) for b, p in zip(batches, pads, strict=True)]
    )
    targets_NT = np.concatenate(
        [np.pad(b.targets_BT, p, constant_values=IGNORE) for b, p in zip(batches, pads, strict=True)]
    )
    used_NT = (inputs_NT != PADDING) | (targets_NT != IGNORE)
    length_N = width - used_NT[:, ::-1].argmax(axis=1)
    # One answer of each row, because those of one row may depend on one another.
    chosen_N = np.where(targets_NT != IGNORE, random.random(targets_NT.shape), -1.0).argmax(axis=1)
    answer_N = np.take_along_axis(targets_NT, chosen_N[:, None], axis=1)[:, 0]
    looks = [_Look("the lengths", _ranks(length_N), length_N), _Look("the answers", _common(answer_N), answer_N)]
    for position in range(min(width, POSITIONS)):
        token_N = np.where(position < length_N, inputs_NT[:, position], IGNORE)
        looks.append(_Look(f"the tokens at position {position}", _common(token_N), token_N))
    return [look for look in looks if look.code_N.max() > 0] or looks[:1]


def _ranks(value_N: Codes) -> Codes:
    """Categories of numbers: the values themselves if they are few, groups of ranks otherwise."""
    values, code_N = np.unique(value_N, return_inverse=True)
    if len(values) <= CATEGORIES:
        return code_N
    ends = np.quantile(value_N, np.arange(1, CATEGORIES) / CATEGORIES)
    return np.unique(np.searchsorted(ends, value_N), return_inverse=True)[1]


def _common(token_N: Codes) -> Codes:
    """Categories of tokens: the most frequent ones, and all others together."""
    _, code_N, counts = np.unique(token_N, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.minimum(rank[code_N], CATEGORIES - 1)


def _statistics(code_N: Codes, orders_PN: Codes, sizes: Sequence[int]) -> NDArray[np.float64]:
    """The statistic of one look for each division, P."""
    totals_K = np.bincount(code_N)
    one_hot_NK = np.eye(len(totals_K))[code_N]
    squares_P = np.zeros(len(orders_PN))
    for split, size in enumerate(sizes):
        expected_K = size * totals_K / len(code_N)
        counts_PK = (orders_PN == split).astype(np.float64) @ one_hot_NK
        squares_P += ((counts_PK - expected_K) ** 2 / expected_K).sum(axis=1)
    degrees = max(1, (len(sizes) - 1) * (len(totals_K) - 1))
    statistics: NDArray[np.float64] = (squares_P - degrees) / np.sqrt(2 * degrees)
    return statistics


def _describe(look: _Look, split_N: Codes) -> str:
    """The difference in words: mean lengths, or the share of the token that differs most."""
    parts = [look.value_N[split_N == index] for index in range(len(SPLITS))]
    if look.name == "the lengths":
        return ", ".join(f"{name} {part.mean():.3g}" for name, part in zip(SPLITS, parts, strict=True)) + " on average"
    tokens = np.unique(look.value_N)
    shares = np.array([[(part == token).mean() for token in tokens] for part in parts])
    index = int(np.ptp(shares, axis=0).argmax())
    word = "no token" if tokens[index] == IGNORE else f"token {tokens[index]}"
    return f"{word} in " + ", ".join(
        f"{name} {share:.1%}" for name, share in zip(SPLITS, shares[:, index], strict=True)
    )
