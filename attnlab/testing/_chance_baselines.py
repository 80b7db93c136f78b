"""Guesses that do not look at what is asked: what a task's declared chance is held to.

    any answer    uniform over all the answers there are
    row's answer  uniform over the answers due in this very sequence, where it asks more than one question
    value so far  uniform over the tokens so far that can be an answer
    majority      the answer that is due most often
    position      the answer that is due most often at this position
    its own       the task's own guess, where its chance is that of none of these

They know the level: what they learn, they learn from the fresh sample, not from the training stream, which may show
other levels. Uniform ones are drawn, not reckoned: the interval of Wilson is then that of independent tosses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from attnlab.records import Score
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.base import Tokens
from attnlab.testing._samples import Material
from attnlab.testing._shortcuts import commonest, last_stood, legal


def baseline_scores(material: Material, vocabulary: int, random: np.random.Generator) -> dict[str, Score]:
    """Each guess by its name, scored on the test stream; a guess that can never be made is left out.

    Args:
        material: What to guess at.
        vocabulary: V, above every token.
        random: Where the guesses come from.
    """
    answers_V = legal(material.fresh, vocabulary)
    any_answer = np.flatnonzero(answers_V)
    learned = commonest(material.fresh)
    guesses: dict[str, Callable[[Batch], Tokens | None]] = {
        "any answer": lambda batch: any_answer[random.integers(0, len(any_answer), len(batch.query_positions()))],
        "row's answer": lambda batch: _of_the_row(batch, random),
        "value so far": lambda batch: _so_far(batch, answers_V, random),
        "majority": learned["majority"],
        "position": learned["position"],
        "its own": lambda batch: material.task.chance_baseline(random, batch),
    }
    return {
        name: score
        for name, guess in guesses.items()
        if (score := _scored(name, guess, material.test, material.task.chance)).total
    }


def _scored(name: str, guess: Callable[[Batch], Tokens | None], batches: Sequence[Batch], chance: float) -> Score:
    right, total = 0, 0
    for batch in batches:
        said_N = guess(batch)
        if said_N is not None:
            counted = _several(batch) if name == "row's answer" else np.ones(len(said_N), dtype=np.bool_)
            right += int((batch.correct(said_N) & counted).sum())
            total += int(counted.sum())
    return Score(correct=right, total=total, chance=chance)


def _several(batch: Batch) -> NDArray[np.bool_]:
    """Whether each question stands in a sequence with another one, N."""
    row = batch.query_positions() // batch.inputs_BT.shape[1]
    return np.bincount(row, minlength=len(batch.inputs_BT))[row] > 1


def _of_the_row(batch: Batch, random: np.random.Generator) -> Tokens:
    """A uniform choice among the different answers of the sequence, N."""
    return _chosen(batch, batch.targets_BT, batch.targets_BT != IGNORE, random, whole=True)


def _so_far(batch: Batch, answers_V: NDArray[np.bool_], random: np.random.Generator) -> Tokens:
    """A uniform choice among the different tokens up to the question that can be answers, N; IGNORE if none can."""
    return _chosen(batch, batch.inputs_BT, answers_V[batch.inputs_BT], random, whole=False)


def _chosen(
    batch: Batch, words_BT: Tokens, eligible_BT: NDArray[np.bool_], random: np.random.Generator, *, whole: bool
) -> Tokens:
    """For each question, one of the eligible words of its row, each kind as likely as the others."""
    rows, length = words_BT.shape
    first_BT = eligible_BT & (last_stood(np.where(eligible_BT, words_BT, IGNORE)).reshape(rows, length) < 0)
    known_BT = np.cumsum(first_BT, axis=1)
    if whole:
        known_BT = np.broadcast_to(known_BT[:, -1:], known_BT.shape)
    count_N = known_BT.ravel()[batch.query_positions()]
    pick_N = np.floor(random.random(len(count_N)) * count_N).astype(np.int64)
    kinds = words_BT[first_BT]
    starts = np.concatenate([[0], np.cumsum(first_BT.sum(axis=1))[:-1]])
    row_N = batch.query_positions() // length
    place_N = np.minimum(starts[row_N] + pick_N, max(0, len(kinds) - 1))
    return np.where(count_N > 0, kinds[place_N], IGNORE) if len(kinds) else np.full(len(row_N), IGNORE)
