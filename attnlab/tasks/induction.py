"""Induction: a mark occurs once in a string of letters; at its second occurrence, predict the letter that followed.

    inputs   2  0  !  3  1  0  !
    targets  .  .  .  .  .  .  3

All letters are uniform. The first mark is at a uniform position, with a letter after it. The second one ends the
sequence and is the only supervised position. Chance accuracy is that of a guess among the letters of the sequence.

Source   Gu and Dao, "Mamba", arXiv:2312.00752, evaluate an induction-heads task. The layout, a mark at the end that
         queries the letter after the first mark, is that of the public code HazyResearch/safari. Induction heads are
         from Olsson et al., "In-context learning and induction heads", arXiv:2209.11895.
Theirs   copy prefix -> !, vocab_size -> alphabet + 2, input_seq_len -> length - 1.
Differs  one mark before the end and one letter after it (theirs can repeat the mark, or query several letters); the
         same position is supervised in training and test (theirs trains on every next token).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.tasks.base import IGNORE, Batch, Task, no_targets, register
from attnlab.tasks.recall_stream import seen_letter_accuracy


@register("induction", source="arXiv:2312.00752, arXiv:2209.11895")
@final
class Induction(Task):
    """Predict the letter that followed the first occurrence of a mark.

    Options:
        length: Tokens of a sequence, including both marks.
        alphabet: Letters to draw from.
    """

    complexity = "length"
    intended_shortcut = "nearest context"

    def __init__(self, *, length: Annotated[int, Field(ge=3)] = 32, alphabet: Annotated[int, Field(ge=2)] = 16) -> None:
        self.length, self.alphabet = length, alphabet
        self.vocabulary = alphabet + 1
        self.chance = seen_letter_accuracy(alphabet, length - 2)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform letters, with one mark among them and one at the end."""
        inputs_BT = random.integers(0, self.alphabet, (batch, self.length))
        rows, positions = np.arange(batch), random.integers(0, self.length - 2, batch)
        inputs_BT[rows, positions] = self.alphabet
        inputs_BT[:, -1] = self.alphabet
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = inputs_BT[rows, positions + 1]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Return the token after the first mark."""
        mark = list(tokens).index(self.alphabet)
        return [IGNORE] * (len(tokens) - 1) + [tokens[mark + 1]]

    def token_to_str(self, token: int) -> str:
        """Letters as numbers, the mark as an exclamation mark."""
        return "!" if token == self.alphabet else str(token)
