"""The levels that an experiment tests, in the order of its ladders.

A claim about several levels is decided once all of them have been run, and a slope goes through them in this order. The
plan of a store is not kept whole: it is made from the experiment once more, without a look at models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from attnlab.analysis._training_ranges import ends_at
from attnlab.analysis.fields import matches
from attnlab.config.experiment import Experiment, full_key
from attnlab.errors import AttnlabError
from attnlab.run_fields import run_fields, short_name, trained_on
from attnlab.specs import RunSpec
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.levels_to_run import in_ladder_order, levels_to_run, trained_ladder

VARIED = object()
"""Stands for any value of a field."""


class PlannedLevel(NamedTuple):
    """A level that runs are tested on."""

    task: str
    level: Any
    fields: Mapping[str, Any]
    """The fields of its task, what is trained on, and the level; :data:`VARIED` where the experiment varies one."""
    is_own: bool
    """Whether these runs are trained on it."""


Plan = Sequence[PlannedLevel]


def planned_levels(experiment: Experiment) -> Plan:
    """List the levels that an experiment tests.

    Args:
        experiment: The experiment.

    Returns:
        The levels, those of a ladder in its order, once for each training. Empty where they are not known: a ladder is
        not found any more, or the levels of training differ between variants.
    """
    varied = {full_key(key) for group in (experiment.grid, *experiment.zip) for key in group}
    if any(key.startswith("task.train") for key in varied):
        return ()
    found: list[PlannedLevel] = []
    try:
        for entry in experiment.ladders:
            ladder = trained_ladder(entry, find_ladder(entry.ladder))
            options = {name: value for name, value in entry.options.items() if name != "train"}
            tested = []
            for own, evaluate in levels_to_run(entry, ladder):
                spec = RunSpec(task=task_spec(ladder, options, own, evaluate))
                tested += [_planned(spec, level, varied) for level in (own, *spec.task.evaluate)]
            order = {level: place for place, level in enumerate(_in_order(tested, ladder.levels))}
            found += sorted(tested, key=lambda one: order[one.level])
    except AttnlabError:
        return ()
    return found


def _in_order(tested: Plan, ladder: Sequence[Any]) -> Sequence[Any]:
    return in_ladder_order([*dict.fromkeys(one.level for one in tested)], ladder)


def _planned(spec: RunSpec, level: Any, varied: Iterable[str]) -> PlannedLevel:
    trained, task = trained_on(spec), spec.task
    fields = {name: value for name, value in run_fields(spec).items() if name.startswith("task.")}
    fields |= {"task": task.name, "complexity": task.complexity, "trained": trained, "level": level}
    is_own = level == trained or (level == task.level and ends_at(trained, level))
    return PlannedLevel(task.name, level, {**fields, **dict.fromkeys(varied, VARIED)}, is_own)


def levels_of(plan: Plan, wanted: Mapping[str, Any]) -> list[PlannedLevel]:
    """Choose the levels that some runs are tested on.

    Args:
        plan: All levels.
        wanted: Field -> value of the runs, or a list of values.

    Returns:
        The levels on which these runs are tested. Where runs of several levels are tested on one level, those that are
        trained on it are meant, unless ``trained`` is named.
    """
    named = {short_name(name): value for name, value in wanted.items()}
    found = [one for one in plan if all(_may_have(one, name, value) for name, value in named.items())]
    own = {(one.task, one.level) for one in found if one.is_own}
    if "trained" in named:
        return found
    return [one for one in found if one.is_own or (one.task, one.level) not in own]


def _may_have(planned: PlannedLevel, name: str, wanted: Any) -> bool:
    """Whether runs on a level may have a value in a field; those of models and of training are not known here."""
    if name not in ("task", "complexity", "trained", "level") and not name.startswith("task."):
        return True
    value = planned.fields.get(name)
    return value is VARIED or matches(name, value, wanted)


def place_in(plan: Plan, task: Any, level: Any) -> tuple[int, bool, Any]:
    """Tell where a level stands among the others of its task.

    Args:
        plan: All levels.
        task: The task.
        level: The level.

    Returns:
        A key to sort by: planned levels in their order, then others, numbers before words.
    """
    places = (place for place, one in enumerate(plan) if (one.task, one.level) == (task, level))
    return next(places, len(plan)), isinstance(level, str), level
