"""Label checks: is each target unique, and does every position that has an answer have a target?

The solver of the task reads whole test sequences, and its outputs are compared with the targets. Independent of the
solver, targets are ambiguous if one prefix occurs with two different targets; such prefixes are searched for in the
training and the test sample together, or in the test sample alone where the task asks more in training.

Letters  B sequences, T tokens; N supervised positions; W accepted answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from attnlab.plugins import describe_exception
from attnlab.tasks import IGNORE, Batch, Task
from attnlab.tasks.base import Tokens
from attnlab.testing._samples import TaskSamples

MAX_TOKENS = 2**17
"""Largest number of tokens that the solver reads, unless a single batch is longer."""


class LabelCheck(NamedTuple):
    """Comparison of a solver with the test sequences."""

    sequences: int = 0
    """Sequences that the solver has read; 0 if the task has no solver, or it fails."""
    targets: int = 0
    agreed: int = 0
    """Targets that equal the output of the solver."""
    standard_error: float = 0.0
    """Of the agreement; sequences are drawn independently, their targets are not."""
    unlabeled: int = 0
    """Positions without a target, though the solver gives one."""
    first_error: str = ""
    """Description of the first target on which they differ."""
    first_unlabeled: str = ""
    """Description of the first position without a target, though the solver gives one."""
    exception: str = ""
    """Description of the exception that the solver raised."""
    contradictions: int = 0
    """Prefixes that occur with different targets."""

    @property
    def agreement(self) -> float:
        """Share of the targets that equal the output of the solver; nan if there are none."""
        return self.agreed / self.targets if self.targets else math.nan


def check_labels(samples: TaskSamples) -> LabelCheck:
    """Compare the targets of the test sample with the solver, and all targets with one another."""
    try:
        result = _compare_with_solver(samples)
    except Exception as error:
        result = LabelCheck(exception=describe_exception(error).replace("\n", " "))
    training = [] if samples.task.asks_more_in_training else samples.training
    return result._replace(contradictions=count_contradictions([*training, *samples.test]))


def _compare_with_solver(samples: TaskSamples) -> LabelCheck:
    """Run the solver on whole batches, up to :data:`MAX_TOKENS` tokens."""
    task, result = samples.task, LabelCheck()
    correct: list[Tokens] = []
    total: list[Tokens] = []
    for batch in samples.test:
        if result.sequences * task.length >= MAX_TOKENS:
            break
        rows = [task.solve(tokens) for tokens in batch.inputs_BT.tolist()]
        if None in rows:
            return LabelCheck()
        solved_BT, positions = np.array(rows), batch.query_positions()
        agrees_N = batch.correct(solved_BT.ravel()[positions])
        unlabeled_BT = (batch.targets_BT == IGNORE) & (solved_BT != IGNORE)
        row_N = positions // batch.inputs_BT.shape[1]
        correct.append(np.bincount(row_N[agrees_N], minlength=len(rows)))
        total.append(np.bincount(row_N, minlength=len(rows)))
        before = result.sequences
        first_error = result.first_error or _first(positions[~agrees_N], _error, task, batch, solved_BT, before)
        first_unlabeled = result.first_unlabeled or _first(
            np.flatnonzero(unlabeled_BT), _unlabeled, task, batch, solved_BT, before
        )
        result = result._replace(
            sequences=before + len(rows),
            unlabeled=result.unlabeled + int(unlabeled_BT.sum()),
            first_error=first_error,
            first_unlabeled=first_unlabeled,
        )
    correct_B, total_B = np.concatenate(correct), np.concatenate(total)
    agreed, count = int(correct_B.sum()), int(total_B.sum())
    deviation_B = correct_B - agreed / max(1, count) * total_B
    standard_error = float(np.linalg.norm(deviation_B)) / max(1, count)
    return result._replace(targets=count, agreed=agreed, standard_error=standard_error)


def count_contradictions(batches: Sequence[Batch]) -> int:
    """Number of prefixes that occur with different targets; 0 for tasks with several accepted answers."""
    if any(batch.accepted_NW is not None for batch in batches):
        return 0
    prefix_N = np.concatenate(
        [_prefix_hashes(batch.inputs_BT).ravel()[batch.query_positions()] for batch in _merge(batches)]
    )
    target_N = np.concatenate([batch.query_targets() for batch in _merge(batches)])
    order = np.lexsort((target_N, prefix_N))
    prefix_N, target_N = prefix_N[order], target_N[order]
    differ = (prefix_N[1:] == prefix_N[:-1]) & (target_N[1:] != target_N[:-1])
    return len(np.unique(prefix_N[1:][differ]))


def _merge(batches: Sequence[Batch]) -> list[Batch]:
    """One batch for each length."""
    lengths = sorted({batch.inputs_BT.shape[1] for batch in batches})
    groups = [[batch for batch in batches if batch.inputs_BT.shape[1] == length] for length in lengths]
    return [
        Batch(np.concatenate([one.inputs_BT for one in group]), np.concatenate([one.targets_BT for one in group]))
        for group in groups
    ]


def _prefix_hashes(inputs_BT: Tokens) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """A hash of the prefix up to each position, B x T: a polynomial of the tokens modulo 2^64, with mixed bits."""
    hash_BT = np.empty(inputs_BT.shape, dtype=np.uint64)
    running_B = np.full(len(inputs_BT), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for position, token_B in enumerate(inputs_BT.T.astype(np.uint64)):
        running_B = (running_B ^ (token_B + np.uint64(1))) * np.uint64(0xD6E8FEB86659FD93)
        running_B ^= running_B >> np.uint64(32)
        hash_BT[:, position] = running_B
    return hash_BT


Describe = Callable[[Task, Batch, Tokens, int, int], str]


def _first(positions: Tokens, describe: Describe, task: Task, batch: Batch, solved_BT: Tokens, before: int) -> str:
    """Description of the first of these positions of the flattened batch; empty if there is none."""
    if not len(positions):
        return ""
    row, position = divmod(int(positions[0]), batch.inputs_BT.shape[1])
    return f"at position {position} of test sequence {before + row} {describe(task, batch, solved_BT, row, position)}"


def _error(task: Task, batch: Batch, solved_BT: Tokens, row: int, position: int) -> str:
    """The target and the output of the solver."""
    if task.features:
        return f"the target is {batch.targets_BT[row, position]:.4g}, the solver gives {solved_BT[row, position]:.4g}"
    target, solved = task.token_to_str(int(batch.targets_BT[row, position])), int(solved_BT[row, position])
    return f"the target is {target}, the solver gives {'none' if solved == IGNORE else task.token_to_str(solved)}"


def _unlabeled(task: Task, batch: Batch, solved_BT: Tokens, row: int, position: int) -> str:
    """The token without a target, and the output of the solver."""
    token = task.token_to_str(int(batch.inputs_BT[row, position]))
    return f"the token is {token}, for which the solver gives {task.token_to_str(int(solved_BT[row, position]))}"
