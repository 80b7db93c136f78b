"""Sorted random samples of whole numbers: the positions of randomized encodings.

    n_0 < n_1 < ... < n_{T-1}: T of 0 .. N - 1, drawn without replacement

A sample is a function of the seed, the index of the draw and T. No state is kept between two passes.

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
        context: The sizes of the model; its generator gives the seed of all samples.
        range: Number of positions to draw from, N.

    Raises:
        InvalidValueError: the longest sequence has more tokens than the range has positions.
    """

    key: Tensor
    """The seed of all samples; a buffer, so that each vmapped run has its own."""

    def __init__(self, context: LayerContext, range: int) -> None:
        super().__init__()
        self.range = range
        self.register_buffer("key", torch.randint(WORD, (), generator=context.generator), persistent=False)
        self(context.length, draw=0)

    def forward(self, tokens: int, draw: int, first: int = 0) -> Tensor:
        """Draw a sample of ``first`` .. N - 1.

        Args:
            tokens: Size of the sample, T.
            draw: Index of the sample.
            first: The smallest number to draw.

        Returns:
            The sorted sample, int64, T.

        Raises:
            InvalidValueError: more tokens than positions.
        """
        if first + tokens > self.range:
            hint = f"Use a range of at least {first + tokens}, better several times that."
            raise InvalidValueError(f"{first + tokens} tokens do not fit into a range of {self.range} positions.", hint)
        # Sorting by a bijection of 32-bit numbers has no ties, and works under vmap with one key per run.
        seed = scramble(scramble(self.key) + draw)
        shuffled_N = scramble(seed + torch.arange(self.range - first, device=self.key.device))
        return first + shuffled_N.argsort()[:tokens].sort().values


def scramble(number: Tensor) -> Tensor:
    """Hash 32-bit numbers by a bijection, the finalizer of MurmurHash3.

    Args:
        number: Whole numbers, int64; the lower 32 bits count.

    Returns:
        Numbers from 0 to 2^32 - 1, int64, in the same shape.
    """
    number = number & WORD
    number = ((number ^ (number >> 16)) * 0x85EBCA6B) & WORD
    number = ((number ^ (number >> 13)) * 0xC2B2AE35) & WORD
    return number ^ (number >> 16)
