"""Random samples of whole numbers, sorted: what randomized positions stand at.

    n_0 < n_1 < ... < n_{T-1}: T of 0 .. N - 1, drawn without replacement

A sample is a function of the seed, of the number of the draw and of T: nothing is remembered between two passes.

Letters  N numbers to draw from, T tokens.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from attnlab.errors import InvalidValueError
from attnlab.tensors import LayerContext

WORD = 2**32 - 1


@final
class Sample(nn.Module):
    """Sorted samples of a range.

    Args:
        context: Whose generator gives the seed of all samples.
        range: How many places there are, N.
    """

    key: Tensor
    """The seed of all samples; a buffer, so that lanes draw their own."""

    def __init__(self, context: LayerContext, range: int) -> None:
        super().__init__()
        self.range = range
        self.register_buffer("key", torch.randint(WORD, (), generator=context.generator), persistent=False)
        self(context.length, draw=0)

    def forward(self, tokens: int, draw: int, first: int = 0) -> Tensor:
        """So many of ``first`` .. N - 1, sorted, int64.

        Raises:
            InvalidValueError: more tokens than places.
        """
        if first + tokens > self.range:
            hint = f"Use a range of at least {first + tokens}, better several times that."
            raise InvalidValueError(f"{first + tokens} tokens do not fit into a range of {self.range} places.", hint)
        # Shuffling numbers by a bijection of 32 bits has no ties, and runs under vmap with a key for each lane.
        seed = scramble(scramble(self.key) + draw)
        shuffled_N = scramble(seed + torch.arange(self.range - first, device=self.key.device))
        return first + shuffled_N.argsort()[:tokens].sort().values


def scramble(number: Tensor) -> Tensor:
    """A bijection of 32-bit numbers that leaves no pattern (the finaliser of MurmurHash3); in int64, never negative."""
    number = number & WORD
    number = ((number ^ (number >> 16)) * 0x85EBCA6B) & WORD
    number = ((number ^ (number >> 13)) * 0xC2B2AE35) & WORD
    return number ^ (number >> 16)
