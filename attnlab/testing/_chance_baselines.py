"""Chance baselines: guesses that do not use the query. The declared chance of a task is compared with them.

    any target          uniform over all targets of the task
    sequence's targets  uniform over the targets of this sequence, where it has more than one
    value so far        uniform over the tokens so far that can be targets
    majority            the most frequent target
    position            the most frequent target at this position
    own baseline        the task's own baseline, where its chance is that of none of these

The baselines are fitted on the fresh sample of the level, not on the training split, which may contain other levels.
Uniform guesses are drawn rather than computed, so that the Wilson interval is that of independent Bernoulli trials.

Letters  N supervised positions of a batch, in row-major order; B sequences, T tokens; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from attnlab.records import Score
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.base import Tokens
from attnlab.testing._samples import TaskSamples
from attnlab.testing._shortcuts import is_target, most_frequent, previous_occurrence


def baseline_scores(samples: TaskSamples, vocabulary: int, random: np.random.Generator) -> dict[str, Score]:
    """Score of each baseline on the test sample, by name; a baseline that never applies is left out.

    Args:
        samples: The samples of the task.
        vocabulary: V, above every token.
        random: Generator of the uniform guesses.

    Returns:
        The scores by the name of the baseline.
    """
    is_target_V = is_target(samples.fresh, vocabulary)
    target_tokens = np.flatnonzero(is_target_V)
    fitted = most_frequent(samples.fresh)
    baselines: dict[str, Callable[[Batch], Tokens | None]] = {
        "any target": lambda batch: target_tokens[random.integers(0, len(target_tokens), len(batch.query_positions()))],
        "sequence's targets": lambda batch: _from_sequence(batch, random),
        "value so far": lambda batch: _from_prefix(batch, is_target_V, random),
        "majority": fitted["majority"],
        "position": fitted["position"],
        "own baseline": lambda batch: samples.task.chance_baseline(random, batch),
    }
    return {
        name: score
        for name, baseline in baselines.items()
        if (score := _score(name, baseline, samples.test, samples.task.chance)).total
    }


def _score(name: str, baseline: Callable[[Batch], Tokens | None], batches: Sequence[Batch], chance: float) -> Score:
    """Accuracy of one baseline; a baseline that returns None for a batch skips it."""
    correct, total = 0, 0
    for batch in batches:
        predicted_N = baseline(batch)
        if predicted_N is not None:
            counted = (
                _shares_sequence(batch) if name == "sequence's targets" else np.ones(len(predicted_N), dtype=np.bool_)
            )
            correct += int((batch.correct(predicted_N) & counted).sum())
            total += int(counted.sum())
    return Score(correct=correct, total=total, chance=chance)


def _shares_sequence(batch: Batch) -> NDArray[np.bool_]:
    """Whether the sequence of each supervised position has another one, N."""
    row = batch.query_positions() // batch.inputs_BT.shape[1]
    return np.bincount(row, minlength=len(batch.inputs_BT))[row] > 1


def _from_sequence(batch: Batch, random: np.random.Generator) -> Tokens:
    """A uniform choice among the different targets of the sequence, N."""
    return _choose(batch, batch.targets_BT, batch.targets_BT != IGNORE, random, whole=True)


def _from_prefix(batch: Batch, is_target_V: NDArray[np.bool_], random: np.random.Generator) -> Tokens:
    """A uniform choice among the different tokens up to the query that can be targets, N; IGNORE if there is none."""
    return _choose(batch, batch.inputs_BT, is_target_V[batch.inputs_BT], random, whole=False)


def _choose(
    batch: Batch, tokens_BT: Tokens, eligible_BT: NDArray[np.bool_], random: np.random.Generator, *, whole: bool
) -> Tokens:
    """For each supervised position, a uniform choice among the different eligible tokens of its row."""
    rows, length = tokens_BT.shape
    first_BT = eligible_BT & (previous_occurrence(np.where(eligible_BT, tokens_BT, IGNORE)).reshape(rows, length) < 0)
    distinct_BT = np.cumsum(first_BT, axis=1)
    if whole:
        distinct_BT = np.broadcast_to(distinct_BT[:, -1:], distinct_BT.shape)
    count_N = distinct_BT.ravel()[batch.query_positions()]
    pick_N = np.floor(random.random(len(count_N)) * count_N).astype(np.int64)
    candidates = tokens_BT[first_BT]
    starts = np.concatenate([[0], np.cumsum(first_BT.sum(axis=1))[:-1]])
    row_N = batch.query_positions() // length
    index_N = np.minimum(starts[row_N] + pick_N, max(0, len(candidates) - 1))
    return np.where(count_N > 0, candidates[index_N], IGNORE) if len(candidates) else np.full(len(row_N), IGNORE)
