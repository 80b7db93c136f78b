"""Mean squared error: of tasks whose tokens are numbers, how far the answers are from the targets.

    value = mean over the answers of a sequence of (answer - target)^2

Of a task with ids the number of a token is its id, so that this fits tasks such as ``modular-counting`` or
``histogram``, in which token n stands for n. 0 is right.

Source   ours.
"""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from attnlab.scorer.base import PADDING, Answers, Scorer, Values, register


@register("mean_squared_error", source="ours")
@final
class MeanSquaredError(Scorer):
    """Mean square of the difference between answers and targets, as numbers."""

    bounds: ClassVar[tuple[float, float] | None] = None
    higher_is_better: ClassVar[bool] = False

    def score(self, answers_BA: Answers, targets_BA: Answers) -> Values:
        """Average over the answers of each sequence."""
        is_asked_BA = targets_BA != PADDING
        squares_BA = np.where(is_asked_BA, (answers_BA - targets_BA).astype(np.float64) ** 2, 0.0)
        values: Values = squares_BA.sum(axis=1) / np.maximum(is_asked_BA.sum(axis=1), 1)
        return values
