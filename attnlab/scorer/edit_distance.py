"""Edit distance: the fewest insertions, deletions and replacements that make the targets of the answers of a sequence.

    D[i, j] = min(D[i-1, j] + 1, D[i, j-1] + 1, D[i-1, j-1] + (answer i != target j))      D[i, 0] = i, D[0, j] = j
    value   = D[answers, targets] / number of targets

    answers  a c d e   targets  a b c d    D = 2 (insert b, delete e)    value 0.5

So an answer that is right but for one token too many in its middle is near, where accuracy counts all later tokens as
wrong. 0 is right; with one answer to each target the highest value is 1.

Source   Levenshtein 1966; divided by the number of targets as in word error rates.
"""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from attnlab.scorer.base import PADDING, Answers, Scorer, Values, register


@register("edit_distance", source="Levenshtein 1966")
@final
class EditDistance(Scorer):
    """Edits that make the targets of the answers of a sequence, per target."""

    higher_is_better: ClassVar[bool] = False

    def score(self, answers_BA: Answers, targets_BA: Answers) -> Values:
        """Fill the rows of the table for all sequences together."""
        batch, size = targets_BA.shape
        columns = np.arange(size + 1)
        row_BJ = np.broadcast_to(columns, (batch, size + 1))
        answered_B, asked_B = (answers_BA != PADDING).sum(axis=1), (targets_BA != PADDING).sum(axis=1)
        for index in range(size):
            replaced_BJ = row_BJ[:, :-1] + (answers_BA[:, index, None] != targets_BA)
            best_BJ = np.concatenate([row_BJ[:, :1] + 1, np.minimum(replaced_BJ, row_BJ[:, 1:] + 1)], axis=1)
            # An insertion costs 1 per column: the best earlier column plus the columns since.
            inserted_BJ = np.minimum.accumulate(best_BJ - columns, axis=1) + columns
            row_BJ = np.where((index < answered_B)[:, None], inserted_BJ, row_BJ)
        edits_B = row_BJ[np.arange(batch), asked_B]
        values: Values = edits_B / np.maximum(asked_B, 1)
        return values
