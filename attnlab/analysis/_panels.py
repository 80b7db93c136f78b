"""Observations -> panels, and the fields that tell their rows apart.

A panel is a task, or a subtask of a mixture, tested where it was trained: the ladder. What was also tested on other levels
than it was trained on gets a panel for each level, or range of levels, that it was trained on.
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
    complexity: str
    subtask: str = ""
    trained: Any = None
    """What all its runs were trained on; None where each was trained on the level it was tested on."""
    observations: list[Observation] = field(default_factory=list, repr=False)

    @property
    def title(self) -> str:
        """The task, the member, and what it was trained on."""
        subtask = f" · {self.subtask}" if self.subtask else ""
        return f"{self.task}{subtask}" + (
            f", trained on {self.complexity} {self.trained}" if self.trained is not None else ""
        )


def panels(seen: Sequence[Observation], named: Sequence[str]) -> list[Panel]:
    """The panels of some observations.

    Args:
        seen: All of them.
        named: Fields that rows or columns tell apart; ``trained`` among them keeps a task in one panel.
    """
    places: dict[tuple[str, str, str], list[Observation]] = {}
    for one in seen:
        if one.subtask or "subtask" not in named:
            subtask = "" if "subtask" in named else one.subtask
            places.setdefault((one.get("task"), one.get("complexity"), subtask), []).append(one)
    result = []
    for place, stored in places.items():
        if "trained" in named or "level" not in named:
            result.append(Panel(*place, None, stored if "trained" in named else _home(stored)))
            continue
        away = dict.fromkeys(one.trained for one in stored if not one.at_trained_level)
        home = _home(stored)
        if home and not (away and len({one.level for one in home}) == 1):
            result.append(Panel(*place, None, home))
        result += [Panel(*place, level, [one for one in stored if one.trained == level]) for level in away]
    return result


def _home(stored: Sequence[Observation]) -> list[Observation]:
    """What was tested where it was trained; a run trained on a range of levels stands for its own."""
    return [one for one in stored if one.at_trained_level or (one.level == one.record.spec.task.level)]


def labels(
    result: Sequence[Panel], differing: Sequence[str], requested: tuple[str, ...], column: str, tuned: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The fields that name a row; those that differ along with them; those that rows are averaged over.

    Args:
        result: The panels.
        differing: Fields in which observations differ and that are not tuned.
        requested: Fields that a row is asked to have; none takes what is needed.
        column: The field of the columns.
        tuned: Fields of which each cell takes one value.
    """
    places = ["level"] if column != "level" else []
    saved = [*dict.fromkeys([*(requested or differing), *(() if requested else places)])]
    distinct = [list({(id(one.settings), one.level): one for one in panel.observations}.values()) for panel in result]

    def told(name: str, by: Sequence[str]) -> bool:
        """Whether within every cell the field has one value."""
        for stored in distinct:
            values: dict[Any, Any] = {}
            for one in stored:
                cell = tuple(repr(one.get(other)) for other in (*by, column, *tuned))
                if values.setdefault(cell, repr(one.get(name))) != repr(one.get(name)):
                    return False
        return True

    if not requested:
        for name in reversed([name for name in saved if name not in AXES]):
            others = [other for other in saved if other != name]
            saved = others if told(name, others) else saved
    rest = [name for name in (*differing, *places) if name not in saved]
    merged = [name for name in rest if not told(name, saved)]
    along = [name for name in rest if name not in merged and name not in places and not name.startswith("task.")]
    return tuple(saved) or ("attention",), tuple(along), tuple(merged)
