"""Observations -> strata: a metric of the runs that a claim or a published value names, by task, subtask and level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from attnlab.analysis._observations import Observation, check_field, check_metric, metric_bounds, varying
from attnlab.analysis.cell import mean_validation_accuracy
from attnlab.analysis.fields import matches
from attnlab.analysis.planned_levels import Plan, levels_of
from attnlab.analysis.statistics import Sample
from attnlab.errors import InvalidValueError

Location = tuple[Any, ...]
"""A task, a subtask, the option that the levels set, and a level."""
Strata = dict[Location, Sample]
"""For each location, one number for each seed."""


def strata(
    observed: Sequence[Observation],
    wanted: Mapping[str, Any],
    metric: str,
    tuned: Sequence[str] = (),
    where: str = "claims",
    plan: Plan = (),
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
        plan: The levels of the experiment; on those that runs will be trained on, no others are taken meanwhile.

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
    trained = {(one.task, one.level) for one in levels_of(plan, wanted) if one.is_own}
    for location, runs in by_location.items():
        if "trained" not in required:
            own = [one for one in runs if one.at_trained_level]
            runs = own if own or (location[0], location[-1]) in trained else runs
        candidates: dict[tuple[str, ...], list[Observation]] = {}
        for one in runs:
            candidates.setdefault(tuple(str(one.get(key)) for key in keys), []).append(one)
        if not candidates:
            continue
        chosen = max(candidates, key=lambda candidate: mean_validation_accuracy(candidates[candidate]))
        best = sorted(candidates[chosen], key=lambda one: one.record.spec.seed)
        if len({one.record.spec.seed for one in best}) < len(best):
            listed = ", ".join(f"{name} {value}" for name, value in wanted.items()) or "every run"
            differing = [*varying(best), *(["trained"] if len({str(one.trained) for one in best}) > 1 else [])]
            open_fields = [name for name in differing if name not in required]
            hint = f"Name {' and '.join(open_fields) or 'one more field'} too: each level needs one run for each seed."
            own_levels = _trained_levels(observed, location[0])
            if open_fields == ["trained"] and own_levels:
                hint += f"\nOr name levels that runs were trained on alone: level: {own_levels}."
            raise InvalidValueError(f"{listed}: this matches more than one variant.", hint, where=where)
        numbers = {one.record.spec.seed: number for one in best if not math.isnan(number := one.metric(metric))}
        if numbers:
            result[location] = Sample([*numbers.values()], metric_bounds(metric, best), [*numbers])
    return result


def _trained_levels(observed: Sequence[Observation], task: Any) -> list[Any]:
    """The levels of a task that runs were trained on, in order."""
    found = {one.level for one in observed if one.get("task") == task and one.at_trained_level}
    return sorted(found, key=lambda level: (isinstance(level, str), level))
