"""Set match: whether the answers of a sequence are those of the targets, in any order and any number.

    answers  c a b   targets  a b c    1
    answers  a a b   targets  a b b    1
    answers  a b d   targets  a b c    0

Source   ours.
"""

from __future__ import annotations

from typing import final

import numpy as np

from attnlab.scorer.base import Answers, Scorer, Values, register


@register("set_match", source="ours")
@final
class SetMatch(Scorer):
    """Whether the different answers of a sequence are its different targets."""

    def score(self, answers_BA: Answers, targets_BA: Answers) -> Values:
        """1 where each answer is among the targets and each target among the answers, 0 elsewhere."""
        equal_BAA = answers_BA[:, :, None] == targets_BA[:, None, :]
        values: Values = (equal_BAA.any(axis=1).all(axis=1) & equal_BAA.any(axis=2).all(axis=1)).astype(np.float64)
        return values
