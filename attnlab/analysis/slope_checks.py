"""What a claim about a slope has to be: of one task, over several levels, of differences on the same levels.

On records a claim whose levels are not run yet is undecided; what the plan will never have is refused before a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attnlab.analysis._observations import observations
from attnlab.analysis.fields import matches
from attnlab.analysis.strata import strata
from attnlab.config.experiment import Claim
from attnlab.errors import InvalidValueError
from attnlab.records import Record

LOCATIONS = ("task", "subtask", "level")
"""Fields that say where runs are tested."""


def names_location(claim: Claim) -> bool:
    """Tell whether the two sides of a claim are tested in different places.

    Args:
        claim: The claim.

    Returns:
        Whether its other runs are of another task, subtask or level.
    """
    return any(name in LOCATIONS for name in claim.than)


def check_slope_form(claim: Claim, where: str) -> None:
    """Refuse a slope of what has none, whatever the runs are.

    Args:
        claim: The claim; one that is about no slope is accepted.
        where: Where it stands, for messages.

    Raises:
        InvalidValueError: It is about the slope of a ratio, or its sides are on different levels.
    """
    if not claim.slope:
        return
    if claim.ratio:
        problem = f"'{claim.says}': a slope is of a metric or of a difference, not of a ratio."
        raise InvalidValueError(problem, "Leave out ratio: the slope is then that of the difference.", where=where)
    if names_location(claim):
        named = " and ".join(name for name in LOCATIONS if name in claim.than)
        problem = f"'{claim.says}': a slope is of differences on the same levels, and than names another {named}."
        hint = f"Move {named} from than into of, which names it for both sides; or leave out slope."
        raise InvalidValueError(problem, hint, where=where)


def check_slope(claim: Claim, records: Sequence[Record], tuned: Sequence[str], where: str) -> None:
    """Refuse a claim about a slope over levels that a plan does not have.

    Args:
        claim: The claim; one that is about no slope is accepted.
        records: Records that stand for all runs of the plan.
        tuned: Fields of which each cell takes the value with the best validation accuracy.
        where: Where it stands, for messages.

    Raises:
        InvalidValueError: A level that it names is not run, or its runs are of one level, or of several tasks.
    """
    if not claim.slope:
        return
    observed = observations(records)
    locations = list(strata(observed, claim.of, "accuracy", tuned, where))  # which every run has
    tasks = {location[0] for location in locations} or {one.get("task") for one in observed}
    every = list(dict.fromkeys(one.level for one in observed if one.get("task") in tasks))
    for wanted in _listed(claim.of.get("level")):
        if not any(matches("level", location[-1], wanted) for location in locations):
            hint = f"Levels that are run: {', '.join(map(str, every))}."
            raise InvalidValueError(f"'{claim.says}': no run is on level '{wanted}'.", hint, where=where)
    for place, name in enumerate(("task", "subtask")):
        if len(found := list(dict.fromkeys(location[place] for location in locations))) > 1:
            problem = f"'{claim.says}': a slope is over the levels of one {name}, and these runs are of {len(found)}."
            raise InvalidValueError(problem, f"Name one in of: {name}: {found[0]}.", where=where)
    if len(locations) == 1:
        problem = f"'{claim.says}': a slope is over several levels, and these runs are of one: {locations[0][-1]}."
        hint = f"List several: level: {every}." if len(every) > 1 else "Let the ladder of the sweep have more levels."
        raise InvalidValueError(problem, hint, where=where)


def _listed(value: Any) -> list[Any]:
    """The values that are named: those of a list, or one."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
