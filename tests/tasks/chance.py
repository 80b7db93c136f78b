"""Helpers for tests of chance accuracy: goodness of fit of counts, and the score of a guess."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import chisquare

from attnlab.records import Score
from attnlab.tasks import IGNORE, Batch, Task

ALPHA = 1e-4
"""Significance level: a p-value below it rejects the distribution."""


def counts(values: Any, kinds: int) -> Any:
    """Count how often each integer below ``kinds`` occurs."""
    return np.bincount(np.ravel(values), minlength=kinds)


def p_value(observed: Any, shares: Any = None) -> float:
    """Compute the p-value of a chi-squared test of counts against ``shares``, or against equal shares."""
    total = np.sum(observed)
    return float(chisquare(observed, None if shares is None else np.asarray(shares) * total).pvalue)


def guess_score(task: Task, batch: Batch, guesses_BT: Any) -> Score:
    """Score guesses for every position at the supervised positions."""
    supervised_BT = batch.targets_BT != IGNORE
    correct = int((np.broadcast_to(guesses_BT, supervised_BT.shape) == batch.targets_BT)[supervised_BT].sum())
    return Score(correct=correct, total=int(supervised_BT.sum()), chance=task.chance)


def at_chance(score: Score) -> bool:
    """Tell whether the task's chance accuracy lies in the confidence interval of the score."""
    low, high = score.interval
    return low <= score.chance <= high


def uniform_score(task: Task, batch: Batch, guesses_BT: Any) -> Score:
    """Score guesses beside the accuracy of a uniform guess among the answers that occur in the batch."""
    answers = np.unique(batch.query_targets())
    return guess_score(task, batch, guesses_BT).model_copy(update={"chance": 1 / len(answers)})
