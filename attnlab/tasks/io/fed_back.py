"""Which inputs are earlier answers: where they are, a rollout puts the model's own answers instead.

    inputs    c  a  d  |  d  a      the inputs d and a are the answers at | and at d
    targets   .  .  .  d  a  c      the answer at the last position stands nowhere

    inputs    k  v  l  w  k  v  l   the second v is the answer at the second k; the first was given
    targets   .  .  .  .  v  .  w

An answer can stand only in the input after its question, and matters only if a later question follows. A single
sequence does not tell it from a given token that is equal by chance, as one bit in two is. What a task does is
therefore read off many of its sequences: in every one, every answer stands in the next input, or none is meant to. This
is decided for each subtask, and separately for questions that another question directly follows and for the others.

Letters  B sequences, T tokens, G subtasks, 2 whether a question directly follows the question: no, yes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attnlab.choices import Scoring
from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Split, Task
from attnlab.tasks.io.streams import generator

MAX_SEQUENCES, MAX_TOKENS = 256, 2**18
"""Most sequences of a subtask, and most tokens of them, from which its layout is read off."""

Bools = NDArray[np.bool_]


def way_of_scoring(task: Task, rollout: bool) -> Scoring:
    """Tell which way a task is scored.

    Args:
        task: The task.
        rollout: Whether it is tested by rollout.

    Returns:
        The way.
    """
    try:
        if not FedBackAnswers(task).any:
            return "independent"
    except InvalidValueError:
        return "teacher forcing only"
    return "rollout" if rollout else "teacher forcing"


class FedBackAnswers:
    """The inputs of a task that are earlier answers.

    Args:
        task: The task.

    Raises:
        InvalidValueError: Several tokens are accepted at a question and the task does not verify generated answers,
            so that these cannot be scored; or tokens are numbers; or the sequences of a mixture do not tell which
            subtask they belong to.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.stands_G2 = np.array([_stands_in_inputs(one) for one in task.subtasks().values() or [task]])
        """Whether the answers of a subtask stand in the next inputs."""

    @property
    def any(self) -> bool:
        """Whether any answer does; where none does, a rollout is the same as teacher forcing."""
        return bool(self.stands_G2.any())

    def of(self, batch: Batch) -> Bools:
        """Find the questions whose answers stand in the next input.

        Args:
            batch: Sequences of the task.

        Returns:
            Bool, B x T; False at the last position, and where no later question follows.
        """
        pairs_BT, follows_BT = question_pairs(batch)
        subtask_B1 = self.task.subtask_of(batch)[:, None] if len(self.stands_G2) > 1 else np.int64(0)
        return pairs_BT & _equal_to_next(batch) & self.stands_G2[subtask_B1, follows_BT.astype(int)]


def question_pairs(batch: Batch) -> tuple[Bools, Bools]:
    """Find the questions that a later question of their sequence follows.

    Args:
        batch: The sequences.

    Returns:
        The questions that one follows anywhere, and the positions that one directly follows; both bool, B x T.
    """
    is_question_BT = batch.targets_BT != IGNORE
    questions_from_BT = np.logical_or.accumulate(is_question_BT[:, ::-1], axis=1)[:, ::-1]
    later_BT, follows_BT = np.zeros_like(is_question_BT), np.zeros_like(is_question_BT)
    later_BT[:, :-1], follows_BT[:, :-1] = questions_from_BT[:, 1:], is_question_BT[:, 1:]
    return is_question_BT & later_BT, follows_BT


def _equal_to_next(batch: Batch) -> Bools:
    """Whether the target of each position is the next input."""
    equal_BT = np.zeros(batch.targets_BT.shape, bool)
    equal_BT[:, :-1] = batch.targets_BT[:, :-1] == batch.inputs_BT[:, 1:]
    return equal_BT


def _stands_in_inputs(task: Task) -> list[bool]:
    """Read off many sequences whether answers stand in the next input, where no question follows and where one does."""
    if task.features:
        problem = "The numbers of the next token are given; they are no answer of the model."
        raise InvalidValueError(problem, "Nothing can be generated there; leave rollout out.")
    sequences = max(1, min(MAX_SEQUENCES, MAX_TOKENS // task.length))
    batch = task.for_split(Split.VALIDATION).sample(generator(0, Split.DIAGNOSTICS), sequences)
    pairs_BT, follows_BT = question_pairs(batch)
    kinds = [pairs_BT & ~follows_BT, pairs_BT & follows_BT]
    stands = [bool(kind_BT.any() and _equal_to_next(batch)[kind_BT].all()) for kind_BT in kinds]
    if any(stands) and batch.accepted_NW is not None and not task.verifies_generated:
        problem = "Several tokens are right at a question, and which ones depends on the answers given before."
        raise InvalidValueError(problem, "A generated answer cannot be scored there; leave rollout out.")
    return stands
