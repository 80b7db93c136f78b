"""Claims against records: a claim holds where a whole interval over seeds is on its side, and not before.

Where two variants are alike, a difference is claimed wrongly about once in 20 times with three seeds each, the fewest
that decide anything; claims about the mean of several levels are surer. A claim that compares with a number, of one cell
with three seeds, is surer than nothing: it holds wrongly once in 8 times where the truth is that number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from attnlab.analysis._observations import Observation, check_field, check_value, observations
from attnlab.analysis.fields import matches
from attnlab.analysis.grid import validated
from attnlab.analysis.statistics import TINY, Floats, Interval, stratified
from attnlab.config.experiment import Claim
from attnlab.errors import InvalidValueError
from attnlab.records import Record

Outcome = Literal["holds", "fails", "undecided"]
Place = tuple[Any, ...]
Strata = dict[Place, list[float]]
"""For each task, member and level, one number for each seed."""
ENOUGH = 3
"""Seeds without which nothing is decided."""
EQUAL = 0.02
"""Two figures no further apart than this are equal, unless a claim says otherwise."""


@dataclass(frozen=True)
class ClaimOutcome:
    """A claim, whether it holds, and the numbers that say so."""

    statement: str
    outcome: Outcome
    evidence: str
    figure: float = math.nan
    interval: Interval = (math.nan, math.nan)


def check_claims(claims: Iterable[Claim], records: Sequence[Record], tuned: Sequence[str] = ()) -> list[ClaimOutcome]:
    """Every claim with its verdict.

    Args:
        claims: What is said.
        records: Finished runs.
        tuned: Fields whose best value on the validation stream is taken, cell by cell.

    Raises:
        UnknownNameError: a claim about a field or value that the runs do not have.
        InvalidValueError: a claim that compares with nothing, or means more than one variant.
    """
    seen = observations(records)
    return [check_claim(claim, seen, tuned) for claim in claims]


def check_claim(claim: Claim, seen: Sequence[Observation], tuned: Sequence[str] = ()) -> ClaimOutcome:
    """One claim."""
    if not claim.than and claim.bound is None:
        hint = "Name other runs (than) or a number (bound)."
        raise InvalidValueError(f"'{claim.says}' compares with nothing.", hint, where="claims")
    ours = strata(seen, claim.of, claim.metric, tuned)
    theirs = strata(seen, {**claim.of, **claim.than}, claim.metric, tuned) if claim.than else {}
    if not ours or (claim.than and not theirs):
        return ClaimOutcome(claim.says, "undecided", "no finished run is of this kind yet")
    moved = any(name in ("task", "subtask", "level") for name in claim.than)
    if claim.than and not moved and ours.keys() != theirs.keys():
        return ClaimOutcome(claim.says, "undecided", "the two sides have not been run on the same levels yet")
    mine, other = list(ours.values()), list(theirs.values())
    figure, ends = _figure(claim, mine, other)
    if (fewest := min(map(len, [*mine, *other]))) < ENOUGH:
        said = f"{_named(claim)} {figure:.4g}; {fewest} of the {ENOUGH} seeds that it takes"
        return ClaimOutcome(claim.says, "undecided", said, figure)
    low, high = _sides(claim)
    inside, outside = low <= ends[0] and ends[1] <= high, ends[1] < low or ends[0] > high
    outcome: Outcome = "holds" if inside else "fails" if outside else "undecided"
    said = f"{_named(claim)} {figure:.4g} [{ends[0]:.4g}, {ends[1]:.4g}], asked: {_asked(claim)}"
    return ClaimOutcome(claim.says, outcome, said, figure, ends)


def strata(seen: Sequence[Observation], wanted: Mapping[str, Any], value: str, tuned: Sequence[str] = ()) -> Strata:
    """The wanted runs' values by task, member and level: one number for each seed.

    Where runs of several levels were tested on one, those trained there are meant, unless ``trained`` is named.

    Raises:
        UnknownNameError: a field or value that no run has.
        InvalidValueError: a field that differs among the wanted runs though the claim does not name it.
    """
    if not seen:
        return {}
    check_value(value, seen, "claims")
    requested = {check_field(name, seen, "claims"): meant for name, meant in wanted.items()}
    keys = [key for name in tuned if (key := check_field(name, seen, "tune")) not in requested]
    places: dict[Place, list[Observation]] = {}
    for one in seen:
        if all(matches(name, one.get(name), meant) for name, meant in requested.items()):
            if one.subtask and "subtask" not in requested:
                continue  # a mixture's members are its parts, not more of it
            place = (one.get("task"), one.subtask, one.get("complexity"), one.level)
            places.setdefault(place, []).append(one)
    result = {}
    for place, runs in places.items():
        at_home = [one for one in runs if one.at_trained_level]
        candidates: dict[tuple[str, ...], list[Observation]] = {}
        for one in at_home if at_home and "trained" not in requested else runs:
            candidates.setdefault(tuple(str(one.get(key)) for key in keys), []).append(one)
        chosen = max(candidates, key=lambda candidate: validated(candidates[candidate]))
        best = sorted(candidates[chosen], key=lambda one: one.record.spec.seed)
        if len({one.record.spec.seed for one in best}) < len(best):
            hint = "Name one more field in 'of' (and 'than'), so that each level has one run for each seed."
            raise InvalidValueError(f"{dict(wanted)} is more than one variant.", hint, where="claims")
        result[place] = [number for one in best if not math.isnan(number := one.value(value))]
    return {place: numbers for place, numbers in result.items() if numbers}


def _figure(claim: Claim, ours: list[list[float]], theirs: list[list[float]]) -> tuple[float, Interval]:
    """The mean, the difference of means or their ratio, with its interval."""

    def mean(cells: list[Floats]) -> Floats:
        return np.mean([cell.mean(axis=1) for cell in cells], axis=0)

    def figure(drawn: list[Floats]) -> Floats:
        mine = mean(drawn[: len(ours)])
        if not theirs:
            return mine
        other = mean(drawn[len(ours) :])
        with np.errstate(divide="ignore", invalid="ignore"):
            return mine / other if claim.ratio else mine - other

    return stratified(figure, [*ours, *theirs])


def _sides(claim: Claim) -> Interval:
    """Between which numbers the figure is claimed to lie."""
    alike = 1.0 if claim.ratio else 0.0
    bound = alike if claim.bound is None else claim.bound
    if claim.expect == "equal":
        middle, margin = (alike, EQUAL if claim.bound is None else claim.bound) if claim.than else (bound, EQUAL)
        return middle - margin, middle + margin
    if claim.expect in ("greater", "at least"):
        return bound + (TINY if claim.expect == "greater" else 0.0), math.inf
    return -math.inf, bound - (TINY if claim.expect == "less" else 0.0)


def _named(claim: Claim) -> str:
    kind = "" if not claim.than else "ratio of " if claim.ratio else "difference of "
    return f"{kind}{claim.metric}"


def _asked(claim: Claim) -> str:
    low, high = _sides(claim)
    if claim.expect == "equal":
        return f"{low:.4g} to {high:.4g}"
    words = {"greater": "above", "less": "below"}
    return f"{words.get(claim.expect, claim.expect)} {round(low if math.isinf(high) else high, 9) + 0.0:.4g}"
