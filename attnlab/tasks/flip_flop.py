"""Flip-flop language: read the bit that was written last, past any number of bits to ignore.

    inputs   w  1  i  0  r  1  w  0  i  1  i  1  r
    targets  .  .  .  .  1  .  .  .  .  .  .  .  0

Pairs of an instruction and a bit. The first instruction is w (write) and the last is r (read). Of the others each is
i (ignore) with probability ``ignore``, and w or r equally often otherwise. The bits after w and i are uniform; the bit
after r is the one that was written last, the target at r. So accuracy counts reads, not sequences: a sequence of T
tokens has 1 + (T / 2 - 2) (1 - ignore) / 2 of them on average, three at T = 512 and ``ignore`` .98, but 115 at .1.

The loss is that of the reads. With ``loss: noisy`` training has the next token as target at every position; validation
and test have the reads alone, as ever. Chance is a guess among the bits so far, which are all equal in some sequences.

Source   Liu et al., "Exposing attention glitches with flip-flop language modeling", arXiv:2306.00946.
Theirs   T -> length, FFL(p) -> ignore; they train on .8 and test on .8, .98 (sparse) and .1 (dense).
Differs  the last bit is a target and no input, so that a sequence has T - 1 tokens; the default loss is theirs of
         reads alone ("clean"), where theirs is that of all tokens as a rule.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Literal, Self, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Split, Task, Tokens, register
from attnlab.tasks.ops.chance import draw_samples

WRITE, READ, IGNORED = 2, 3, 4
"""Ids after the two bits."""
WORDS = "01wri"


@register("flip-flop", source="arXiv:2306.00946")
@final
class FlipFlop(Task):
    """Given instructions to write, ignore and read bits, predict the bit that was written last at every read.

    Options:
        length: T: instructions and bits, with the bit of the last read; even.
        ignore: Probability of an instruction to ignore its bit.
        loss: ``clean`` trains on the reads alone, ``noisy`` on every next token; the test has the reads alone.
    """

    complexity = "length"
    vocabulary = len(WORDS)
    chance_guess = "a guess among the bits so far"

    def __init__(
        self,
        *,
        length: Annotated[int, Field(ge=4)] = 32,
        ignore: Annotated[float, Field(ge=0, lt=1)] = 0.8,
        loss: Literal["clean", "noisy"] = "clean",
    ) -> None:
        if length % 2:
            hint = f"Use {length - 1} or {length + 1}."
            raise InvalidValueError(f"Length must be even, not {length}: a bit follows each instruction.", hint,
                                    where="flip-flop")  # fmt: skip
        self.length, self.pairs, self.ignore = length - 1, length // 2, ignore
        self.asks_more_in_training = loss == "noisy"
        self.asks_every_token = False
        self.chance = _seen_bit_accuracy(self.pairs, (1 - ignore) / 2)

    def for_split(self, split: Split) -> Self:
        """The task itself; for training with the noisy loss, the task with a target at every position."""
        split_task = copy.copy(self)
        split_task.asks_every_token = split is Split.TRAIN and self.asks_more_in_training
        return split_task

    def chance_samples(self) -> tuple[Batch, Batch, Batch]:
        """Sequences of the test: those of training may have further targets."""
        return draw_samples(self, Split.TEST)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw instructions and bits; a read repeats the bit of the nearest write before it."""
        uniform = random.random((batch, self.pairs))
        threshold = (1 + self.ignore) / 2
        instructions = np.where(uniform < self.ignore, IGNORED, np.where(uniform < threshold, WRITE, READ))
        instructions[:, 0], instructions[:, -1] = WRITE, READ
        bits = random.integers(0, 2, (batch, self.pairs))
        is_read, order = instructions == READ, np.arange(self.pairs)
        last_write = np.maximum.accumulate(np.where(instructions == WRITE, order, 0), axis=1)
        bits = np.where(is_read, np.take_along_axis(bits, last_write, axis=1), bits)
        tokens = np.stack([instructions, bits], axis=2).reshape(batch, 2 * self.pairs)
        inputs_BT, next_BT = tokens[:, :-1], tokens[:, 1:]
        if self.asks_every_token:
            return Batch(inputs_BT, next_BT)
        return Batch(inputs_BT, np.where(inputs_BT == READ, next_BT, IGNORE))

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Keep the bit of each write; give it at each read."""
        targets, kept = [], -1
        for position, token in enumerate(tokens):
            targets.append(kept if token == READ else IGNORE)
            if token == WRITE:
                kept = tokens[position + 1]
        return targets

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens:
        """A uniform guess among the different bits so far."""
        seen = [np.maximum.accumulate(batch.inputs_BT == bit, axis=1).ravel() for bit in (0, 1)]
        zero, one = (flags[batch.query_positions()] for flags in seen)
        return np.where(zero & one, random.integers(0, 2, len(one)), one.astype(np.int64))

    def token_to_str(self, token: int) -> str:
        """Bits as numbers; w, r and i for the instructions."""
        return WORDS[token]


def _seen_bit_accuracy(pairs: int, reads: float) -> float:
    """Accuracy of a guess among the different bits so far.

    A read repeats a bit, so that it adds no new one. Of m bits that were drawn all are equal with probability
    2^(1 - m), and pair j (from 1) has j - 1 pairs before it, the first of which is a write.

    Args:
        pairs: Pairs of an instruction and a bit; the last is a read.
        reads: Probability of a read at each pair between the first and the last.

    Returns:
        Expected number of correct guesses over the expected number of reads.
    """
    all_equal = ((1 + reads) / 2) ** np.arange(pairs - 1)
    share = np.append(np.full(pairs - 2, reads), 1.0)
    return float((share * (1 + all_equal) / 2).sum() / share.sum())
