"""Records -> observations: the scores of a run on one level, with the fields that describe the run.

A record gives one observation on its own level, and one for each of its evaluations on other levels and of subtasks.
Fields are named as on the command line: ``attention``, ``position``, ``level``, ``seed``, ``width``, ``lr``,
``task.length``. ``trained`` is the level, or the range of levels, that the run was trained on.

A failed run has no scores. A diverged run counts with the scores that its weights had at that moment, and never as
solved: leaving it out would favor variants that diverge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from attnlab.analysis._draws import SHARE, Interval
from attnlab.analysis._training_ranges import ends_at
from attnlab.analysis.fields import unknown_field
from attnlab.analysis.levels import normalized_accuracy, share_above_chance
from attnlab.analysis.time_to_solve import TIME_METRICS, TIMES
from attnlab.errors import InvalidValueError, unknown
from attnlab.records import SOLVED, Evaluation, Record, distinct
from attnlab.run_fields import LOCATION, Cache, Fields, run_fields, short_name, trained_on
from attnlab.specs import ModelSpec

MOST_NATS = 700.0
"""A loss whose exponential is a float; that of 710 nats is none."""


class Observation(NamedTuple):
    """One run on one level."""

    record: Record
    settings: Fields
    """The fields of the run; one mapping is shared by all runs that differ only in where they were tested."""
    subtask: str
    level: Any
    trained: Any
    evaluation: Evaluation | None = None
    """None on the run's own level."""

    def get(self, name: str) -> Any:
        """A field by name; None where the run has no such field."""
        if name == "seed":
            return self.record.spec.seed
        if name in ("subtask", "level", "trained"):
            return getattr(self, name)
        return self.settings.get(name)

    @property
    def at_trained_level(self) -> bool:
        """Whether the run was trained on this level, or on a range that ends at it and at the level of the run."""
        own = self.record.spec.task.level
        return self.level == self.trained or (self.level == own and ends_at(self.trained, own))

    @property
    def failed(self) -> bool:
        """Whether the run failed, so that there are no scores."""
        return self.record.status == "failed"

    @property
    def chance(self) -> float:
        """Chance accuracy on this level."""
        return (self.evaluation or self.record).accuracy.chance

    def metric(self, name: str) -> float:
        """A metric by name; nan where this run has none."""
        if self.failed:
            return math.nan
        if compute := METRICS.get(name):
            return compute(self)
        if name in TIMES:
            return math.nan if self.evaluation else TIMES[name](self.record)
        if score := (self.evaluation or self.record).scores.get(name):
            return score.mean
        return self.record.diagnostics.get(name, math.nan)


def _accuracy(observation: Observation) -> float:
    return (observation.evaluation or observation.record).accuracy.mean


def _above_chance(chance: float) -> Interval:
    return (0.0 if math.isnan(chance) else chance), 1.0


def _loss(observation: Observation) -> float:
    return _number((observation.evaluation or observation.record).loss)


def _perplexity(loss: float) -> float:
    """exp(loss), within the range of floats; nan of a loss that is nan, of which ``min`` would make 700 nats."""
    return loss if math.isnan(loss) else math.exp(min(MOST_NATS, loss))


METRICS: dict[str, Callable[[Observation], float]] = {
    "accuracy": _accuracy,
    "error": lambda one: 1 - _accuracy(one),
    "normalized_accuracy": lambda one: normalized_accuracy(_accuracy(one), one.chance),
    "exact_match": lambda one: (one.evaluation or one.record).exact_match.mean,
    "loss": _loss,
    "perplexity": lambda one: _perplexity(_loss(one)) if not one.record.squared_errors else math.nan,
    "solved": lambda one: float(_accuracy(one) >= SOLVED and one.record.status == "done"),
    "validation_accuracy": lambda one: _number(one.record.last_validation),
    "steps": lambda one: float(one.record.steps),
    "seconds": lambda one: _number(one.record.environment.get("seconds")),
    "parameters": lambda one: float(one.record.parameters),
}
"""The metrics of every run; scorers of some tasks and logged diagnostics are added under their own names."""
BOUNDS: dict[str, Callable[[Observation], Interval]] = {
    "accuracy": lambda one: _above_chance(one.chance),
    "error": lambda one: (0.0, 1 - _above_chance(one.chance)[0]),
    "normalized_accuracy": lambda one: SHARE,
    "exact_match": lambda one: _above_chance((one.evaluation or one.record).exact_match.chance),
    "solved": lambda one: SHARE,
    "validation_accuracy": lambda one: _above_chance(one.record.accuracy.chance),
    "steps": lambda one: (0.0, float(one.record.spec.train.max_steps)),
    "time_to_solve": lambda one: (0.0, float(one.record.spec.train.max_steps)),
}
"""The lowest mean and the highest value of the metrics that have bounds; all others are unbounded."""
BELOW_CHANCE: dict[str, Callable[[Observation], Interval]] = {
    "error": lambda one: SHARE,
    "normalized_accuracy": lambda one: (share_above_chance(0.0, one.chance), 1.0),
}
"""The bounds in a cell with a run below chance, where they are not those of a share of which 0 is the lowest."""


def metric_bounds(name: str, runs: Sequence[Observation], numbers: Sequence[float] | None = None) -> Interval | None:
    """The bounds of a metric in one cell, given its numbers where they are known; None where it is unbounded.

    No run of a task is expected to be below chance. If one is, the bounds are those of an accuracy from 0.
    """
    known = [ends for one in runs if (ends := _bounds(name, one)) is not None]
    if not known:
        return None
    lows, highs = zip(*known, strict=True)
    numbers = [one.metric(name) for one in runs] if numbers is None else numbers
    if name in BELOW_CHANCE and any(not min(lows) <= number <= max(highs) for number in numbers if number == number):
        lows, highs = zip(*(BELOW_CHANCE[name](one) for one in runs if not one.failed), strict=True)
    return _containing(lows, highs, numbers)


def accuracy_bounds(chances: Sequence[float], numbers: Sequence[float]) -> Interval | None:
    """The bounds of the accuracy in one cell, as :func:`metric_bounds` gives them, from chances and accuracies."""
    if not chances:
        return None
    lows, highs = zip(*map(_above_chance, set(chances)), strict=True)
    return _containing(lows, highs, numbers)


def _containing(lows: Sequence[float], highs: Sequence[float], numbers: Sequence[float]) -> Interval:
    """Bounds that contain all numbers."""
    values = [number for number in numbers if not math.isnan(number)]
    low = min(lows)
    return (low if all(value >= low for value in values) else min(0.0, *values)), max(*highs, *values)


def _bounds(name: str, run: Observation) -> Interval | None:
    """The bounds of a metric or a scorer in one run; None where it has none."""
    if name in METRICS or name in TIMES:
        return BOUNDS[name](run) if name in BOUNDS else None
    score = (run.evaluation or run.record).scores.get(name)
    return None if score is None else score.bounds


def observations(records: Iterable[Record]) -> list[Observation]:
    """All observations of some records, failed runs included; each run counts once."""
    cache: Cache = {}
    known: dict[tuple[int, ...], tuple[Fields, Any, Any]] = {}
    result = []
    for record in distinct(records):
        spec = record.spec
        key = (id(spec.task), id(spec.model), id(spec.train), int(bool(spec.continue_from)))
        own = known.get(key)
        if own is None:
            own = known[key] = run_fields(spec, cache), spec.task.level, trained_on(spec)
        settings, level, trained = own
        result.append(Observation(record, settings, "", level, trained))
        for one in record.evaluations:
            result.append(Observation(record, settings, one.subtask, one.level, trained, one))
    return result


def varying(observed: Sequence[Observation]) -> list[str]:
    """Fields, other than those of the location, in which observations differ; the variant first."""
    distinct = list({id(one.settings): one.settings for one in observed}.values())
    names = dict.fromkeys(name for settings in distinct for name in settings if name not in LOCATION)
    result = []
    for name in sorted(names, key=lambda name: name.startswith("task.")):
        # An option of one task is compared only among the runs on that task, a field of transformers among these.
        compared = [settings for settings in distinct if name in settings] if _may_lack(name) else distinct
        # Most values are those of sections that runs share: one text for each object.
        values = {id(value): value for value in (settings.get(name) for settings in compared)}
        if len(values) > 1 and len(set(map(repr, values.values()))) > 1:
            result.append(name)
    return result


def _may_lack(name: str) -> bool:
    """Whether some runs do not have a field: an option of another task, or a field of the transformer."""
    return name.startswith(("task.", "modifiers.")) or name in ModelSpec.model_fields


def check_field(name: str, observed: Sequence[Observation], where: str) -> str:
    """The short name of a field, checked: ``train.lr`` is ``lr``.

    Raises:
        UnknownNameError: No run has the field.
    """
    short = short_name(name)
    known = set(LOCATION).union(*{id(one.settings): one.settings for one in observed}.values())
    if short not in known:
        raise unknown_field(name, known, where)
    return short


def check_metric(name: str, observed: Sequence[Observation], where: str) -> None:
    """Check that some run has the metric.

    Raises:
        InvalidValueError: It is the perplexity, and all answers are numbers.
        UnknownNameError: No run has it.
    """
    check_perplexity(name, [one.record for one in observed], where)
    if name not in (*METRICS, *TIME_METRICS) and not any(
        name in {*one.record.diagnostics, *one.record.scores} for one in observed
    ):
        logged = {known for one in observed for known in (*one.record.diagnostics, *one.record.scores)}
        raise unknown("metric", name, {*METRICS, *TIME_METRICS, *logged}, where=where)


def check_perplexity(name: str, records: Sequence[Record], where: str) -> None:
    """Refuse the perplexity where no run has one.

    Args:
        name: Any metric.
        records: The runs.
        where: Where it was named.

    Raises:
        InvalidValueError: It is the perplexity, and the answers of all runs are numbers.
    """
    if name == "perplexity" and records and all(record.squared_errors for record in records):
        problem = "Perplexity is of guesses among tokens; here answers are numbers, and losses squared errors."
        raise InvalidValueError(problem, "Take another metric: loss, or a scorer of the task.", where=where)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
