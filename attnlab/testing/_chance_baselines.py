"""Chance baselines: guesses that do not look at what is asked. The declared chance of a task is compared with them.

The declared chance is at least that of the best blind guess (``attnlab.tasks.ops.blind_guesses``). Two more guesses
explain a higher one:

    sequence's answers  uniform over the answers of this sequence, where it has more than one
    own baseline        the task's own baseline, where its chance is that of none of these

The blind guesses are fitted on the fresh sample of the level, not on the training split, which may contain other
levels, and scored on the test sample. Intervals take sequences as the independent units.

Letters  N supervised positions of a batch, in row-major order; B sequences, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.base import Tokens
from attnlab.tasks.ops.blind_guesses import Shares, fit_blind_guesses
from attnlab.tasks.ops.chance import clustered_mean
from attnlab.testing._numbers import fit_number_guesses
from attnlab.testing._samples import TaskSamples
from attnlab.testing._shortcuts import previous_occurrence

STANDARD_ERRORS = 4.5
"""Half width of an interval in standard errors; by chance a value lies outside once in 100,000 times."""


@dataclass(frozen=True)
class BaselineScore:
    """The accuracy of a chance baseline on the test sample."""

    mean: float
    interval: tuple[float, float]
    """Its range, :data:`STANDARD_ERRORS` standard errors to each side, over sequences."""
    is_blind: bool
    """Whether it is a blind guess, so that the declared chance must not be below."""


def baseline_scores(samples: TaskSamples, vocabulary: int, random: np.random.Generator) -> dict[str, BaselineScore]:
    """Score of each baseline on the test sample, by name; a baseline that never applies is left out.

    Args:
        samples: The samples of the task.
        vocabulary: V, above every token.
        random: Generator of the guesses that the task's own baseline draws.

    Returns:
        The scores by the name of the baseline.
    """
    if samples.task.features:
        numbers = fit_number_guesses(samples.fresh)
        found = {name: _score(guess, samples.test, is_blind=True) for name, guess in numbers.items()}
        return {name: score for name, score in found.items() if score is not None}
    blind = fit_blind_guesses(samples.fresh, vocabulary)
    scores = {name: _score(guess, samples.test, is_blind=True) for name, guess in blind.items()}
    scores["sequence's answers"] = _score(_from_sequence, samples.test, is_blind=False)
    scores["own baseline"] = _score(lambda batch: _own(samples, batch, random), samples.test, is_blind=False)
    return {name: score for name, score in scores.items() if score is not None}


def wide_interval(mean: float, count: float) -> tuple[float, float]:
    """Wilson interval of a share, :data:`STANDARD_ERRORS` standard errors to each side.

    Args:
        mean: The share, 0 to 1.
        count: Number of independent trials.

    Returns:
        Lower and upper end.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    z = STANDARD_ERRORS
    center = (mean + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(max(0.0, mean * (1 - mean)) / count + (z / (2 * count)) ** 2)
    return center - half, center + half


def _score(
    guess: Callable[[Batch], Shares | None], batches: Sequence[Batch], *, is_blind: bool
) -> BaselineScore | None:
    """Accuracy of a guess; batches for which it returns None, and positions at which it is nan, are left out.

    The Wilson interval counts as many trials as give the standard error over sequences, at most all positions and at
    least one for each sequence: of positions that all depend on one another, a sequence is one trial.
    """
    scored, shares, sequences, positions = [], [], 0, 0
    for batch in batches:
        share_N = guess(batch)
        if share_N is None or np.isnan(share_N).all():
            continue
        targets_BT = batch.targets_BT.copy()
        targets_BT.reshape(-1)[batch.query_positions()[np.isnan(share_N)]] = IGNORE
        scored.append(Batch(batch.inputs_BT, targets_BT))
        shares.append(share_N[~np.isnan(share_N)])
        sequences += int((targets_BT != IGNORE).any(axis=1).sum())
        positions += len(shares[-1])
    if not positions:
        return None
    mean, standard_error = clustered_mean(scored, shares)
    trials = mean * (1 - mean) / standard_error**2 if standard_error > 0 else math.inf
    return BaselineScore(mean, wide_interval(mean, min(max(trials, sequences), positions)), is_blind)


def _from_sequence(batch: Batch) -> Shares:
    """Accuracy of a uniform choice among the different answers of the sequence; nan where it has one answer, N."""
    rows, length = batch.targets_BT.shape
    row_N = batch.query_positions() // length
    first_BT = (previous_occurrence(batch.targets_BT).reshape(rows, length) < 0) & (batch.targets_BT != IGNORE)
    shares_N: NDArray[np.float64] = 1 / np.maximum(first_BT.sum(axis=1), 1)[row_N]
    return np.where(np.bincount(row_N, minlength=rows)[row_N] > 1, shares_N, np.nan)


def _own(samples: TaskSamples, batch: Batch, random: np.random.Generator) -> Shares | None:
    """Whether the task's own baseline is correct, N; None where the task has none."""
    predicted_N: Tokens | None = samples.task.chance_baseline(random, batch)
    return None if predicted_N is None else batch.correct(predicted_N).astype(np.float64)
