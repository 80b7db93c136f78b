"""Ranks of variants, corrected for the number of comparisons in a report.

One variant is ahead of another on a ladder if the lower draws of its C50 exceed the upper draws of the other's; the
share of pairs of draws in which they do not is the p value. Holm's procedure over all ordered pairs of all ladders of
the report keeps the probability that any two equal variants are ranked apart in it below 5 %. Variants that are not
ahead of one another share ranks.

The draws of the two variants are combined as if they were independent. Where the runs of a seed resemble one another,
this is on the safe side.

Source   Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
Letters  R draws.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from attnlab.analysis._draws import DRAWS, Floats
from attnlab.analysis.cell import Label
from attnlab.analysis.grid import Grid
from attnlab.analysis.statistics import MIN_SEEDS

FAMILY_ERROR = 0.05
"""The probability of any false ranking in a report."""


def ranks(panels: Sequence[Grid]) -> list[dict[Label, str]]:
    """Rank the variants of each ladder by C50.

    Args:
        panels: All ladders of a report: the comparisons are corrected for their number in all of them.

    Returns:
        For each ladder, the rank of each variant: a range of ranks where it is not ahead of, nor behind, some others;
        a dash where a level has too few seeds or there is nothing to compare.
    """
    known = [_ranked(panel) for panel in panels]
    count = sum(len(rows) * (len(rows) - 1) for rows in known)
    ahead: set[tuple[int, Label, Label]] = set()
    # No p value is below one pair of draws: with too many comparisons Holm's procedure rejects none of them.
    if count and FAMILY_ERROR / count >= 1 / DRAWS**2:
        pairs = [(index, *pair) for index, rows in enumerate(known) for pair in itertools.permutations(rows, 2)]
        values = [value for panel, rows in zip(panels, known, strict=True) for value in _p_values(panel, rows)]
        ahead = {pair for pair, decided in zip(pairs, holm(values), strict=True) if decided}
    better = Counter((index, theirs) for index, _, theirs in ahead)
    worse = Counter((index, ours) for index, ours, _ in ahead)
    result = []
    for index, (panel, rows) in enumerate(zip(panels, known, strict=True)):
        texts = dict.fromkeys(panel.rows, "-")
        for row in rows if len(rows) > 1 else ():
            first, last = 1 + better[index, row], len(rows) - worse[index, row]
            texts[row] = str(first) if first == last else f"{first}-{last}"
        result.append(texts)
    return result


def decided_ranks(rows: Sequence[Label], ahead: Iterable[tuple[Label, Label]]) -> dict[Label, str]:
    """Rank variants by what is decided about pairs of them.

    >>> decided_ranks([("a",), ("b",), ("c",)], [(("b",), ("a",))])
    {('a',): '2-3', ('b',): '1-2', ('c',): '1-3'}

    Args:
        rows: The variants.
        ahead: Pairs of which the first is ahead of the second.

    Returns:
        The rank of each variant, or the range of ranks that it may have.
    """
    known = set(ahead)
    for middle, first, last in itertools.product(rows, repeat=3):  # whoever is ahead of the middle, and behind it
        if {(first, middle), (middle, last)} <= known:
            known.add((first, last))
    better, worse = Counter(theirs for _, theirs in known), Counter(ours for ours, _ in known)
    ends = {row: (1 + better[row], len(rows) - worse[row]) for row in rows}
    return {row: str(first) if first == last else f"{first}-{last}" for row, (first, last) in ends.items()}


def p_value(lower: Floats, upper: Floats) -> float:
    """Compute the share of pairs of draws in which the first does not exceed the second.

    Args:
        lower: The lower draws of one variant, R, in rising order.
        upper: The upper draws of the other, R, in rising order.

    Returns:
        The share; no smaller than one pair in all of them.
    """
    at_most = np.searchsorted(lower, upper, side="right")
    return max(1.0, float(at_most.sum())) / (len(lower) * len(upper))


def holm(values: Sequence[float], error: float = FAMILY_ERROR) -> list[bool]:
    """Decide which of several null hypotheses are rejected.

    Args:
        values: The p value of each.
        error: The probability that any true one is rejected.

    Returns:
        Whether each is rejected.

    Source: Holm 1979.
    """
    result = [False] * len(values)
    for done, index in enumerate(np.argsort(values, kind="stable").tolist()):
        if values[index] > error / (len(values) - done):
            break
        result[index] = True
    return result


def _ranked(panel: Grid) -> list[Label]:
    """The variants that have a C50 with draws: enough seeds on every level that they were run on."""
    if not panel.has_curves:
        return []
    counts = {row: [len(cell.values) for cell in panel.across(row) if cell.values] for row in panel.rows}
    return [row for row, own in counts.items() if own and min(own) >= MIN_SEEDS]


def _p_values(panel: Grid, rows: Sequence[Label]) -> Iterator[float]:
    """The p value of each variant ahead of each other one, in the order of the permutations of the rows."""
    drawn = [panel.curve(row).draws(0.5) for row in rows]
    lowers, uppers = ([np.sort(one[side]) for one in drawn] for side in (0, 1))
    for ours, lower in enumerate(lowers):
        for theirs, upper in enumerate(uppers):
            if ours != theirs:
                yield p_value(lower, upper)
