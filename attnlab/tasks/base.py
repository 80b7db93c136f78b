"""The template every task fills in.

Letters  B sequences of the batch, T tokens.

A task is built for one level, with its options as keywords; it draws whole batches, without a loop over rows, from
the generator it is given and from nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from attnlab.registry import Registry
from attnlab.specs import Split as Split  # tasks know it from here

IGNORE = -100
"""Target where nothing is asked."""

Tokens = NDArray[np.int64]


class Batch(NamedTuple):
    """Sequences and what is asked of them: the same rule in training and in test."""

    inputs_BT: Tokens
    targets_BT: Tokens
    """The answer due at each position, or IGNORE."""
    accepted_NW: Tokens | None = None
    """Where several answers are right: all of them for each question, in row-major order, padded with IGNORE."""

    def query_positions(self) -> Tokens:
        """Indices of the supervised positions in the flattened batch, N, in row-major order."""
        return np.flatnonzero(self.targets_BT.ravel() != IGNORE)

    def query_targets(self) -> Tokens:
        """The targets at the supervised positions, N."""
        return self.targets_BT.ravel()[self.query_positions()]

    def correct(self, predicted_N: Tokens) -> NDArray[np.bool_]:
        """Tell which predictions are among the accepted answers.

        Args:
            predicted_N: One token for each supervised position, in row-major order.

        Returns:
            Bool, N.
        """
        if self.accepted_NW is None:
            return predicted_N == self.query_targets()
        return (self.accepted_NW == predicted_N[:, None]).any(axis=1)


class Cell(NamedTuple):
    """One position, as a person reads it."""

    token: str
    target: str
    """What is due here; empty where nothing is asked."""


class Task(ABC):
    """A generator of sequences with answers."""

    complexity: ClassVar[str]
    """The option that makes it harder."""

    vocabulary: int
    """V: tokens are 0 .. V - 1."""
    length: int
    """T: tokens of a sequence, at most."""
    chance: float
    """Accuracy of the best guess that does not look at what is asked."""
    best_accuracy: float = 1.0
    """Accuracy of the best guess that looks at everything: below 1 where answers are partly chance, nan if unknown."""
    cheap_to_build: ClassVar[bool] = True
    """Whether it is built in a blink; a list of all tasks leaves alone what must draw or read its material first."""
    intended_shortcut: str = ""
    """The shortcut that is the point of the task, by its name in the audit, such as ``nearest context``."""

    @classmethod
    def resolve_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """The options as they are recorded: what they only point at, such as a file, is pinned down by its content.

        Equal recorded options give equal numbers. Settling what is settled changes nothing.

        Raises:
            AttnlabError: what they point at is not there, or is no longer what was recorded.
        """
        return options

    @abstractmethod
    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw a batch of sequences."""

    def solve(self, tokens: Sequence[int]) -> list[int] | None:
        """The answer of each position of one sequence, or IGNORE, read off its tokens in the slow and obvious way.

        It shares nothing with ``sample``, so that the two can be held to one another. None where no solver is known.
        """
        return None

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens | None:
        """Answers to the questions of a batch, in row-major order, from a guess that is as good as ``chance``.

        None where a guess that any auditor knows will do: uniform over all answers, over those of the sequence or over
        the tokens so far that can be answers, or the commonest answer, of all or of each position.
        """
        return None

    def for_split(self, split: Split) -> Self:
        """What that stream draws from: the task itself, unless training and test must share no material."""
        return self

    def subtasks(self) -> Mapping[str, Task]:
        """Tasks within this one that are also scored by themselves, in this one's token ids."""
        return {}

    def token_to_str(self, token: int) -> str:
        """A token, as a person reads it."""
        return str(token)

    def render(self, batch: Batch, row: int) -> list[Cell]:
        """One sequence of a batch, position by position."""
        pairs = zip(batch.inputs_BT[row].tolist(), batch.targets_BT[row].tolist(), strict=True)
        return [
            Cell(self.token_to_str(token), "" if target == IGNORE else self.token_to_str(target))
            for token, target in pairs
        ]


def no_targets(inputs_BT: Tokens) -> Tokens:
    """Targets of the shape of the inputs, with nothing asked yet."""
    return np.full_like(inputs_BT, IGNORE)


TASKS: Registry[Task] = Registry("task", "attnlab.tasks")
register = TASKS.register
