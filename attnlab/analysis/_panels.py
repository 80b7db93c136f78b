"""Observations -> panels, and the fields that tell their rows apart.

A panel is a task, or a member of a medley, tested where it was trained: the ladder. What was also tested on other rungs
than it was trained on gets a panel for each rung, or range of rungs, that it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from attnlab.analysis._observations import Observation

AXES = ("attention", "position")
"""Fields that name a row wherever they differ."""


@dataclass(frozen=True)
class Panel:
    """Observations that are shown together."""

    task: str
    knob: str
    member: str = ""
    trained: Any = None
    """What all its runs were trained on; None where each was trained on the rung it was tested on."""
    seen: list[Observation] = field(default_factory=list, repr=False)

    @property
    def title(self) -> str:
        """The task, the member, and what it was trained on."""
        member = f" · {self.member}" if self.member else ""
        return f"{self.task}{member}" + (f", trained on {self.knob} {self.trained}" if self.trained is not None else "")


def panels(seen: Sequence[Observation], named: Sequence[str]) -> list[Panel]:
    """The panels of some observations.

    Args:
        seen: All of them.
        named: Fields that rows or columns tell apart; ``trained`` among them keeps a task in one panel.
    """
    places: dict[tuple[str, str, str], list[Observation]] = {}
    for one in seen:
        if one.member or "member" not in named:
            member = "" if "member" in named else one.member
            places.setdefault((one.get("task"), one.get("knob"), member), []).append(one)
    found = []
    for place, held in places.items():
        if "trained" in named or "complexity" not in named:
            found.append(Panel(*place, None, held if "trained" in named else _home(held)))
            continue
        away = dict.fromkeys(one.trained for one in held if not one.at_home)
        home = _home(held)
        if home and not (away and len({one.complexity for one in home}) == 1):
            found.append(Panel(*place, None, home))
        found += [Panel(*place, rung, [one for one in held if one.trained == rung]) for rung in away]
    return found


def _home(held: Sequence[Observation]) -> list[Observation]:
    """What was tested where it was trained; a run trained on a range of rungs stands for its own."""
    return [one for one in held if one.at_home or (one.complexity == one.record.spec.task.complexity)]


def labels(
    found: Sequence[Panel], differing: Sequence[str], asked: tuple[str, ...], column: str, tuned: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The fields that name a row; those that differ along with them; those that rows are averaged over.

    Args:
        found: The panels.
        differing: Fields in which observations differ and that are not tuned.
        asked: Fields that a row is asked to have; none takes what is needed.
        column: The field of the columns.
        tuned: Fields of which each cell takes one value.
    """
    places = ["complexity"] if column != "complexity" else []
    kept = [*dict.fromkeys([*(asked or differing), *(() if asked else places)])]
    distinct = [list({(id(one.settings), one.complexity): one for one in panel.seen}.values()) for panel in found]

    def told(name: str, by: Sequence[str]) -> bool:
        """Whether within every cell the field has one value."""
        for held in distinct:
            values: dict[Any, Any] = {}
            for one in held:
                cell = tuple(repr(one.get(other)) for other in (*by, column, *tuned))
                if values.setdefault(cell, repr(one.get(name))) != repr(one.get(name)):
                    return False
        return True

    if not asked:
        for name in reversed([name for name in kept if name not in AXES]):
            others = [other for other in kept if other != name]
            kept = others if told(name, others) else kept
    rest = [name for name in (*differing, *places) if name not in kept]
    merged = [name for name in rest if not told(name, kept)]
    along = [name for name in rest if name not in merged and name not in places and not name.startswith("task.")]
    return tuple(kept) or ("attention",), tuple(along), tuple(merged)
