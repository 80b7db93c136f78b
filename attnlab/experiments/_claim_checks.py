"""Claims, checked before the first run: each must be about runs that the plan has.

A claim names runs by fields, as the report does: ``attention``, ``position``, ``level``, ``width``, ``lr``,
``task.length``. A level may be one that is only tested.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from attnlab.analysis.fields import matches
from attnlab.config.experiment import Experiment
from attnlab.errors import InvalidValueError, unknown
from attnlab.run_fields import run_fields, short_name, trained_on
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import build

Fields = dict[str, list[Any]]
"""Field -> the values at which one run is tested: several levels and subtasks, one of everything else."""
SHOWN = 8
"""Values that a message lists at most."""


def check_claims(experiment: Experiment, specs: Sequence[RunSpec]) -> None:
    """Refuse a claim about runs that the plan does not have.

    Args:
        experiment: The experiment, with the parts in its claims resolved.
        specs: The plan.

    Raises:
        UnknownNameError: No run has a field of the claim.
        InvalidValueError: No run has a value of the claim, or no run has all its values together.
    """
    if not experiment.claims:
        return
    runs = list({(id(spec.task), id(spec.model), id(spec.train)): spec for spec in specs}.values())
    tested = [_tested_at(spec, experiment.seeds) for spec in runs]
    for index, claim in enumerate(experiment.claims):
        ours, theirs = _short_names(claim.of), _short_names(claim.than)
        for side, written, wanted in (("of", claim.of, ours), ("than", claim.than, {**ours, **theirs})):
            for name, value in written.items():
                _check_field(short_name(name), value, tested, experiment.where("claims", index, side, name))
            if written and not any(_all_match(run, wanted) for run in tested):
                listed = ", ".join(f"{name} {value}" for name, value in wanted.items())
                hint = "Each of these is in some run; no run has all of them."
                where = experiment.where("claims", index, side)
                raise InvalidValueError(f"No run of this sweep is {listed}.", hint, where=where)


def _tested_at(spec: RunSpec, seeds: int) -> Fields:
    """The values of each field at which a run is tested: several levels and subtasks, one of everything else."""
    single = {**run_fields(spec), "trained": trained_on(spec)}
    several = {
        "level": [spec.task.level, *spec.task.evaluate],
        "subtask": ["", *build(spec.task).subtasks()],
        "seed": list(range(seeds)),
    }
    return {name: [value] for name, value in single.items()} | several


def _check_field(name: str, wanted: Any, runs: Sequence[Fields], where: str) -> None:
    known = {name for run in runs for name in run}
    if name not in known:
        raise unknown("field", name, known, where=where)
    values = list({str(value): value for run in runs for value in run.get(name, [])}.values())
    if any(matches(name, value, wanted) for value in values):
        return
    close = difflib.get_close_matches(str(wanted), [str(value) for value in values], n=1, cutoff=0.5)
    guess = f"; did you mean '{close[0]}'?" if close else "."
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    hint = f"Its values: {', '.join(str(value) for value in values[:SHOWN])}{more}."
    raise InvalidValueError(f"No run of this sweep has {name} '{wanted}'{guess}", hint, where=where)


def _all_match(run: Fields, wanted: Mapping[str, Any]) -> bool:
    return all(any(matches(name, value, want) for value in run.get(name, [])) for name, want in wanted.items())


def _short_names(wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {short_name(name): value for name, value in wanted.items()}
