"""Simulated runs, and how often intervals over seeds, claims and ranks are right about them.

Chance is 0.2. ``solves(0.8)`` solves a level (accuracy 1) with probability 0.8 and is at chance otherwise; ``mixed`` is
at 0.98 to 1, or near chance to both sides of it; ``partial`` solves or ends anywhere between. ``together`` is the
probability that a seed has the same luck on both sides of a comparison, or on all levels of a ladder.

Letters  T repetitions, N seeds of a cell, L levels, V variants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from attnlab.analysis._panels import Panel
from attnlab.analysis.capacity import curve
from attnlab.analysis.cell import Cell, Label
from attnlab.analysis.claims import decide
from attnlab.analysis.grid import Grid
from attnlab.analysis.ranks import ranks
from attnlab.analysis.statistics import (
    Floats,
    Interval,
    Sample,
    difference,
    improvement,
    interquartile_mean,
    intervals,
    mean,
    ratio,
)
from attnlab.config.experiment import Claim

CHANCE = 0.2
SOLVING = (0.05, 0.2, 0.5, 0.8, 0.9, 0.95)
LADDER = (2, 4, 8, 16, 32)
"""Levels of the simulated ladders."""
SUMMARIES = ("mean", "C50", "interquartile mean", "P(better)")
"""Summaries of a ladder."""
Quantile = Callable[[Floats], Floats]
"""Uniform numbers -> outcomes: the larger, the better."""


@dataclass(frozen=True)
class Outcomes:
    """A distribution of the outcome of a run, and its true mean."""

    name: str
    quantile: Quantile
    truth: float
    bounded: bool = True

    def sample(self, luck_N: Floats) -> Sample:
        """The runs of a cell, from the luck of each seed."""
        values = self.quantile(luck_N)
        if not self.bounded:
            return Sample(values.tolist(), None)
        return Sample(values.tolist(), (CHANCE if values.min() >= CHANCE else min(0.0, values.min()), 1.0))


def solves(rate: float) -> Outcomes:
    """Solved with a probability, at chance otherwise."""
    return Outcomes(f"solves {rate:g}", lambda u: np.where(u > 1 - rate, 1.0, CHANCE), CHANCE + (1 - CHANCE) * rate)


def mixed(rate: float) -> Outcomes:
    """Solved or nearly, or else within 0.02 of chance."""

    def quantile(u: Floats) -> Floats:
        good = 0.98 + 0.02 * (u - 1 + rate) / rate
        return np.where(u > 1 - rate, good, CHANCE + 0.02 * (2 * u / (1 - rate) - 1))

    return Outcomes(f"mixed {rate:g}", quantile, 0.99 * rate + CHANCE * (1 - rate))


def partial(rate: float) -> Outcomes:
    """Solved, or anywhere between chance and 1."""

    def quantile(u: Floats) -> Floats:
        return np.where(u > 1 - rate, 1.0, CHANCE + (1 - CHANCE) * u / (1 - rate))

    return Outcomes(f"partial {rate:g}", quantile, rate + (1 - rate) * (CHANCE + 1) / 2)


def normal(center: float, spread: float, *, bounded: bool = True) -> Outcomes:
    """Normal around a center."""
    name = f"{'normal' if bounded else 'unbounded normal'} {center:g}"
    return Outcomes(name, lambda u: stats.norm.ppf(u, center, spread), center, bounded)


SKEWED = Outcomes("skewed", lambda u: 1 - 0.8 * stats.beta.ppf(1 - u, 0.5, 4), 1 - 0.8 / 9)
LOGNORMAL = Outcomes("unbounded lognormal", lambda u: np.exp(stats.norm.ppf(u)), float(np.exp(0.5)), bounded=False)
MEANS = (
    *(make(rate) for make in (solves, mixed, partial) for rate in SOLVING),
    normal(0.6, 0.08),
    normal(0.9, 0.02),
    SKEWED,
    normal(0.0, 1.0, bounded=False),
    LOGNORMAL,
)
PAIRS = (
    (solves(0.5), solves(0.5)),
    (solves(0.95), solves(0.95)),
    (solves(0.95), solves(0.8)),
    (solves(0.95), solves(0.5)),
    (solves(0.99), solves(0.05)),
    (mixed(0.8), mixed(0.8)),
    (partial(0.5), partial(0.2)),
    (solves(0.5), normal(0.6, 0.02)),
    (normal(0.9, 0.02), normal(0.5, 0.02)),
)


@dataclass(frozen=True)
class Coverage:
    """How often intervals miss the truth, to either side, and how wide they are."""

    below: float
    above: float
    width: float

    @property
    def covered(self) -> float:
        """The share of intervals that cover the truth."""
        return 1 - self.below - self.above

    def __str__(self) -> str:
        """In percent, with the mean width."""
        return f"{100 * self.covered:5.1f} ({100 * self.below:3.1f} {100 * self.above:3.1f}) {self.width:5.2f}"


def coverage(ends: Sequence[Interval], truth: float) -> Coverage:
    """Count which intervals cover the truth; rounding errors do not count as misses."""
    low_T, high_T = np.array(ends).T
    slack = 1e-9 * max(1.0, abs(truth)) if np.isfinite(truth) else 0.0
    width = np.where(np.isfinite(high_T), high_T, np.nan) - low_T
    finite = width[np.isfinite(width)]
    return Coverage(
        float((high_T < truth - slack).mean()),
        float((low_T > truth + slack).mean()),
        float(finite.mean()) if len(finite) else np.inf,
    )


def of_means(outcomes: Outcomes, seeds: int, repetitions: int, random: np.random.Generator) -> Coverage:
    """The interval of the mean of one cell."""
    return coverage(intervals([outcomes.sample(luck) for luck in random.random((repetitions, seeds))]), outcomes.truth)


def two_sides(
    pair: tuple[Outcomes, Outcomes], together: float, seeds: int, repetitions: int, random: np.random.Generator
) -> list[tuple[Sample, Sample]]:
    """Runs of two variants, with seeds that both share."""
    ours_TN, theirs_TN = random.random((2, repetitions, seeds))
    theirs_TN = np.where(random.random((repetitions, seeds)) < together, ours_TN, theirs_TN)
    return [(pair[0].sample(ours), pair[1].sample(theirs)) for ours, theirs in zip(ours_TN, theirs_TN, strict=True)]


def of_differences(
    pair: tuple[Outcomes, Outcomes], together: float, seeds: int, repetitions: int, random: np.random.Generator
) -> Coverage:
    """The interval of the difference of two cells."""
    runs = two_sides(pair, together, seeds, repetitions, random)
    return coverage([difference([x], [y])[1] for x, y in runs], pair[0].truth - pair[1].truth)


def ladder_luck(
    levels: int, together: float, seeds: int, repetitions: int, random: np.random.Generator
) -> list[Floats]:
    """The luck of each seed on each level."""
    own, common = random.random((repetitions, levels, seeds)), random.random((repetitions, 1, seeds))
    return list(np.where(random.random(own.shape) < together, common, own))


def falling(levels: int = len(LADDER)) -> list[Outcomes]:
    """A ladder of which the probability to solve a level falls from 0.98 to 0.02."""
    return [solves(rate) for rate in np.linspace(0.98, 0.02, levels)]


def shares(sample: Sample) -> Sample:
    """Accuracies as shares of the way from chance to 1."""
    return Sample([(value - CHANCE) / (1 - CHANCE) for value in sample.values])


def of_ladders(kind: str, together: float, seeds: int, repetitions: int, random: np.random.Generator) -> Coverage:
    """The interval of a summary over a ladder: its mean, its C50, its interquartile mean, P(better)."""
    ladder = falling()
    rates = [(outcomes.truth - CHANCE) / (1 - CHANCE) for outcomes in ladder]
    luck = ladder_luck(len(ladder), together, seeds, repetitions, random)
    runs = [[outcomes.sample(own) for outcomes, own in zip(ladder, luck_LN, strict=True)] for luck_LN in luck]
    normalized = [[shares(sample) for sample in cells] for cells in runs]
    if kind == "mean":
        return coverage([mean(cells)[1] for cells in runs], float(np.mean([one.truth for one in ladder])))
    if kind == "C50":
        truth = curve(LADDER, rates).capacity(0.5)[0]
        return coverage([curve(LADDER, cells).capacity(0.5)[1] for cells in normalized], truth)
    if kind == "interquartile mean":
        # The scores are 0 or 1, half each: the middle half runs from quartile to quartile.
        truth = float(np.clip((np.mean(rates) - 0.25) / 0.5, 0, 1))
        return coverage([interquartile_mean(cells)[1] for cells in normalized], truth)
    against = normalized[1:] + normalized[:1]
    return coverage([improvement(x, y)[1] for x, y in zip(normalized, against, strict=True)], 0.5)


def of_cliffs(spread: float, seeds: int, repetitions: int, random: np.random.Generator) -> Coverage:
    """The interval of C50 where each run solves every level up to a cliff of its own, and none above it.

    Args:
        spread: Standard deviation over runs of the place of the cliff, in levels; the truth is its median, which is
            anywhere within the ladder.
        seeds: Seeds of each level.
        repetitions: How many ladders are simulated.
        random: The generator.
    """
    levels_L = np.log2(LADDER)
    truth_T = random.uniform(levels_L[0], levels_L[-1], repetitions)
    cliffs_TN = truth_T[:, None] + spread * random.standard_normal((repetitions, seeds))
    ends = np.empty((repetitions, 2))
    for own, cliffs_N in zip(ends, cliffs_TN, strict=True):
        cells = [Sample((cliffs_N >= level).astype(float).tolist()) for level in levels_L]
        own[:] = curve(LADDER, cells).capacity(0.5)[1]
    finite = np.diff(ends[np.isfinite(ends).all(axis=1)], axis=1)
    below, above = (ends[:, 1] < 2**truth_T).mean(), (ends[:, 0] > 2**truth_T).mean()
    return Coverage(float(below), float(above), float(finite.mean()) if len(finite) else np.inf)


def of_claims(seeds: int, repetitions: int, random: np.random.Generator) -> dict[str, float]:
    """How often claims are decided wrongly."""

    def share(claim: Claim, wrong: str, ends: Sequence[Interval]) -> float:
        return float(np.mean([decide(claim, one) == wrong for one in ends]))

    def claim(expect: str, bound: float | None = None, **more: bool) -> Claim:
        return Claim.model_validate({"says": "so", "of": {}, "expect": expect, "bound": bound, **more})

    def sides(own: Outcomes, other: Outcomes) -> list[tuple[Sample, Sample]]:
        return two_sides((own, other), 0.0, seeds, repetitions, random)

    cell = [solves(0.8).sample(luck) for luck in random.random((repetitions, seeds))]
    same, better, zero = (
        sides(solves(0.8), solves(0.8)),
        sides(solves(0.95), solves(0.8)),
        sides(solves(0.5), solves(0.5)),
    )
    # Exact match, which is 0 where a level is not solved, may have a mean of 0 on the other side.
    exact = [(shares(x), shares(y)) for x, y in zero]
    return {
        "at least 0.9 holds, truth 0.84": share(claim("at least", 0.9), "holds", intervals(cell)),
        "at most 0.8 holds, truth 0.84": share(claim("at most", 0.8), "holds", intervals(cell)),
        "at least 0.84 fails, truth 0.84": share(claim("at least", 0.84), "fails", intervals(cell)),
        "greater holds, equal at 0.8": share(claim("greater"), "holds", [difference([x], [y])[1] for x, y in same]),
        "greater fails, 0.95 and 0.8": share(claim("greater"), "fails", [difference([x], [y])[1] for x, y in better]),
        "ratio above 1 holds, equal at 0.5": share(
            claim("greater", ratio=True), "holds", [ratio([x], [y])[1] for x, y in exact]
        ),
    }


def of_ranks(
    variants: int, ladders: int, together: float, seeds: int, repetitions: int, random: np.random.Generator
) -> float:
    """How often some of several identical variants are ranked apart somewhere in a report."""
    wrong = 0
    for luck_VLN in np.split(
        np.array(ladder_luck(len(LADDER), together, seeds, repetitions * ladders * variants, random)), repetitions
    ):
        panels = np.split(luck_VLN, ladders)
        found = ranks([ladder_grid([falling()] * variants, list(panel)) for panel in panels])
        wrong += any(len(set(own.values())) > 1 for own in found)
    return wrong / repetitions


def ladder_grid(variants: Sequence[Sequence[Outcomes]], luck_VLN: Sequence[Floats]) -> Grid:
    """The panel of a report, of simulated runs."""
    cells: dict[tuple[Label, Any], Cell] = {}
    rows: list[Label] = []
    for index, (ladder, luck_LN) in enumerate(zip(variants, luck_VLN, strict=True)):
        rows.append((f"variant-{index}",))
        for level, outcomes, luck in zip(LADDER, ladder, luck_LN, strict=True):
            values = tuple(outcomes.sample(luck).values)
            cells[rows[-1], level] = Cell(values, chance=CHANCE, accuracies=values, seeds=tuple(range(len(values))))
    return Grid(Panel("simulated", "level"), "accuracy", ("attention",), "level", tuple(rows), LADDER, cells)


def told_apart(seeds: int, repetitions: int, random: np.random.Generator) -> float:
    """How often the better one of two variants is ranked first, where it solves two more levels most of the time."""
    good = [solves(rate) for rate in (0.98, 0.98, 0.98, 0.98, 0.02)]
    bad = [solves(rate) for rate in (0.98, 0.98, 0.02, 0.02, 0.02)]
    right = 0
    for _ in range(repetitions):
        (own,) = ranks([ladder_grid([good, bad], list(random.random((2, len(LADDER), seeds))))])
        right += list(own.values()) == ["1", "2"]
    return right / repetitions
