"""Claims against records: a claim holds where the interval over seeds is completely on the claimed side.

Where two variants are equal, a difference is claimed wrongly about once in 20 times with three seeds each, which is the
smallest number of seeds that decides a claim. Claims about the mean of several levels are surer. A claim that compares
one cell of three seeds with a number holds wrongly once in 8 times where the true value is that number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from attnlab.analysis._observations import Observation, check_field, check_metric, observations
from attnlab.analysis.fields import matches
from attnlab.analysis.grid import mean_validation_accuracy
from attnlab.analysis.statistics import TINY, Floats, Interval, stratified
from attnlab.config.experiment import Claim
from attnlab.errors import InvalidValueError
from attnlab.records import Record

Outcome = Literal["holds", "fails", "undecided"]
Location = tuple[Any, ...]
Strata = dict[Location, list[float]]
"""For each task, subtask and level, one number for each seed."""
MIN_SEEDS = 3
"""With fewer seeds a claim is undecided."""
EQUAL = 0.02
"""Two numbers are equal if they differ by no more than this, unless a claim gives another margin."""


@dataclass(frozen=True)
class ClaimOutcome:
    """A claim, whether it holds, and the numbers that decide it."""

    statement: str
    outcome: Outcome
    evidence: str
    estimate: float = math.nan
    """The mean, the difference of means, or their ratio."""
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
        InvalidValueError: The claim compares with nothing, or matches more than one variant.
    """
    if not claim.than and claim.bound is None:
        hint = "Name other runs (than) or a number (bound)."
        raise InvalidValueError(f"'{claim.says}' compares with nothing.", hint, where="claims")
    ours = strata(observed, claim.of, claim.metric, tuned)
    theirs = strata(observed, {**claim.of, **claim.than}, claim.metric, tuned) if claim.than else {}
    if not ours or (claim.than and not theirs):
        return ClaimOutcome(claim.says, "undecided", "no finished run matches yet")
    other_location = any(name in ("task", "subtask", "level") for name in claim.than)
    if claim.than and not other_location and ours.keys() != theirs.keys():
        return ClaimOutcome(claim.says, "undecided", "the two sides have not been run on the same levels yet")
    mine, other = list(ours.values()), list(theirs.values())
    estimate, ends = _estimate(claim, mine, other)
    if (fewest := min(map(len, [*mine, *other]))) < MIN_SEEDS:
        evidence = f"{_quantity(claim)} {estimate:.4g}; {fewest} of the {MIN_SEEDS} seeds that are needed"
        return ClaimOutcome(claim.says, "undecided", evidence, estimate)
    low, high = _claimed_range(claim)
    inside, outside = low <= ends[0] and ends[1] <= high, ends[1] < low or ends[0] > high
    outcome: Outcome = "holds" if inside else "fails" if outside else "undecided"
    evidence = f"{_quantity(claim)} {estimate:.4g} [{ends[0]:.4g}, {ends[1]:.4g}], claimed: {_claimed_text(claim)}"
    return ClaimOutcome(claim.says, outcome, evidence, estimate, ends)


def strata(
    observed: Sequence[Observation], wanted: Mapping[str, Any], metric: str, tuned: Sequence[str] = ()
) -> Strata:
    """Collect a metric of the wanted runs by task, subtask and level.

    Where runs of several levels were tested on one level, those trained there are taken, unless ``trained`` is named.
    Subtasks of a mixture are taken only where ``subtask`` is named.

    Args:
        observed: Observations of finished runs.
        wanted: Field -> value, or a list of values.
        metric: The metric.
        tuned: Fields of which each cell takes the value with the best validation accuracy.

    Returns:
        One number for each seed, by task, subtask and level; locations without numbers are left out.

    Raises:
        UnknownNameError: No run has the field or the metric.
        InvalidValueError: A field that the claim does not name differs among the wanted runs.
    """
    if not observed:
        return {}
    check_metric(metric, observed, "claims")
    required = {check_field(name, observed, "claims"): value for name, value in wanted.items()}
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
            hint = "Name one more field in 'of' (and 'than'), so that each level has one run for each seed."
            raise InvalidValueError(f"{dict(wanted)} matches more than one variant.", hint, where="claims")
        result[location] = [number for one in best if not math.isnan(number := one.metric(metric))]
    return {location: numbers for location, numbers in result.items() if numbers}


def _estimate(claim: Claim, ours: list[list[float]], theirs: list[list[float]]) -> tuple[float, Interval]:
    """The mean, the difference of means or their ratio, with its interval."""

    def mean(cells: list[Floats]) -> Floats:
        return np.mean([cell.mean(axis=1) for cell in cells], axis=0)

    def estimate(drawn: list[Floats]) -> Floats:
        mine = mean(drawn[: len(ours)])
        if not theirs:
            return mine
        other = mean(drawn[len(ours) :])
        with np.errstate(divide="ignore", invalid="ignore"):
            return mine / other if claim.ratio else mine - other

    return stratified(estimate, [*ours, *theirs])


def _claimed_range(claim: Claim) -> Interval:
    """The range in which the estimate is claimed to lie."""
    neutral = 1.0 if claim.ratio else 0.0
    bound = neutral if claim.bound is None else claim.bound
    if claim.expect == "equal":
        center, margin = (neutral, EQUAL if claim.bound is None else claim.bound) if claim.than else (bound, EQUAL)
        return center - margin, center + margin
    if claim.expect in ("greater", "at least"):
        return bound + (TINY if claim.expect == "greater" else 0.0), math.inf
    return -math.inf, bound - (TINY if claim.expect == "less" else 0.0)


def _quantity(claim: Claim) -> str:
    """The name of the estimate."""
    prefix = "" if not claim.than else "ratio of " if claim.ratio else "difference of "
    return f"{prefix}{claim.metric}"


def _claimed_text(claim: Claim) -> str:
    """The claimed range as text."""
    low, high = _claimed_range(claim)
    if claim.expect == "equal":
        return f"{low:.4g} to {high:.4g}"
    words = {"greater": "above", "less": "below"}
    return f"{words.get(claim.expect, claim.expect)} {round(low if math.isinf(high) else high, 9) + 0.0:.4g}"
