"""The base class of all scorers. A scorer compares the answers of each sequence with its targets, as a whole.

Accuracy counts answers and exact match counts sequences without a wrong one, for every task. A task for which these say
too little names scorers, and its runs have their means too: in records, reports and claims, by the scorer's name.

Letters  B sequences, A answers of the sequence that has most.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attnlab.registry import Registry

Answers = NDArray[np.int64]
"""Tokens of sequences, B x A; a sequence with fewer ends with -100. Of a task with numbers, numbers."""
Values = NDArray[np.float64]
PADDING = -100
"""What stands after the last answer of a sequence."""


class Scorer(ABC):
    """A comparison of answers with targets that gives one number for each sequence."""

    bounds: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    """The lowest and the highest number; None where there are none."""
    higher_is_better: ClassVar[bool] = True
    """Whether a right answer has the highest number, and not the lowest."""

    @abstractmethod
    def score(self, answers_BA: Answers, targets_BA: Answers) -> Values:
        """Compare answers with targets.

        Args:
            answers_BA: The answers of each sequence in order, padded with -100.
            targets_BA: The targets at the same positions, padded alike.

        Returns:
            One number for each sequence, B.
        """


SCORERS: Registry[Scorer] = Registry("scorer", "attnlab.scorer")
register = SCORERS.register


def find_scorer(name: str) -> Scorer:
    """Build a scorer with its default options.

    Args:
        name: Its registered name.

    Returns:
        The scorer.

    Raises:
        UnknownNameError: No scorer has the name.
    """
    entry = SCORERS.entry(name)
    options: dict[str, Any] = entry.complete({})
    return entry.cls(**options)
