"""What follows from the measurements of a level, in sentences.

    labels    the solver agrees with every label; no past has two answers; what has an answer is asked
    leak      no more test sequences stand in the training sample than chance puts there
    chance    the declared chance lies within what blind guesses reach
    ceiling   solver and shortcuts are held to the declared ceiling where it is below 1
    shortcut  no shortcut solves it, but for the one that is the point of the task

A level of so few sequences that a sample holds them all is solved by any table: that is told, and not held against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from attnlab.records import SOLVED
from attnlab.testing._level_audit import LevelAudit
from attnlab.testing.finding import Finding, Outcome

WIDE = 4.5
"""Standard errors that a measured share may lie from what is declared: chance goes further once in 100,000 times."""
MUCH = 0.02
"""How far above chance the commonest answer is worth telling."""


def apply_rules(level: LevelAudit) -> list[Finding]:
    """Every finding about the level."""
    return [Finding(check, *told) for check, judge in RULES.items() for told in judge(level)]


Evidence = Sequence[tuple[Outcome, str]]


def _labels(level: LevelAudit) -> Evidence:
    """Unambiguous, by the solver and by one another."""
    written, ceiling, result = level.labels, level.task.best_accuracy, list[tuple[Outcome, str]]()
    if level.tokens > level.task.vocabulary:
        result.append(("fail", f"The token {level.tokens - 1} stands outside a vocabulary of {level.task.vocabulary}."))
    if written.raised:
        result.append(("fail", f"The solver fails with {written.raised}."))
    elif not written.sequences:
        result.append(("told", "No solver is known, so no label is checked by one."))
    elif ceiling == 1 and written.agreed < written.asked:
        result.append(("fail", f"The solver agrees with {share(written.share)} of the labels: {written.wrong}."))
    if ceiling == 1 and written.contradictions:
        result.append(("fail", f"Labels are ambiguous: {_pasts(written.contradictions)} with different answers."))
    return result


def _questions(level: LevelAudit) -> Evidence:
    """Asked wherever there is an answer: a token that repeats a question is one."""
    written = level.labels
    if not written.unasked:
        return []
    times = "once" if written.unasked == 1 else f"{written.unasked:,} times"
    text = f"A question stands unanswered {times}, the known defect of random fillers: {written.left}."
    return [("fail", text)]


def _leak(level: LevelAudit) -> Evidence:
    """No more repeats than chance makes."""
    result = level.repeats
    if result.leaks:
        text = f"{result.found:,} of {result.sequences:,} test sequences stand in the training sample"
        return [("fail", f"Training leaks into the test: {text}, where chance puts {result.expected:,.1f}.")]
    if result.covered:
        return [("told", "A sample covers the whole space: that test sequences stand in training is chance.")]
    return []


def _chance(level: LevelAudit) -> Evidence:
    """That of a blind guess: the task's own, or else not below a guess at all answers and not above every guess."""
    chance, said = level.task.chance, share(level.task.chance)
    means = {name: score.mean for name, score in level.baselines.items()}
    reach = {name: around(mean, level.sequences) for name, mean in means.items()}
    if "its own" in means and not reach["its own"][0] <= chance <= reach["its own"][1]:
        text = f"Chance is declared as {said}, and the task's own guess is right at {share(means['its own'])}."
        return [("fail", text)]
    if chance < reach["any answer"][0]:
        guess = f"a uniform guess at all answers is right at {share(means['any answer'])}"
        return [("fail", f"Chance is declared too low, at {said}: {guess}.")]
    if chance > max(high for _, high in reach.values()):
        guess = f"no blind guess is right at more than {share(max(means.values()))}"
        return [("fail", f"Chance is declared too high, at {said}: {guess}.")]
    result = list[tuple[Outcome, str]]()
    if not any(low <= chance <= high for low, high in reach.values()):
        known = ", ".join(f"{name} {share(mean)}" for name, mean in means.items())
        result.append(("told", f"Chance is declared as {said}, and is that of no blind guess: {known}."))
    name = max(("majority", "position"), key=lambda one: means[one])
    if reach[name][0] > chance + MUCH and not level.repeats.covered:
        where = "" if name == "majority" else " at each position"
        result.append(("told", f"The commonest answer{where} is right more often than the chance of {said}."))
    return result


def _ceiling(level: LevelAudit) -> Evidence:
    """Reached by a solver that knows all there is to know, and by nothing surpassed."""
    written, ceiling = level.labels, level.task.best_accuracy
    if math.isnan(ceiling):
        agrees = f"; the solver agrees with {share(written.share)}" if written.sequences else ""
        return [("told", f"The ceiling is not known{agrees}.")]
    result = list[tuple[Outcome, str]]()
    if (
        ceiling < 1
        and written.sequences
        and abs(written.share - ceiling) > max(WIDE * written.doubt, 1 / written.asked)
    ):
        text = f"The solver is right at {share(written.share)}, where the ceiling is declared as {share(ceiling)}."
        result.append(("fail", text))
    name, best = level.best
    if ceiling < 1 and around(best.mean, level.sequences)[0] > ceiling:
        text = f"'{name}' is right at {share(best.mean)}, above the declared ceiling of {share(ceiling)}."
        result.append(("fail", text))
    return result


def _shortcut(level: LevelAudit) -> Evidence:
    """None solves it that is not meant to."""
    goal = SOLVED * (1.0 if math.isnan(level.task.best_accuracy) else level.task.best_accuracy)
    solving = [
        (name, score)
        for name, score in level.shortcuts.items()
        if score.mean >= goal and name != level.task.intended_shortcut
    ]
    if not solving:
        return []
    name, score = solving[0]
    if level.repeats.covered:
        return [("told", f"'{name}' solves it, as any table does that covers the whole space.")]
    return [("fail", f"The shortcut '{name}' solves it: {share(score.mean)} right.")]


RULES: dict[str, Callable[[LevelAudit], Evidence]] = {
    "labels": _labels,
    "questions": _questions,
    "leak": _leak,
    "chance": _chance,
    "ceiling": _ceiling,
    "shortcut": _shortcut,
}


def around(mean: float, count: int) -> tuple[float, float]:
    """The interval of Wilson of a share, :data:`WIDE` standard errors to each side."""
    center = (mean + WIDE**2 / (2 * count)) / (1 + WIDE**2 / count)
    half = WIDE / (1 + WIDE**2 / count) * math.sqrt(mean * (1 - mean) / count + (WIDE / (2 * count)) ** 2)
    return center - half, center + half


def share(part: float) -> str:
    """A share in percent; 100.0 % only when nothing is missing.

    >>> share(0.99951), share(1.0), share(0.25)
    ('99.9 %', '100.0 %', '25.0 %')
    """
    return f"{100 * part if part >= 1 else min(100 * part, 99.94):.1f} %"


def _pasts(count: int) -> str:
    return "one past stands" if count == 1 else f"{count:,} pasts stand"
