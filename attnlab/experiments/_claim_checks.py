"""What claims will need, seen before the first run: every one must speak of runs that the plan has.

A claim names runs by fields, as the report does: ``attention``, ``position``, ``complexity``, ``width``, ``lr``,
``task.length``; a level may be one that is only tested, beside the one that is trained.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from attnlab.config.experiment import Experiment
from attnlab.errors import InvalidValueError, unknown
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import build

Fields = dict[str, list[Any]]
"""Field -> the values that one run is seen at: several levels and members, one of everything else."""
SHOWN = 8
"""Values that a message names, at most."""


def check_claims(experiment: Experiment, specs: Sequence[RunSpec]) -> None:
    """Refuse a claim about runs that the plan does not have.

    Raises:
        UnknownNameError: a field that no run has.
        InvalidValueError: a value that no run has, or values that no run has together.
    """
    if not experiment.claims:
        return
    runs = list({(id(spec.task), id(spec.model), id(spec.train)): spec for spec in specs}.values())
    seen = [fields(spec) | {"seed": list(range(experiment.seeds))} for spec in runs]
    for index, claim in enumerate(experiment.claims):
        ours, theirs = _short(claim.of), _short(claim.than)
        for side, written, wanted in (("of", ours, ours), ("than", theirs, {**ours, **theirs})):
            for name, value in written.items():
                place = experiment.where("claims", index, side, name)
                _check_field(name, value, seen, place)
            if written and not any(_all_fit(run, wanted) for run in seen):
                said = ", ".join(f"{name} {value}" for name, value in wanted.items())
                hint = "Each of these is in some run; no run has all of them."
                place = experiment.where("claims", index, side)
                raise InvalidValueError(f"No run of this sweep is {said}.", hint, where=place)


def fields(spec: RunSpec) -> Fields:
    """The fields of one run, as the report names them."""
    task, model, train = (section.all_fields for section in (spec.task, spec.model, spec.train))
    modifiers = {f"modifiers.{name}": value for name, value in model.pop("modifiers").items()}
    for name in ("attention", "position", "matched"):
        model.pop(name)
    options = {f"task.{name}": value for name, value in task["options"].items() if name != task["complexity"]}
    one = {
        "task": task["name"],
        "complexity": task["complexity"],
        "attention": spec.variant,
        "position": str(spec.model.position),
        **model,
        **modifiers,
        **train,
        **options,
        "task.train": ", ".join(
            f"{name}={value}" for name, value in task["train"].items() if name != task["complexity"]
        ),
        "seed": spec.seed,
        "trained": spec.task.level,
    }
    several = {
        "complexity": [spec.task.level, *spec.task.evaluate],
        "member": ["", *build(spec.task).subtasks()],
    }
    return {name: [value] for name, value in one.items()} | several


def _check_field(name: str, value: Any, runs: Sequence[Fields], where: str) -> None:
    known = {name for run in runs for name in run}
    if name not in known:
        raise unknown("field", name, known, where=where)
    there = list({str(stored): stored for run in runs for stored in run.get(name, [])}.values())
    if any(_fits(stored, value) for stored in there):
        return
    close = difflib.get_close_matches(str(value), [str(stored) for stored in there], n=1, cutoff=0.5)
    guess = f"; did you mean '{close[0]}'?" if close else "."
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    hint = f"It has: {', '.join(str(stored) for stored in there[:SHOWN])}{more}."
    raise InvalidValueError(f"No run of this sweep has {name} '{value}'{guess}", hint, where=where)


def _short(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Fields without their section: ``train.lr`` is ``lr``."""
    return {
        name.rpartition(".")[2] if name.startswith(("model.", "train.")) else name: value
        for name, value in wanted.items()
    }


def _all_fit(run: Fields, wanted: Mapping[str, Any]) -> bool:
    return all(any(_fits(stored, value) for stored in run.get(name, [])) for name, value in wanted.items())


def _fits(stored: Any, wanted: Any) -> bool:
    """Whether a value is the one that is wanted, or one of those; as claims are judged."""
    if isinstance(wanted, list | tuple):
        return any(_fits(stored, one) for one in wanted)
    return stored == wanted or str(stored) == str(wanted)
