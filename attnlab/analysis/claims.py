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

from attnlab.analysis._observations import Observation, check_field, check_metric, metric_bounds, observations, varying
from attnlab.analysis.deciding_seeds import MOST_SEEDS, deciding_seeds
from attnlab.analysis.fields import matches
from attnlab.analysis.grid import mean_validation_accuracy
from attnlab.analysis.slopes import median, seed_slopes
from attnlab.analysis.statistics import MIN_SEEDS, SHARE, TINY, Interval, Sample, difference, mean, ratio
from attnlab.analysis.time_to_solve import BOUNDING, TIME_METRICS
from attnlab.config.experiment import Claim
from attnlab.errors import InvalidValueError
from attnlab.formatting import SHARES, percent
from attnlab.records import Record

Outcome = Literal["holds", "fails", "undecided"]
Location = tuple[Any, ...]
Strata = dict[Location, Sample]
"""For each task, subtask and level, one number for each seed."""
EQUAL = 0.02
"""Two numbers are equal if they differ by no more than this, unless a claim gives another margin."""


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


def check_claims(claims: Iterable[Claim], records: Sequence[Record], tuned: Sequence[str] = ()) -> list[ClaimOutcome]:
    """Check claims against records.

    Args:
        claims: The claims.
        records: Finished runs.
        tuned: Fields of which each cell takes the value with the best validation accuracy.

    Returns:
        One outcome per claim.

    Raises:
        UnknownNameError: A claim names a field or a metric that the runs do not have.
        InvalidValueError: A claim compares with nothing, or matches more than one variant.
    """
    observed = observations(records)
    return [check_claim(claim, observed, tuned) for claim in claims]


def check_claim(claim: Claim, observed: Sequence[Observation], tuned: Sequence[str] = ()) -> ClaimOutcome:
    """Check one claim.

    Args:
        claim: The claim.
        observed: Observations of finished runs.
        tuned: Fields of which each cell takes the value with the best validation accuracy.

    Returns:
        The outcome; undecided where runs are missing or too few.

    Raises:
        UnknownNameError: The claim names a field or a metric that the runs do not have.
        InvalidValueError: The claim compares with nothing, or matches more than one variant; or it is about a slope,
            and its runs are of one level, of several tasks, or not on the same levels.
    """
    if not claim.than and claim.bound is None:
        hint = "Name other runs (than) or a number (bound)."
        raise InvalidValueError(f"'{claim.says}' compares with nothing.", hint, where="claims")
    ours = strata(observed, claim.of, claim.metric, tuned)
    theirs = strata(observed, {**claim.of, **claim.than}, claim.metric, tuned) if claim.than else {}
    if not ours or (claim.than and not theirs):
        return ClaimOutcome(claim.says, "undecided", "no finished run matches yet")
    other_location = any(name in ("task", "subtask", "level") for name in claim.than)
    if claim.slope and (claim.ratio or other_location):
        hint = "Leave out slope, or else ratio and the task, subtask and level of than."
        raise InvalidValueError(f"'{claim.says}': a slope is of differences on the same levels.", hint, where="claims")
    if claim.than and not other_location and ours.keys() != theirs.keys():
        return ClaimOutcome(claim.says, "undecided", "the two sides have not been run on the same levels yet")
    mine, other = list(ours.values()), list(theirs.values())
    if claim.slope:
        mine, other = [seed_slopes(ours, theirs)], []
    estimate, ends = _estimate(claim, mine, other)
    if claim.ratio and math.isnan(estimate):
        evidence = f"{_quantity(claim)}: the mean of the other runs is 0, so there is no ratio"
        return ClaimOutcome(claim.says, "undecided", evidence)
    needed = BOUNDING if claim.slope else MIN_SEEDS
    if (fewest := min(len(sample.values) for sample in (*mine, *other))) < needed:
        evidence = f"{_quantity(claim)} {_number(claim, estimate)}; {fewest} of the {needed} seeds that are needed"
        return ClaimOutcome(claim.says, "undecided", evidence, estimate)
    if math.isnan(ends[0]):
        reason = "; the mean of the other runs may be 0" if claim.ratio and math.isfinite(estimate) else ""
        evidence = f"{_quantity(claim)} {_number(claim, estimate)}, without an interval{reason}"
        return ClaimOutcome(claim.says, "undecided", evidence, estimate)
    found, low, high = (_number(claim, one) for one in (estimate, *ends))
    evidence = f"{_quantity(claim)} {found} [{low}, {high}], claimed: {_claimed_text(claim)}"
    outcome = decide(claim, ends)
    if outcome == "undecided" and not _may_hold(claim, mine, other):
        evidence += (
            f"; too few seeds ({fewest}) for it to hold, even with every run at the bound of the metric that favors it"
        )
    if outcome == "undecided":
        evidence += f"; {_seeds_needed(claim, mine, other)}"
    return ClaimOutcome(claim.says, outcome, evidence, estimate, ends)


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


def strata(
    observed: Sequence[Observation],
    wanted: Mapping[str, Any],
    metric: str,
    tuned: Sequence[str] = (),
    where: str = "claims",
) -> Strata:
    """Collect a metric of the wanted runs by task, subtask and level.

    Where runs of several levels were tested on one level, those trained there are taken, unless ``trained`` is named.
    Subtasks of a mixture are taken only where ``subtask`` is named.

    Args:
        observed: Observations of finished runs.
        wanted: Field -> value, or a list of values.
        metric: The metric.
        tuned: Fields of which each cell takes the value with the best validation accuracy.
        where: Where the runs were named, for messages.

    Returns:
        One number for each seed, by task, subtask and level; locations without numbers are left out.

    Raises:
        UnknownNameError: No run has the field or the metric.
        InvalidValueError: A field that is not named differs among the wanted runs.
    """
    if not observed:
        return {}
    check_metric(metric, observed, where)
    required = {check_field(name, observed, where): value for name, value in wanted.items()}
    keys = [key for name in tuned if (key := check_field(name, observed, "tune")) not in required]
    by_location: dict[Location, list[Observation]] = {}
    for one in observed:
        if all(matches(name, one.get(name), value) for name, value in required.items()):
            if one.subtask and "subtask" not in required:
                continue  # a mixture's subtasks are its parts, not further runs
            location = (one.get("task"), one.subtask, one.get("complexity"), one.level)
            by_location.setdefault(location, []).append(one)
    result = {}
    for location, runs in by_location.items():
        own = [one for one in runs if one.at_trained_level]
        candidates: dict[tuple[str, ...], list[Observation]] = {}
        for one in own if own and "trained" not in required else runs:
            candidates.setdefault(tuple(str(one.get(key)) for key in keys), []).append(one)
        chosen = max(candidates, key=lambda candidate: mean_validation_accuracy(candidates[candidate]))
        best = sorted(candidates[chosen], key=lambda one: one.record.spec.seed)
        if len({one.record.spec.seed for one in best}) < len(best):
            listed = ", ".join(f"{name} {value}" for name, value in wanted.items()) or "every run"
            differing = [*varying(best), *(["trained"] if len({str(one.trained) for one in best}) > 1 else [])]
            open_fields = [name for name in differing if name not in required]
            hint = f"Name {' and '.join(open_fields) or 'one more field'} too: each level needs one run for each seed."
            raise InvalidValueError(f"{listed}: this matches more than one variant.", hint, where=where)
        numbers = {one.record.spec.seed: number for one in best if not math.isnan(number := one.metric(metric))}
        if numbers:
            result[location] = Sample([*numbers.values()], metric_bounds(metric, best), [*numbers])
    return result


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
