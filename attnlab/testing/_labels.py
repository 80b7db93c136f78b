"""Is there one right answer to each question, and is everything asked that has one?

The solver reads whole test sequences, and is held to their labels. Whatever the solver says, one past with two
different answers is ambiguous; such pasts are looked for in the training and the test sample together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from attnlab.registry import describe_exception
from attnlab.tasks import IGNORE, Batch, Task
from attnlab.tasks.base import Tokens
from attnlab.testing._samples import Material

ROOM = 2**17
"""Tokens that the solver reads, at most, unless a single sequence is longer."""


class Labels(NamedTuple):
    """What a solver says of the test sequences."""

    sequences: int = 0
    """Sequences the solver has read; 0 if the task has none, or it fails."""
    asked: int = 0
    agreed: int = 0
    doubt: float = 0.0
    """Standard error of the share that agrees; sequences are drawn independently, their questions are not."""
    unasked: int = 0
    """Positions that ask nothing, though the solver answers them."""
    wrong: str = ""
    """The first answer on which they differ, in words."""
    left: str = ""
    """The first position that could be asked, in words."""
    raised: str = ""
    """What the solver failed with."""
    contradictions: int = 0
    """Pasts that stand with different answers."""

    @property
    def share(self) -> float:
        """How many of the labels the solver agrees with."""
        return self.agreed / self.asked if self.asked else math.nan


def check_labels(material: Material) -> Labels:
    """The labels of the test stream held to the solver, and all labels to one another."""
    try:
        result = _solved(material)
    except Exception as error:
        result = Labels(raised=describe_exception(error).replace("\n", " "))
    return result._replace(contradictions=contradictions([*material.training, *material.test]))


def _solved(material: Material) -> Labels:
    """Whole batches at a time, as long as there is room."""
    task, result = material.task, Labels()
    right: list[Tokens] = []
    total: list[Tokens] = []
    for batch in material.test:
        if result.sequences * task.length >= ROOM:
            break
        words = [task.solve(tokens) for tokens in batch.inputs_BT.tolist()]
        if None in words:
            return Labels()
        said_BT, positions = np.array(words), batch.query_positions()
        agrees_N = batch.correct(said_BT.ravel()[positions])
        idle_BT = (batch.targets_BT == IGNORE) & (said_BT != IGNORE)
        row_N = positions // batch.inputs_BT.shape[1]
        right.append(np.bincount(row_N[agrees_N], minlength=len(words)))
        total.append(np.bincount(row_N, minlength=len(words)))
        wrong = result.wrong or _first(positions[~agrees_N], _wrong, task, batch, said_BT, result.sequences)
        left = result.left or _first(np.flatnonzero(idle_BT), _left, task, batch, said_BT, result.sequences)
        result = result._replace(
            sequences=result.sequences + len(words), unasked=result.unasked + int(idle_BT.sum()), wrong=wrong, left=left
        )
    right_B, total_B = np.concatenate(right), np.concatenate(total)
    agreed, count = int(right_B.sum()), int(total_B.sum())
    spread_B = right_B - agreed / max(1, count) * total_B
    return result._replace(asked=count, agreed=agreed, doubt=float(np.linalg.norm(spread_B)) / max(1, count))


def contradictions(batches: Sequence[Batch]) -> int:
    """How many pasts stand with different answers; none where several answers are accepted."""
    if any(batch.accepted_NW is not None for batch in batches):
        return 0
    past_N = np.concatenate([_pasts(batch.inputs_BT).ravel()[batch.query_positions()] for batch in _merged(batches)])
    answer_N = np.concatenate([batch.query_targets() for batch in _merged(batches)])
    order = np.lexsort((answer_N, past_N))
    past_N, answer_N = past_N[order], answer_N[order]
    differ = (past_N[1:] == past_N[:-1]) & (answer_N[1:] != answer_N[:-1])
    return len(np.unique(past_N[1:][differ]))


def _merged(batches: Sequence[Batch]) -> list[Batch]:
    """One batch for each length."""
    lengths = sorted({batch.inputs_BT.shape[1] for batch in batches})
    alike = [[batch for batch in batches if batch.inputs_BT.shape[1] == length] for length in lengths]
    return [
        Batch(np.concatenate([one.inputs_BT for one in same]), np.concatenate([one.targets_BT for one in same]))
        for same in alike
    ]


def _pasts(inputs_BT: Tokens) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """A hash of each position's past, itself included: a polynomial of the tokens modulo 2^64, mixed."""
    past_BT = np.empty(inputs_BT.shape, dtype=np.uint64)
    running_B = np.full(len(inputs_BT), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for place, token_B in enumerate(inputs_BT.T.astype(np.uint64)):
        running_B = (running_B ^ (token_B + np.uint64(1))) * np.uint64(0xD6E8FEB86659FD93)
        running_B ^= running_B >> np.uint64(32)
        past_BT[:, place] = running_B
    return past_BT


Words = Callable[[Task, Batch, Tokens, int, int], str]


def _first(positions: Tokens, words: Words, task: Task, batch: Batch, said_BT: Tokens, before: int) -> str:
    """The first of these places of the flattened batch in words, and where it stands; empty if there is none."""
    if not len(positions):
        return ""
    row, place = divmod(int(positions[0]), batch.inputs_BT.shape[1])
    return f"at position {place} of test sequence {before + row} {words(task, batch, said_BT, row, place)}"


def _wrong(task: Task, batch: Batch, said_BT: Tokens, row: int, place: int) -> str:
    label, said = task.token_to_str(int(batch.targets_BT[row, place])), int(said_BT[row, place])
    return f"the label is {label}, the solver " + (
        "gives no answer" if said == IGNORE else f"says {task.token_to_str(said)}"
    )


def _left(task: Task, batch: Batch, said_BT: Tokens, row: int, place: int) -> str:
    token, answer = task.token_to_str(int(batch.inputs_BT[row, place])), task.token_to_str(int(said_BT[row, place]))
    return f"stands {token}, which would be answered by {answer}"
