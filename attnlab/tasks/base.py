"""The base class of all tasks.

Letters  B sequences of the batch, T tokens, N supervised positions of the batch.

A task is built for one level, with its options as keyword arguments. It draws whole batches, without a loop over rows,
from the generator that it is given and from nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from attnlab.errors import InvalidValueError
from attnlab.registry import Registry
from attnlab.sizes import MAX_LENGTH
from attnlab.specs import Split as Split  # tasks import these names from here
from attnlab.tasks.batch import IGNORE as IGNORE
from attnlab.tasks.batch import Batch as Batch
from attnlab.tasks.batch import Tokens as Tokens
from attnlab.tasks.ops.chance import draw_samples, exact_match_chance, measure_chance


class Cell(NamedTuple):
    """One position as text."""

    token: str
    target: str
    """The target; empty where the position is not supervised."""


class Task(ABC):
    """A generator of token sequences with targets."""

    complexity: ClassVar[str]
    """The option that makes the task harder; the levels of a ladder are its values."""

    vocabulary: int
    """V: tokens are 0 .. V - 1."""
    length: int
    """T: the largest number of tokens of a sequence."""
    max_length: int = MAX_LENGTH
    """The most tokens that a sequence may have, or numbers where its tokens have ``features``. What is longer is
    refused when the task is built, so that a batch, and the samples that chance is measured on, take seconds at most.
    """
    features: int = 0
    """F: numbers per token, where tokens are no ids. Targets then are numbers too, and the vocabulary is 1: the model
    has a linear map of the numbers in place of the embedding, one output, and the squared error as its loss."""
    best_accuracy: float = 1.0
    """The best achievable accuracy: below 1 where targets are partly random, nan where it is unknown."""
    splits_are_alike: bool = True
    """Whether the splits of a finite data set are meant to have one distribution."""
    asks_more_in_training: bool = False
    """Whether training has further targets, which no test has and which need not be determined by the tokens."""
    has_rows: bool = False
    """Whether the sequences are the rows of a table, each of one split, so that those of the test are new."""
    cheap_to_build: ClassVar[bool] = True
    """Whether building the task takes milliseconds; a list of all tasks does not build the others."""
    intended_shortcut: str = ""
    """The shortcut that the task is meant to have, by its name in the audit, such as ``nearest context``."""
    scorers: tuple[str, ...] = ()
    """Names of the scorers by which a test is scored too, beside accuracy and exact match; see ``attnlab.scorer``."""
    verifies_generated: ClassVar[bool] = False
    """Whether ``verify`` tells which answers are right given the answers before them, where several are."""
    chance_guess: ClassVar[str] = "the best guess that does not look at what is asked"
    """The guess whose accuracy ``chance`` is, in words for a table."""

    @cached_property
    def chance(self) -> float:
        """Chance accuracy: the accuracy of the best guess that does not look at what is asked.

        The default is measured (``attnlab.tasks.ops.chance``). A task whose chance is known exactly sets it.
        """
        return measure_chance(self).accuracy

    def chance_samples(self) -> tuple[Batch, Batch, Batch]:
        """Sequences of the training split from which chance is measured.

        Returns:
            Three samples: blind guesses are fitted on the first, chosen on the second and scored on the third.
        """
        return draw_samples(self)

    @cached_property
    def exact_match_chance(self) -> float:
        """The best probability that such a guess is correct at all supervised positions of a sequence.

        The default is measured, or the product of the chance accuracies where the task has a better guess of its own
        than the blind guesses.
        """
        return exact_match_chance(self)

    @classmethod
    def resolve_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Replace references, such as the path of a file, by a description of the content.

        Equal resolved options give equal numbers. Resolving resolved options changes nothing.

        Args:
            options: All options of the task, with their values.

        Returns:
            The options as they are recorded.

        Raises:
            AttnlabError: A referenced file does not exist or has changed since it was recorded.
        """
        return options

    @abstractmethod
    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw a batch of sequences.

        Args:
            random: The only source of randomness.
            batch: B, the number of sequences.

        Returns:
            Inputs and targets, both B x T.
        """

    def solve(self, tokens: Sequence[int]) -> list[int] | None:
        """Compute the targets of one sequence from its tokens, in a slow and simple way.

        It shares no code with ``sample``, so that tests can compare the two.

        Args:
            tokens: The inputs of one sequence, T.

        Returns:
            The target of each position or IGNORE, T; None where no solver is known.
        """
        return None

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens | None:
        """Guess the targets of a batch with accuracy ``chance``.

        A task needs this only if it declares a chance that is above that of every blind guess
        (``attnlab.tasks.ops.blind_guesses``) and is not that of a uniform guess among the answers of the sequence.

        Args:
            random: Source of randomness for the guess.
            batch: The sequences.

        Returns:
            One token for each supervised position, N, in row-major order; None where a guess of the audit is enough.
        """
        return None

    def verify(self, batch: Batch, answers_N: Tokens) -> NDArray[np.bool_]:
        """Tell which answers of a rollout are right.

        The default compares them with the accepted tokens. Where these depend on earlier answers, a task compares each
        answer with those that were generated before it, and sets ``verifies_generated``.

        Args:
            batch: The sequences, with the answers of the task as inputs.
            answers_N: The generated token of each supervised position, in row-major order.

        Returns:
            Bool, N.
        """
        return batch.correct(answers_N)

    def for_split(self, split: Split) -> Self:
        """Return the task that a split draws from.

        Args:
            split: The split.

        Returns:
            The task itself, unless training and test must share no material.
        """
        return self

    def held_out(self, random: np.random.Generator, sequences: int, batch: int) -> Iterator[Batch] | None:
        """Take sequences of a finite data set, each once; of a split, the task is that of :meth:`for_split`.

        Args:
            random: The only source of randomness.
            sequences: The most sequences in all; there are fewer if the data set has fewer.
            batch: The most sequences of a batch.

        Returns:
            The batches, which may differ in length; None where ``sample`` draws new sequences without end.
        """
        return None

    def subtasks(self) -> Mapping[str, Task]:
        """Tasks within this one that are also evaluated separately, in the token ids of this one; by name."""
        return {}

    def subtask_of(self, batch: Batch) -> Tokens:
        """Tell which subtask each sequence belongs to; a task with subtasks has its own rule.

        Args:
            batch: Sequences of this task.

        Returns:
            Index of the subtask in the order of ``subtasks``, B.

        Raises:
            InvalidValueError: The sequences do not tell it.
        """
        if len(self.subtasks()) > 1:
            raise InvalidValueError("The sequences do not tell which subtask they belong to.", "Define subtask_of.")
        return np.zeros(len(batch.inputs_BT), np.int64)

    def token_to_str(self, token: int) -> str:
        """Convert a token to text.

        Args:
            token: The token id.

        Returns:
            The text; each token of the vocabulary has its own.
        """
        return str(token)

    def render(self, batch: Batch, row: int) -> list[Cell]:
        """Convert one sequence of a batch to text.

        Args:
            batch: The sequences.
            row: Index of the sequence.

        Returns:
            One cell for each position, T.
        """
        pairs = zip(batch.inputs_BT[row].tolist(), batch.targets_BT[row].tolist(), strict=True)
        return [
            Cell(self.token_to_str(token), "" if target == IGNORE else self.token_to_str(target))
            for token, target in pairs
        ]


def no_targets(inputs_BT: Tokens) -> Tokens:
    """Make targets in which no position is supervised.

    Args:
        inputs_BT: Tokens; only the shape is used.

    Returns:
        IGNORE at every position, B x T.
    """
    return np.full_like(inputs_BT, IGNORE)


TASKS: Registry[Task] = Registry("task", "attnlab.tasks")
register = TASKS.register
