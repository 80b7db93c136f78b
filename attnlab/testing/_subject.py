"""The variant under check, built at any size.

Letters  B batch, T tokens, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attnlab.attention import Attention
from attnlab.errors import InvalidValueError
from attnlab.model.transformer import select_positions
from attnlab.position import POSITIONS, Position
from attnlab.registry import Entry
from attnlab.tensors import QKV, LayerContext, LayerInputs

WIDTH, HEADS, LENGTH = 16, 4, 256
"""Small, and with heads that still have several channels."""
LAYERS = 2
LONGEST = 4096
"""Options that need longer runs than this are told as they are refused."""


@dataclass(frozen=True)
class Subject:
    """One attention with its options."""

    entry: Entry[Attention]
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, *, dtype: torch.dtype = torch.float64, **sizes: Any) -> Attention:
        """The attention, with weights drawn from the seed; for sizes see :meth:`placed`."""
        return self.placed(**sizes)[0].to(dtype)

    def placed(
        self, *, width: int = WIDTH, heads: int = HEADS, length: int = LENGTH, seed: int = 0, **where: Any
    ) -> tuple[Attention, LayerContext]:
        """The attention and its site.

        Options may ask for a longer run than a check has in mind, or for more heads: the site is the first that
        admits them, of the length and its doubles, at the width that is asked for and then at the usual one.

        Raises:
            InvalidValueError: no site admits them; the refusal at the sizes asked for.
        """
        options = self.entry.complete(self.options)
        refusals: list[InvalidValueError] = []
        for size, count in dict.fromkeys([(width, heads), (max(width, WIDTH), max(heads, HEADS))]):
            for longest in (length * 2**step for step in range(max(1, (LONGEST // length).bit_length()))):
                generator = torch.Generator().manual_seed(seed)
                context = LayerContext(
                    width=size, heads=count, layers=LAYERS, length=longest, generator=generator, **where
                )
                try:
                    return self.entry.cls(context, **options), context
                except InvalidValueError as refusal:
                    refusals.append(refusal)
        raise refusals[0]


def position(name: str = "none", *, width: int = WIDTH, heads: int = HEADS, length: int = LENGTH) -> Position:
    """A registered position in float64, with noise where it starts at zero: what says nothing leaks nothing."""
    entry = POSITIONS.entry(name)
    context = LayerContext(
        width=width, heads=heads, layers=LAYERS, length=length, generator=torch.Generator().manual_seed(1)
    )
    built = entry.cls(context, **entry.complete({})).double()
    with torch.no_grad():
        for weight in built.parameters():
            weight.copy_(weight if weight.any() else torch.randn(weight.shape, generator=context.generator))
    return built


def stream(batch: int, tokens: int, *, width: int = WIDTH, seed: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal tokens, B x T x D."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, tokens, width, generator=generator, dtype=torch.float64).to(dtype)


def run(attention: Attention, x_BTD: Tensor, place: Position | None = None, positions: Tensor | None = None) -> Tensor:
    """The attention's output, B x T x D; or N x D, where some of it is asked."""
    place = place or position(width=x_BTD.shape[-1], heads=attention.num_heads)
    written_BTD = attention(place.embed(x_BTD), place, LayerInputs(query_positions=positions)).output_BTD
    return written_BTD if positions is None else select_positions(written_BTD, positions)


def heads_of(attention: Attention, x_BTD: Tensor) -> tuple[QKV, Position]:
    """Prepared heads without any position, and that position."""
    nowhere = position(width=x_BTD.shape[-1], heads=attention.num_heads)
    return attention.prepare(x_BTD, nowhere, LayerInputs()), nowhere


def width_of(attention: Attention) -> int:
    """D, which the options may have made larger than asked."""
    return attention.num_heads * attention.channels


def gap(one: Tensor, other: Tensor) -> float:
    """Largest absolute difference; infinite if either is not finite."""
    difference = (one.detach().double() - other.detach().double()).abs()
    return float(difference.max()) if bool(difference.isfinite().all()) else float("inf")
