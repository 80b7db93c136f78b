"""F1: how many of the answers of a sequence are among its targets, in any order.

    common = sum over tokens of min(times among the answers, times among the targets)
    F1     = 2 common / (number of answers + number of targets)

    answers  b a d a   targets  a b c a    common 3    F1 0.75

The harmonic mean of precision and recall; as there is one answer to each target, all three are equal here.

Source   Rajpurkar et al., "SQuAD", arXiv:1606.05250.

Letters  B sequences, A answers of the sequence that has most.
"""

from __future__ import annotations

from typing import final

import numpy as np

from attnlab.scorer.base import PADDING, Answers, Scorer, Values, register


@register("f1", source="arXiv:1606.05250")
@final
class F1(Scorer):
    """Overlap of the answers of a sequence with its targets, in any order."""

    def score(self, answers_BA: Answers, targets_BA: Answers) -> Values:
        """Count each target that is among the answers at least as often as among the targets so far."""
        so_far = np.tri(targets_BA.shape[1], dtype=np.bool_)
        times_BA = ((targets_BA[:, :, None] == targets_BA[:, None, :]) & so_far).sum(axis=2)
        answered_BA = (targets_BA[:, :, None] == answers_BA[:, None, :]).sum(axis=2)
        common_B = ((targets_BA != PADDING) & (times_BA <= answered_BA)).sum(axis=1)
        sizes_B = (answers_BA != PADDING).sum(axis=1) + (targets_BA != PADDING).sum(axis=1)
        values: Values = np.where(sizes_B > 0, 2 * common_B / np.maximum(sizes_B, 1), 1.0)
        return values
