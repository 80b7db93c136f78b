"""Rules of an audit: the findings that follow from the measurements of a level.

    labels           the solver agrees with every target; no prefix has two targets
    missing targets  every position for which the solver gives an answer has a target
    leak             no more test sequences occur in the training sample than by chance
    rows             at most one in a hundred rows of the test stands in training, where sequences are rows of a file
    splits           training, validation and test of a finite data set do not differ more than random divisions of it
    chance           no blind guess is better than the declared chance, and a chance baseline explains it
    best accuracy    solver and shortcuts agree with the declared best achievable accuracy where it is below 1
    shortcut         no shortcut solves the level, except the intended one

Any table solves a level of so few sequences that a sample contains them all. This is reported, but it is no failure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from attnlab.records import SOLVED
from attnlab.tasks.ops.chance import measure_chance
from attnlab.testing._chance_baselines import STANDARD_ERRORS, wide_interval
from attnlab.testing._level_audit import LevelAudit
from attnlab.testing.finding import Finding, Outcome


def apply_rules(level: LevelAudit) -> list[Finding]:
    """All findings about a level.

    Args:
        level: The measurements.

    Returns:
        The findings in the order of the rules; an empty list if there is nothing to report.
    """
    return [Finding(check, *evidence) for check, rule in RULES.items() for evidence in rule(level)]


Evidence = Sequence[tuple[Outcome, str]]


def _labels(level: LevelAudit) -> Evidence:
    """Targets agree with the solver and with one another."""
    labels, best, findings = level.labels, level.task.best_accuracy, list[tuple[Outcome, str]]()
    if level.tokens > level.task.vocabulary:
        text = f"The token {level.tokens - 1} is outside the vocabulary of size {level.task.vocabulary}."
        findings.append(("fail", text))
    if labels.exception:
        findings.append(("fail", f"The solver fails with {labels.exception}."))
    elif not labels.sequences:
        findings.append(("info", "The task has no solver, so that targets are not compared with one."))
    elif best == 1 and labels.agreed < labels.targets:
        text = f"The solver agrees with {share(labels.agreement)} of the targets: {labels.first_error}."
        findings.append(("fail", text))
    if best == 1 and labels.contradictions:
        prefixes = "one prefix occurs" if labels.contradictions == 1 else f"{labels.contradictions:,} prefixes occur"
        findings.append(("fail", f"Targets are ambiguous: {prefixes} with different targets."))
    return findings


def _missing_targets(level: LevelAudit) -> Evidence:
    """A token that repeats a query has a target too."""
    labels = level.labels
    if not labels.unlabeled:
        return []
    times = "once" if labels.unlabeled == 1 else f"{labels.unlabeled:,} times"
    text = f"A query without a target occurs {times}, the known defect of random filler: {labels.first_unlabeled}."
    return [("fail", text)]


def _leak(level: LevelAudit) -> Evidence:
    """No more repeats than by chance; rows of a file have a rule of their own."""
    repeats = level.repeats
    if level.rows is not None:
        return []
    if repeats.leaks:
        text = f"{repeats.repeated:,} of {repeats.sequences:,} test sequences occur in the training sample"
        return [("fail", f"Training data leak into the test: {text}; chance explains {repeats.expected:,.1f}.")]
    if repeats.covered:
        return [("info", "A sample covers all sequences, so that test sequences occur in training by chance.")]
    return []


def _rows(level: LevelAudit) -> Evidence:
    """The rows of a file are different."""
    rows = level.rows
    if rows is None or rows.distinct == rows.rows:
        return []
    text = f"Of {rows.rows:,} rows only {rows.distinct:,} are different"
    if not rows.known:
        return [("info", f"{text}; no row of the test stands in training.")]
    text = f"{text}, and {rows.known:,} of {rows.tested:,} rows of the test stand in training"
    if not rows.leaks:
        return [("info", f"{text}.")]
    return [("fail", f"{text}, where they can be memorized. Keep one row of each kind.")]


def _splits(level: LevelAudit) -> Evidence:
    """The splits of a finite data set have one distribution, unless they are meant to differ."""
    splits = level.splits
    if splits is None or not splits.differ:
        return []
    text = f"Training, validation and test differ in {splits.look}: {splits.evidence}"
    chance = "no random division of the rows differs as much"
    if not level.task.splits_are_alike:
        return [("info", f"{text}; {chance}. They are divided so on purpose.")]
    return [("fail", f"{text}; {chance}. Divide them at random: leave task.split out.")]


def _chance(level: LevelAudit) -> Evidence:
    """Chance is at least that of every blind guess, and that of some baseline at most."""
    chance, declared = level.task.chance, share(level.task.chance)
    measured = None if level.task.features else measure_chance(level.task)
    # A chance that was measured is uncertain itself, and so is the guess that was fitted for it.
    uncertain = STANDARD_ERRORS * measured.standard_error if measured and chance == measured.accuracy else 0.0
    beaten_by = {
        name: score
        for name, score in level.baselines.items()
        if score.is_blind and score.interval[0] > chance + uncertain
    }
    own = level.baselines.get("own baseline")
    if own and not own.interval[0] <= chance <= own.interval[1]:
        text = f"the task's own baseline has an accuracy of {share(own.mean)}"
        return [("fail", f"Chance is declared as {declared}, but {text}.")]
    if beaten_by:
        name = max(beaten_by, key=lambda one: beaten_by[one].mean)
        score = beaten_by[name]
        between = f"{share(score.mean)} ({' to '.join(share(max(0.0, end)) for end in score.interval)})"
        text = f"the blind guess '{name}' has an accuracy of {between}"
        return [
            ("fail", f"Chance is declared too low, at {declared}: {text}. Without a declared chance it is measured.")
        ]
    if chance > max(score.interval[1] for score in level.baselines.values()):
        text = f"no chance baseline has an accuracy above {share(max(one.mean for one in level.baselines.values()))}"
        return [("fail", f"Chance is declared too high, at {declared}: {text}.")]
    if chance == 1:
        return [("info", "Chance is 1: a guess that does not look at what is asked solves the level.")]
    if not any(score.interval[0] <= chance <= score.interval[1] for score in level.baselines.values()):
        known = ", ".join(f"{name} {share(score.mean)}" for name, score in level.baselines.items())
        return [("info", f"Chance is declared as {declared}, which is that of no chance baseline: {known}.")]
    return []


def _best_accuracy(level: LevelAudit) -> Evidence:
    """The solver reaches the best achievable accuracy, and no shortcut exceeds it."""
    labels, best = level.labels, level.task.best_accuracy
    if math.isnan(best):
        agrees = f"; the solver agrees with {share(labels.agreement)} of the targets" if labels.sequences else ""
        return [("info", f"The best achievable accuracy is not known{agrees}.")]
    findings = list[tuple[Outcome, str]]()
    tolerance = max(STANDARD_ERRORS * labels.standard_error, 1 / labels.targets) if labels.targets else 0.0
    if best < 1 and labels.sequences and abs(labels.agreement - best) > tolerance:
        text = f"The solver has an accuracy of {share(labels.agreement)}"
        findings.append(("fail", f"{text}, but the best achievable accuracy is declared as {share(best)}."))
    name, score = level.best_shortcut
    if best < 1 and wide_interval(score.mean, level.sequences)[0] > best:
        text = f"'{name}' has an accuracy of {share(score.mean)}"
        findings.append(("fail", f"{text}, above the declared best achievable accuracy of {share(best)}."))
    return findings


def _shortcut(level: LevelAudit) -> Evidence:
    """No shortcut but the intended one solves the level."""
    threshold = SOLVED * (1.0 if math.isnan(level.task.best_accuracy) else level.task.best_accuracy)
    solving = [
        (name, score)
        for name, score in level.shortcuts.items()
        if score.mean >= threshold and name != level.task.intended_shortcut
    ]
    if not solving:
        return []
    name, score = solving[0]
    if level.repeats.covered:
        return [("info", f"'{name}' solves the level, as does any table that covers all sequences.")]
    return [("fail", f"The shortcut '{name}' solves the level, with an accuracy of {share(score.mean)}.")]


RULES: dict[str, Callable[[LevelAudit], Evidence]] = {
    "labels": _labels,
    "missing targets": _missing_targets,
    "leak": _leak,
    "rows": _rows,
    "splits": _splits,
    "chance": _chance,
    "best accuracy": _best_accuracy,
    "shortcut": _shortcut,
}


def share(value: float) -> str:
    """Format a share in percent; 100.0 % only if it is exactly 1.

    Args:
        value: The share, 0 to 1.

    Returns:
        The text, with one decimal.

    >>> share(0.99951), share(1.0), share(0.25)
    ('99.9 %', '100.0 %', '25.0 %')
    """
    return f"{100 * value if value >= 1 else min(100 * value, 99.94):.1f} %"
