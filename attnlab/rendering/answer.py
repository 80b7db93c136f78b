"""The answer to a comparison in words: who is ahead and where, up to which level each solves, and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from attnlab.analysis.comparisons import BySeed, Comparison, LevelComparison, Outcome
from attnlab.experiments.decision_search import Round
from attnlab.formatting import duration

SHOWN = 8
"""Comparisons that are told in words at most."""
STYLES: Mapping[Outcome, str] = {"undecided": "yellow"}
TELLING = 1.1
"""A ratio of step times below this, or above its inverse, is not told: measured in a sweep, it is noise."""


@dataclass(frozen=True)
class Answers:
    """One paragraph for each comparison."""

    comparisons: Sequence[Comparison]

    def __rich__(self) -> RenderableType:
        """The paragraphs, and how many are left out."""
        told = [Text(answer(one), style=STYLES.get(one.outcome, "bold")) for one in self.shown]
        if more := len(self.comparisons) - len(told):
            told.append(Text(f"And {more} more comparisons; --json has them.", style="dim"))
        return Group(*told)

    @property
    def shown(self) -> Sequence[Comparison]:
        """Those that are told; undecided ones come last where there are too many."""
        if len(self.comparisons) <= SHOWN:
            return self.comparisons
        return sorted(self.comparisons, key=lambda one: one.outcome == "undecided")[:SHOWN]


def answer(comparison: Comparison) -> str:
    """Tell what is known of a comparison.

    Args:
        comparison: The comparison.

    Returns:
        A few sentences.
    """
    if not comparison.by_level:
        return f"{_who(comparison)}: nothing has been run yet."
    sentences = [_outcome(comparison), _reach(comparison), _speed(comparison)]
    return " ".join(filter(None, sentences))


def rounds_text(rounds: Sequence[Round]) -> str:
    """Tell in which order runs were chosen.

    Args:
        rounds: The rounds.

    Returns:
        ``16 (2 seeds), 8 (2), 8 (3 .. 9)``: successive rounds on one level are merged; empty without rounds.
    """
    merged: list[tuple[Round, int]] = []
    for one in rounds:
        same = merged and (merged[-1][0].variant, merged[-1][0].reference, merged[-1][0].level)
        if same == (one.variant, one.reference, one.level):
            merged[-1] = (one, merged[-1][1])
        else:
            merged.append((one, one.seeds))
    several = len({(one.variant, one.reference) for one in rounds}) > 1
    texts: list[str] = []
    for one, first in merged:
        count = f"{one.seeds}" if one.seeds == first else f"{first} .. {one.seeds}"
        unit = " seed" if not texts and one.seeds == 1 else " seeds" if not texts else ""
        name = f"{one.variant} " if several else ""
        texts.append(f"{name}{one.level} ({count}{unit})")
    return ", ".join(texts)


def _who(comparison: Comparison) -> str:
    other = f" and {comparison.reference}" if comparison.reference else ""
    return f"{comparison.variant}{other} on {comparison.task}"


def _outcome(comparison: Comparison) -> str:
    ours, theirs, task = comparison.variant, comparison.reference, comparison.task
    by_level, seeds = comparison.by_level, comparison.seeds
    if comparison.outcome == "undecided":
        return f"{_undecided(comparison)} {_missing(comparison)}"
    if not theirs:
        return f"{ours} on {task}: decided with {seeds} seeds."
    if comparison.outcome == "alike":
        listed = ", ".join(str(level) for level in by_level)
        margin = 100 * comparison.question.equal
        fewest = min(len(one.seeds) for one in by_level.values())
        return (
            f"{ours} and {theirs} are alike on {task} at {listed}: within {margin:g} points in most seeds; decided "
            f"with {fewest} seeds or more on each level."
        )
    parts = []
    for word in ("ahead", "behind"):
        won = [one for one in by_level.values() if one.outcome == word]
        if won:
            parts.append(f"{word} of {theirs}".replace("behind of", "behind") + f" at {_levels(won)}")
    most = max(len(one.seeds) for one in by_level.values() if one.outcome in ("ahead", "behind"))
    return f"{ours} is {' and '.join(parts)} on {task}; decided with {most} seeds."


def _levels(decided: Sequence[LevelComparison]) -> str:
    return ", ".join(f"{one.level} by {_points(_mean(one.differences))} points ({_range(one)})" for one in decided)


def _undecided(comparison: Comparison) -> str:
    if not comparison.reference:
        return f"{comparison.variant} on {comparison.task}: undecided after {comparison.seeds} seeds."
    told = max(comparison.by_level.values(), key=lambda one: abs(_mean(one.differences)))
    found = f"{_points(_mean(told.differences))} points at {told.level} ({_range(told)})"
    return f"{_who(comparison)}: undecided after {comparison.seeds} seeds; the largest difference is {found}."


def _missing(comparison: Comparison) -> str:
    levels, runs = comparison.deciding()
    if math.isinf(runs):
        return "Seeds like these decide nothing: they differ from each other, but not in one direction."
    count = "About 1 more run" if round(runs) == 1 else f"About {runs:.0f} more runs"
    seconds = max((one.seconds for one in levels), default=0.0)
    time = f", {duration(runs * seconds)} of one process," if seconds else ""
    return f"{count} like these{time} would decide it."


def _reach(comparison: Comparison) -> str:
    def text(runs: Mapping[Any, BySeed]) -> str:
        level = comparison.solved_up_to(runs)
        return "no level that was run" if level is None else f"up to {level}"

    if not comparison.reference:
        return f"At least half of the seeds solve {text(comparison.ours)}."
    ours, theirs = text(comparison.ours), text(comparison.theirs)
    if ours == theirs:
        return f"Both solve {ours} in at least half of the seeds."
    return f"{comparison.variant} solves {ours}, {comparison.reference} {theirs}, each in at least half of the seeds."


def _speed(comparison: Comparison) -> str:
    ratios = []
    for one in comparison.by_level.values() if comparison.reference else ():
        for seed in one.seeds:
            ours, theirs = one.ours[seed], one.theirs[seed]
            seconds = [float(run.environment.get("seconds", 0.0)) / max(1, run.steps) for run in (ours, theirs)]
            if all(seconds):
                ratios.append(seconds[0] / seconds[1])
    if len(ratios) < 3:
        return ""
    ratio = statistics.median(ratios)
    if ratio >= TELLING:
        return f"A step of {comparison.variant} takes {ratio:.1f} times as long."
    return f"A step of {comparison.reference} takes {1 / ratio:.1f} times as long." if ratio <= 1 / TELLING else ""


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _points(share: float) -> str:
    return f"{100 * share + 0.0:.0f}".replace("-0", "0") if abs(share) < 0.005 else f"{100 * share:.0f}"


def _range(one: LevelComparison) -> str:
    return " to ".join(_points(end) for end in one.interval)
