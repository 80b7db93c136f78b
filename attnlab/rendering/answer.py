"""The answer to a comparison in words: who is ahead and where, up to which level each solves, and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from attnlab.analysis.comparisons import BySeed, Comparison, LevelComparison
from attnlab.experiments.decision_search import Round
from attnlab.formatting import duration

SHOWN = 8
"""Comparisons that are told in words at most."""
TELLING = 1.1
"""A ratio of step times below this, or above its inverse, is not told: measured in a sweep, it is noise."""


@dataclass(frozen=True)
class Answer:
    """A comparison and what is said of it."""

    comparison: Comparison
    text: str
    decided: bool
    """Whether it is known which of the two is ahead, or that they are alike."""


@dataclass(frozen=True)
class Answers:
    """One paragraph for each comparison."""

    told: Sequence[Answer]

    def __rich__(self) -> RenderableType:
        """The paragraphs, and how many are left out."""
        told = [Text(one.text, style="bold" if one.decided else "yellow") for one in self.shown]
        if more := len(self.told) - len(told):
            told.append(Text(f"And {more} more comparisons; --json has them.", style="dim"))
        return Group(*told)

    @property
    def shown(self) -> Sequence[Answer]:
        """Those that are told; undecided ones come last where there are too many."""
        if len(self.told) <= SHOWN:
            return self.told
        return sorted(self.told, key=lambda one: not one.decided)[:SHOWN]


def answers_until_decided(comparisons: Sequence[Comparison]) -> list[Answer]:
    """Tell what is known of comparisons that were run until they were decided.

    Args:
        comparisons: The comparisons.

    Returns:
        One answer for each.
    """
    return [Answer(one, answer(one), one.outcome != "undecided") for one in comparisons]


def answers_of_plan(comparisons: Sequence[Comparison], by: str, ranks: Mapping[str, str]) -> list[Answer]:
    """Tell what is known of the variants of a ladder after a fixed number of seeds.

    Args:
        comparisons: Each variant with the first.
        by: What the levels count, such as ``pairs``.
        ranks: The rank of each variant, or a range of ranks, by its name.

    Returns:
        One answer for each comparison that has runs on both sides.
    """
    return [_answer_of_plan(one, by, ranks) for one in comparisons if one.by_level]


def _answer_of_plan(comparison: Comparison, by: str, ranks: Mapping[str, str]) -> Answer:
    ours, theirs, seeds = comparison.variant, comparison.reference, comparison.seeds
    (first, last), (their_first, their_last) = (_range_of_ranks(ranks.get(name, "-")) for name in (ours, theirs))
    winner = ours if last < their_first else theirs if their_last < first else ""
    decided = bool(winner) or comparison.outcome != "undecided"
    if winner:
        other = theirs if winner == ours else ours
        outcome = f"{winner} is ahead of {other} by C50; decided with {_seeds(seeds)}."
    elif decided:
        outcome = _outcome(comparison)
    else:
        outcome = f"Which of {theirs} and {ours} is ahead is undecided with {_seeds(seeds)}. {_missing(comparison)}"
    text = " ".join(filter(None, [f"{comparison.task}:", _reach(comparison, by), outcome, _speed(comparison)]))
    return Answer(comparison, text, decided)


def _range_of_ranks(text: str) -> tuple[float, float]:
    """The first and the last rank that a variant may have; any where it has none."""
    if text == "-":
        return 1.0, math.inf
    first, _, last = text.partition("-")
    return float(first), float(last or first)


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
        return f"{ours} on {task}: which levels it solves is decided with {_seeds(seeds)}."
    if comparison.outcome == "alike":
        listed = ", ".join(str(level) for level in by_level)
        margin = 100 * comparison.question.equal
        fewest = min(len(one.seeds) for one in by_level.values())
        return (
            f"{ours} and {theirs} are alike on {task} at {listed}: within {margin:g} points in most seeds; decided "
            f"with {_seeds(fewest)} or more on each level."
        )
    parts = []
    for word in ("ahead", "behind"):
        won = [one for one in by_level.values() if one.outcome == word]
        if won:
            parts.append(f"{word} of {theirs}".replace("behind of", "behind") + f" at {_leads(won)}")
    most = max(len(one.seeds) for one in by_level.values() if one.outcome in ("ahead", "behind"))
    return f"{ours} is {' and '.join(parts)} on {task}; decided with {_seeds(most)}."


def _leads(decided: Sequence[LevelComparison]) -> str:
    """How far one is ahead, or behind, on each level: a distance has no sign."""
    texts = []
    for one in decided:
        sign = -1 if one.outcome == "behind" else 1
        low, high = sorted(sign * end for end in one.interval)
        mean = sign * _mean(one.differences)
        least = _points(low) if _points(low) != "0" else f"{100 * low:.1g}"  # it is decided: the end is not 0
        texts.append(f"{one.level} by {_points(mean)} points ({least} to {_points(high)})")
    return ", ".join(texts)


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _undecided(comparison: Comparison) -> str:
    if not comparison.reference:
        return f"{comparison.variant} on {comparison.task}: undecided after {_seeds(comparison.seeds)}."
    told = max(comparison.by_level.values(), key=lambda one: abs(_mean(one.differences)))
    found = f"above chance is {_points(_mean(told.differences))} points at {told.level} ({_range(told)})"
    return f"{_who(comparison)}: undecided after {_seeds(comparison.seeds)}; the largest difference {found}."


def _missing(comparison: Comparison) -> str:
    levels, runs = comparison.deciding()
    if math.isinf(runs):
        if not any(one for level in comparison.by_level.values() for one in level.differences):
            return "Seeds like these decide nothing: above chance there is no difference between the two."
        return "Seeds like these decide nothing: the differences between the two are not in one direction."
    count = "About 1 more run" if round(runs) == 1 else f"About {runs:,.0f} more runs"
    seconds = max((one.seconds for one in levels), default=0.0)
    time = f", {duration(runs * seconds)} of one process," if seconds else ""
    return f"{count} like these{time} would decide it."


def _at(levels: str, complexity: str) -> str:
    """Levels with the name of the complexity: ``8 pairs``, but ``length 8``; a name in the singular is no unit."""
    if not complexity:
        return levels
    countable = complexity.endswith("s") and not complexity.endswith("us")
    return f"{levels} {complexity}" if countable else f"{complexity} {levels}"


def _reach(comparison: Comparison, complexity: str = "") -> str:
    def text(runs: Mapping[Any, BySeed]) -> str:
        highest, solved = comparison.solved_up_to(runs), comparison.solved_levels(runs)
        if not solved:
            return "no level that was run"
        if solved[-1] == highest:
            return f"up to {_at(str(highest), complexity)}"
        easier = next(level for level in comparison.levels if runs.get(level) and level not in solved)
        return f"{_at(', '.join(map(str, solved)), complexity)} and not {easier}"

    if not comparison.reference:
        return f"At least half of the seeds solve {text(comparison.ours)}."
    ours, theirs = text(comparison.ours), text(comparison.theirs)
    if ours == theirs == "no level that was run":
        return f"Neither {comparison.reference} nor {comparison.variant} solves a level in at least half of the seeds."
    if ours == theirs:
        return f"Both {comparison.reference} and {comparison.variant} solve {ours} in at least half of the seeds."
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
