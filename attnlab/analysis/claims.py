"""Claims against records: a claim holds where the 95 % interval over seeds is completely on the claimed side.

It fails where the interval is completely on the other side, and is undecided otherwise. A wrong outcome has a
probability of 2.5 % at most wherever the interval covers as :mod:`attnlab.analysis.statistics` states. Of accuracies
and other bounded metrics, few seeds decide little: where all runs of one variant are perfect and all of the other at
chance, "greater" needs five seeds; "at least 0.9" needs 28 perfect runs where chance is 0.2. The evidence says where no
outcome of so few seeds would let a claim hold, and how many seeds like these would decide an undecided one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from attnlab.analysis._observations import Observation, observations
from attnlab.analysis.deciding_seeds import MOST_SEEDS, deciding_seeds
from attnlab.analysis.planned_levels import Plan, levels_of, place_in
from attnlab.analysis.slope_checks import check_slope_form, names_location
from attnlab.analysis.slopes import median, seed_slopes
from attnlab.analysis.statistics import MIN_SEEDS, SHARE, TINY, Interval, Sample, difference, mean, ratio
from attnlab.analysis.strata import Strata, strata
from attnlab.analysis.time_to_solve import BOUNDING, TIME_METRICS
from attnlab.config.experiment import Claim
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.formatting import SHARES, percent
from attnlab.records import Record

Outcome = Literal["holds", "fails", "undecided"]
MOST_DIGITS = 7
"""Digits of an end of an interval that are tried, until it is on its side of what is claimed."""
EQUAL = 0.02
"""Two numbers are equal if they differ by no more than this, unless a claim gives another margin."""
SHOWN = 12
"""Levels that the evidence lists at most."""


@dataclass(frozen=True)
class ClaimOutcome:
    """A claim, whether it holds, and the numbers that decide it."""

    statement: str
    outcome: Outcome
    evidence: str
    estimate: float = math.nan
    """The mean, the difference of means, or their ratio; the median slope over levels."""
    interval: Interval = (math.nan, math.nan)
    """The interval of the estimate over seeds."""


def check_claims(
    claims: Iterable[Claim], records: Sequence[Record], tuned: Sequence[str] = (), plan: Plan = ()
) -> list[ClaimOutcome]:
    """Check claims against records.

    Args:
        claims: The claims.
        records: Finished runs.
        tuned: Fields of which each cell takes the value with the best validation accuracy.
        plan: The levels of the experiment: a claim is undecided until all that it is about are run. None are known.

    Returns:
        One outcome per claim.

    Raises:
        UnknownNameError: A claim names a field or a metric that the runs do not have.
        InvalidValueError: A claim compares with nothing, or matches more than one variant.
    """
    observed = observations(records)
    return [check_claim(claim, observed, tuned, plan, f"claims.{index}") for index, claim in enumerate(claims)]


def judge_claims(
    claims: Iterable[Claim], records: Sequence[Record], tuned: Sequence[str] = (), plan: Plan = ()
) -> list[ClaimOutcome]:
    """Check claims for a report: one that cannot be checked on its records stands for itself, and is undecided.

    Among records of a sweep that is not done there may be no run yet with a field, or runs of another plan.

    Args:
        claims: The claims.
        records: Finished runs.
        tuned: Fields of which each cell takes the value with the best validation accuracy.
        plan: The levels of the experiment.

    Returns:
        One outcome per claim.
    """
    wanted, outcomes = list(claims), []
    observed = observations(records) if wanted else []
    for claim in wanted:
        try:
            outcomes.append(check_claim(claim, observed, tuned, plan))
        except AttnlabError as error:
            evidence = " ".join(f"it cannot be checked on these runs: {error.problem} {error.hint}".split())
            outcomes.append(ClaimOutcome(claim.says, "undecided", evidence))
    return outcomes


def check_claim(
    claim: Claim,
    observed: Sequence[Observation],
    tuned: Sequence[str] = (),
    plan: Plan = (),
    where: str = "claims",
) -> ClaimOutcome:
    """Check one claim.

    Args:
        claim: The claim.
        observed: Observations of finished runs.
        tuned: Fields of which each cell takes the value with the best validation accuracy.
        plan: The levels of the experiment.
        where: Where the claim stands, for messages.

    Returns:
        The outcome; undecided where runs are missing or too few.

    Raises:
        UnknownNameError: The claim names a field or a metric that the runs do not have.
        InvalidValueError: The claim compares with nothing, matches more than one variant, or is about no slope.
    """
    if not claim.than and claim.bound is None:
        hint = "Name other runs (than) or a number (bound)."
        raise InvalidValueError(f"'{claim.says}' compares with nothing.", hint, where=where)
    check_slope_form(claim, where)
    sides = [claim.of, *([{**claim.of, **claim.than}] if claim.than else [])]
    found = [strata(observed, side, claim.metric, tuned, where, plan) for side in sides]
    if not all(found):
        return ClaimOutcome(claim.says, "undecided", "no finished run matches yet")
    if missing := _missing(claim, sides, found, plan):
        return ClaimOutcome(claim.says, "undecided", missing)
    if claim.slope:
        return _slope_outcome(claim, found, plan)
    mine, *others = [list(side.values()) for side in found]
    return _outcome(claim, mine, others[0] if others else ())


def _slope_outcome(claim: Claim, found: Sequence[Strata], plan: Plan) -> ClaimOutcome:
    """The outcome of a claim about the slope over the levels of one task."""
    locations = sorted(found[0], key=lambda one: (one[:-1], place_in(plan, one[0], one[-1])))
    levels = [location[-1] for location in locations]
    if len(levels) < 2:
        return ClaimOutcome(claim.says, "undecided", f"run on one level so far ({levels[0]})")
    if len({location[:-1] for location in locations}) > 1:
        return ClaimOutcome(claim.says, "undecided", "these runs are of several tasks, and a slope is over one")
    ours, *others = [[side[location] for location in locations] for side in found]
    slopes = seed_slopes(ours, *others)
    every = {seed for side in (ours, *others) for sample in side for seed in sample.seed_list}
    lacking = len(every) - len(slopes.values)
    more = f"; {lacking} more without a number on every level" if lacking else ""
    if not slopes.values:
        evidence = f"no seed has been run on every level ({_listed(levels)}) yet"
        return ClaimOutcome(claim.says, "undecided", evidence)
    return _outcome(claim, [slopes], about=f" (levels {_listed(levels)}; {len(slopes.values)} seeds{more})")


def _outcome(claim: Claim, mine: Sequence[Sample], other: Sequence[Sample] = (), about: str = "") -> ClaimOutcome:
    """The outcome of a claim about the mean of some cells, how it compares with that of others, or a median slope."""
    quantity = _quantity(claim)
    estimate, ends = _estimate(claim, mine, other)
    if claim.ratio and math.isnan(estimate):
        evidence = f"{quantity}: the mean of the other runs is 0, so there is no ratio"
        return ClaimOutcome(claim.says, "undecided", evidence)
    needed = BOUNDING if claim.slope else MIN_SEEDS
    if (fewest := min(len(sample.values) for sample in (*mine, *other))) < needed:
        evidence = f"{quantity} {_number(claim, estimate)}; {fewest} of the {needed} seeds that are needed"
        return ClaimOutcome(claim.says, "undecided", evidence, estimate)
    if math.isnan(ends[0]):
        reason = "; the mean of the other runs may be 0" if claim.ratio and math.isfinite(estimate) else ""
        evidence = f"{quantity} {_number(claim, estimate)}, without an interval{reason}"
        return ClaimOutcome(claim.says, "undecided", evidence, estimate)
    outcome = decide(claim, ends)
    low, high = (_number(claim, end) if outcome == "undecided" else _decided_end(claim, end) for end in ends)
    evidence = f"{quantity} {_number(claim, estimate)} [{low}, {high}]{about}, claimed: {_claimed_text(claim)}"
    if outcome == "undecided" and not _may_hold(claim, mine, other):
        evidence += (
            f"; too few seeds ({fewest}) for it to hold, even with every run at the bound of the metric that favors it"
        )
    if outcome == "undecided":
        evidence += f"; {_seeds_needed(claim, mine, other)}"
    return ClaimOutcome(claim.says, outcome, evidence, estimate, ends)


def _missing(claim: Claim, sides: Sequence[Mapping[str, Any]], found: Sequence[Strata], plan: Plan) -> str:
    """Which levels are to be run before a claim can be judged, in words; empty where none are missing."""
    run = [{(location[0], location[-1]) for location in side} for side in found]
    unrun = {
        (one.task, one.level)
        for side, done in zip(sides, run, strict=True)
        for one in levels_of(plan, side)
        if (one.task, one.level) not in done and (one.is_own or claim.metric not in TIME_METRICS)
    }
    done, missing = (
        sorted(places, key=lambda place: (*place_in(plan, *place), place[0]))
        for places in (set.union(*run) - unrun, unrun)
    )
    if missing and done:
        several = len({task for task, _ in (*done, *missing)}) > 1
        so_far, left = (
            _listed([f"{task} {level}" if several else level for task, level in places]) for places in (done, missing)
        )
        count = "one level" if len(done) == 1 else f"{len(done)} levels"
        return f"run on {count} so far ({so_far}), not yet on {left}"
    if names_location(claim) or all(side.keys() == found[0].keys() for side in found):
        return ""
    return "the two sides have not been run on the same levels yet"


def _listed(levels: Sequence[Any]) -> str:
    """Levels in a sentence; of many, the first and the last."""
    if len(levels) > SHOWN:
        return f"{levels[0]} to {levels[-1]}, {len(levels)} in all"
    return ", ".join(map(str, levels))


def decide(claim: Claim, ends: Interval) -> Outcome:
    """Compare an interval with the range in which a claim says that the estimate lies.

    Args:
        claim: The claim.
        ends: The interval of the estimate.

    Returns:
        Whether the whole interval is inside the range or outside it; undecided otherwise, and without an interval.
    """
    low, high = _claimed_range(claim)
    inside, outside = low <= ends[0] and ends[1] <= high, ends[1] < low or ends[0] > high
    return "holds" if inside else "fails" if outside else "undecided"


def _estimate(claim: Claim, ours: Sequence[Sample], theirs: Sequence[Sample]) -> tuple[float, Interval]:
    """The mean, the difference of means or their ratio, or the median slope, with its interval."""
    if claim.slope:
        return median(ours[0])
    if not theirs:
        return mean(ours)
    return ratio(ours, theirs) if claim.ratio else difference(ours, theirs)


def _may_hold(claim: Claim, ours: Sequence[Sample], theirs: Sequence[Sample]) -> bool:
    """Whether a claim about more or less would hold if every run were at the bound that favors it.

    True of other claims, of unbounded metrics, and of ratios, whose best case may have no value.
    """
    if claim.expect == "equal" or claim.ratio or any(sample.bounds is None for sample in (*ours, *theirs)):
        return True
    best = 1 if claim.expect in ("greater", "at least") else 0

    def all_at(samples: Sequence[Sample], end: int) -> list[Sample]:
        return [sample._replace(values=[(sample.bounds or SHARE)[end]] * len(sample.values)) for sample in samples]

    return decide(claim, _estimate(claim, all_at(ours, best), all_at(theirs, 1 - best))[1]) == "holds"


def _seeds_needed(claim: Claim, ours: Sequence[Sample], theirs: Sequence[Sample]) -> str:
    """How many seeds would decide, if all came out like these."""
    needed, ends = deciding_seeds(
        (ours, theirs),
        lambda sides: _estimate(claim, *sides)[1],
        lambda ends: decide(claim, ends) != "undecided",
    )
    if not needed:
        return f"{MOST_SEEDS:,} seeds like these would not decide it"
    return f"with about {needed} seeds like these it {decide(claim, ends)}"


def _claimed_range(claim: Claim) -> Interval:
    """The range in which the estimate is claimed to lie; a rounding error decides nothing."""
    neutral = 1.0 if claim.ratio else 0.0
    bound = neutral if claim.bound is None else claim.bound
    if claim.expect == "equal":
        center, margin = (neutral, EQUAL if claim.bound is None else claim.bound) if claim.than else (bound, EQUAL)
        return center - margin, center + margin
    slack = TINY * max(1.0, abs(bound))
    if claim.expect in ("greater", "at least"):
        return bound + (slack if claim.expect == "greater" else -slack), math.inf
    return -math.inf, bound + (-slack if claim.expect == "less" else slack)


def _quantity(claim: Claim) -> str:
    """The name of the estimate."""
    prefix = "" if not claim.than else "ratio of " if claim.ratio else "difference of "
    middle = "restricted mean of " if claim.metric in TIME_METRICS else ""
    if claim.slope:
        prefix, middle = f"median slope over levels of {'the ' if prefix else ''}{prefix}", ""
    return f"{prefix}{middle}{claim.metric}{' in %' if _in_percent(claim) else ''}"


def _in_percent(claim: Claim) -> bool:
    """Whether the estimate is told in percent, as the tables tell its metric; a ratio has no unit."""
    return claim.metric in SHARES and not claim.ratio


def _decided_end(claim: Claim, value: float) -> str:
    """An end of the interval that decides a claim, with so many digits that it is on its side of what is claimed."""
    text, unit = _number(claim, value), 100 if _in_percent(claim) else 1
    for digits in range(2, MOST_DIGITS):
        if all((float(text) / unit >= bound) == (value >= bound) for bound in _claimed_range(claim)):
            break
        text = f"{unit * value:.{digits}f}" if unit > 1 else f"{value:.{digits + 3}g}"
    return text


def _number(claim: Claim, value: float) -> str:
    """A number of the evidence, in the unit of the tables."""
    if not _in_percent(claim):
        return f"{value:.4g}"
    return percent(0.0 if abs(value) < 0.0005 else value).removesuffix(" %")  # no -0.0


def _claimed_text(claim: Claim) -> str:
    """The claimed range as text."""
    low, high = _claimed_range(claim)
    if claim.expect == "equal":
        return f"{_number(claim, low)} to {_number(claim, high)}"
    words = {"greater": "above", "less": "below"}
    return (
        f"{words.get(claim.expect, claim.expect)} {_number(claim, round(low if math.isinf(high) else high, 9) + 0.0)}"
    )
