"""Observations -> panels, and the fields that distinguish their rows.

A panel is a task, or a subtask of a mixture, tested on the level it was trained on: the ladder. Evaluations on other
levels than the trained one get a panel for each level, or range of levels, that the runs were trained on.
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
    """The level, or the range, that all its runs were trained on; None where each was trained on its tested level."""
    observations: list[Observation] = field(default_factory=list, repr=False)

    @property
    def title(self) -> str:
        """The task, the subtask, and the level it was trained on."""
        subtask = f" · {self.subtask}" if self.subtask else ""
        trained = f", trained on {self.complexity} {self.trained}" if self.trained is not None else ""
        return f"{self.task}{subtask}{trained}"


def panels(observed: Sequence[Observation], named: Sequence[str]) -> list[Panel]:
    """The panels of some observations.

    Args:
        observed: All of them.
        named: Fields that rows or columns distinguish; ``trained`` among them keeps a task in one panel.
    """
    by_task: dict[tuple[str, str, str], list[Observation]] = {}
    alike: dict[tuple[int, str], list[Observation]] = {}  # of equal fields: these name the same task
    by_subtask = "subtask" in named
    for one in observed:
        if one.subtask or not by_subtask:
            known = id(one.settings), one.subtask
            if (group := alike.get(known)) is None:
                task = one.get("task"), one.get("complexity"), "" if by_subtask else one.subtask
                group = alike[known] = by_task.setdefault(task, [])
            group.append(one)
    result = []
    for key, group in by_task.items():
        if "trained" in named or "level" not in named:
            result.append(Panel(*key, None, group if "trained" in named else _on_own_level(group)))
            continue
        trained_elsewhere = dict.fromkeys(one.trained for one in group if not one.at_trained_level)
        own = _on_own_level(group)
        has_ladder = bool(own) and not (trained_elsewhere and len({one.level for one in own}) == 1)
        if has_ladder:
            result.append(Panel(*key, _common_range(own), own))
        for trained in trained_elsewhere:
            runs = [one for one in group if one.trained == trained]
            if not has_ladder or len(_on_own_level(runs)) < len(runs):  # else the ladder has them all
                result.append(Panel(*key, trained, runs))
    return result


def _on_own_level(group: Sequence[Observation]) -> list[Observation]:
    """Observations on the trained level; a run trained on a range of levels counts on the level of its spec."""
    return [one for one in group if one.at_trained_level or (one.level == one.record.spec.task.level)]


def _common_range(own: Sequence[Observation]) -> Any:
    """The range that all runs were trained on; None where each has its own, or was trained on its level alone."""
    first, *others = {one.trained for one in own}
    return None if others or first in {one.level for one in own} else first


def labels(
    shown: Sequence[Panel], differing: Sequence[str], requested: tuple[str, ...], column: str, tuned: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The fields that name a row; those that differ along with them; those that rows are averaged over.

    Args:
        shown: The panels.
        differing: Fields in which observations differ and that are not tuned.
        requested: Fields that the user wants in a row; none takes the fields that distinguish the runs.
        column: The field of the columns.
        tuned: Fields of which each cell takes one value.
    """
    level = ["level"] if column != "level" else []
    chosen = [*dict.fromkeys([*(requested or differing), *(() if requested else level)])]
    distinct = [list({(id(one.settings), one.level): one for one in panel.observations}.values()) for panel in shown]

    def is_determined(name: str, by: Sequence[str]) -> bool:
        """Whether the field has one value within every cell."""
        for group in distinct:
            values: dict[Any, Any] = {}
            for one in group:
                cell = tuple(repr(one.get(other)) for other in (*by, column, *tuned))
                if values.setdefault(cell, repr(one.get(name))) != repr(one.get(name)):
                    return False
        return True

    if not requested:
        for name in reversed([name for name in chosen if name not in AXES]):
            others = [other for other in chosen if other != name]
            chosen = others if is_determined(name, others) else chosen
    rest = [name for name in (*differing, *level) if name not in chosen]
    merged = [name for name in rest if not is_determined(name, chosen)]
    along = [name for name in rest if name not in merged and name not in level and not name.startswith("task.")]
    return tuple(chosen) or ("attention",), tuple(along), tuple(merged)
