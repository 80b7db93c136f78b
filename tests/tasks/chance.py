"""What tests of tasks measure chance with: whether counts are even, and how often a guess is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import chisquare

from attnlab.records import Score
from attnlab.tasks import IGNORE, Batch, Task

DOUBT = 1e-4
"""Below this probability a distribution is not believed."""


def counts(values: Any, kinds: int) -> Any:
    """How often each number below ``kinds`` occurs."""
    return np.bincount(np.ravel(values), minlength=kinds)


def belief(seen: Any, shares: Any = None) -> float:
    """The probability of counts at least as uneven as these, were they drawn by the shares; evenly if none are said."""
    total = np.sum(seen)
    return float(chisquare(seen, None if shares is None else np.asarray(shares) * total).pvalue)


def guessed(task: Task, batch: Batch, guesses_BT: Any) -> Score:
    """Guesses at every position, scored where something is asked."""
    requested = batch.targets_BT != IGNORE
    right = int((np.broadcast_to(guesses_BT, requested.shape) == batch.targets_BT)[requested].sum())
    return Score(correct=right, total=int(requested.sum()), chance=task.chance)


def met(score: Score) -> bool:
    """Whether the chance that the task claims stands in the interval around what was seen."""
    low, high = score.interval
    return low <= score.chance <= high
