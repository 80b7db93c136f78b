"""Records -> observations: one number, and everything that says where it was taken.

A record gives one observation on its own level, and one for each of its readings on other levels and of members. Fields
are named as on the command line: ``attention``, ``position``, ``complexity``, ``seed``, ``width``, ``lr``,
``task.length``. ``trained`` is the level, or the range of levels, that the run was trained on.

A run that failed shows nothing. A run that diverged counts as what its weights showed at that moment, and never as
solved: leaving it out would flatter whatever diverges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from attnlab.analysis.fields import LOCATION, Cache, Fields, run_fields, short_name, trained_on
from attnlab.errors import unknown
from attnlab.records import SOLVED, Evaluation, Record


class Observation(NamedTuple):
    """One run on one level."""

    record: Record
    settings: Fields
    """What the run was; one mapping for all runs that differ in nothing but where."""
    subtask: str
    level: Any
    trained: Any
    evaluation: Evaluation | None = None

    def get(self, name: str) -> Any:
        """A field by name; None where the run has no such field."""
        if name == "seed":
            return self.record.spec.seed
        if name in ("subtask", "level", "trained"):
            return getattr(self, name)
        return self.settings.get(name)

    @property
    def at_trained_level(self) -> bool:
        """Whether this is the level the run was trained on."""
        return self.level == self.trained

    @property
    def failed(self) -> bool:
        """Whether there is nothing to see."""
        return self.record.status == "failed"

    @property
    def chance(self) -> float:
        """Accuracy of a blind guess there."""
        return (self.evaluation or self.record).accuracy.chance

    def value(self, name: str) -> float:
        """A value by name; nan where this run has none."""
        if self.failed:
            return math.nan
        known = VALUES.get(name)
        return known(self) if known else self.record.diagnostics.get(name, math.nan)


def _accuracy(seen: Observation) -> float:
    return (seen.evaluation or seen.record).accuracy.mean


def _loss(seen: Observation) -> float:
    return _number((seen.evaluation or seen.record).loss)


VALUES: dict[str, Callable[[Observation], float]] = {
    "accuracy": _accuracy,
    "exact_match": lambda seen: (seen.evaluation or seen.record).exact_match.mean,
    "loss": _loss,
    "perplexity": lambda seen: math.exp(min(700.0, _loss(seen))),
    "solved": lambda seen: float(_accuracy(seen) >= SOLVED and seen.record.status == "done"),
    "validation": lambda seen: seen.record.history[-1].accuracy if seen.record.history else math.nan,
    "steps": lambda seen: float(seen.record.steps),
    "seconds": lambda seen: _number(seen.record.environment.get("seconds")),
    "parameters": lambda seen: float(seen.record.parameters),
}
"""What can be reported of every run; what was measured of some comes on top, by its own names."""


def observations(records: Iterable[Record]) -> list[Observation]:
    """Everything the records have seen, failed runs included."""
    flat: Cache = {}
    whole: dict[tuple[int, ...], Fields] = {}
    seen = []
    for record in records:
        spec = record.spec
        key = (id(spec.task), id(spec.model), id(spec.train))
        settings = whole.get(key)
        if settings is None:
            settings = whole[key] = run_fields(spec, flat)
        level = spec.task.level
        trained = trained_on(spec)
        seen.append(Observation(record, settings, "", level, trained))
        seen += [Observation(record, settings, r.subtask, r.level, trained, r) for r in record.evaluations]
    return seen


def varying(seen: Sequence[Observation]) -> list[str]:
    """Fields, other than where a run was, in which observations differ; the variant first."""
    distinct = list({id(one.settings): one.settings for one in seen}.values())
    names = dict.fromkeys(name for settings in distinct for name in settings if name not in LOCATION)
    result = []
    for name in sorted(names, key=lambda name: name.startswith("task.")):
        # Options of one task say nothing of the runs on another.
        requested = [one for one in distinct if name in one] if name.startswith("task.") else distinct
        if len({repr(one.get(name)) for one in requested}) > 1:
            result.append(name)
    return result


def check_field(name: str, seen: Sequence[Observation], where: str) -> str:
    """The field that is meant: ``train.lr`` is ``lr``.

    Raises:
        UnknownNameError: no run has it.
    """
    short = short_name(name)
    known = {
        *LOCATION,
        *(name for settings in {id(o.settings): o.settings for o in seen}.values() for name in settings),
    }
    if short not in known:
        raise unknown("field", name, known, where=where)
    return short


def check_value(name: str, seen: Sequence[Observation], where: str) -> None:
    """See that some run has that value.

    Raises:
        UnknownNameError: none has.
    """
    if name not in VALUES and not any(name in one.record.diagnostics for one in seen):
        measured = {name for one in seen for name in one.record.diagnostics}
        raise unknown("value", name, {*VALUES, *measured}, where=where)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
