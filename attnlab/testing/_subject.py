"""The variant under check, built at any size.

Letters  B batch, T tokens, D width, H heads; N query positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from attnlab.attention import Attention
from attnlab.attention.adapter import Adapted
from attnlab.errors import InvalidValueError
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import select_positions
from attnlab.position import POSITIONS, Position
from attnlab.registry import Entry
from attnlab.tensors import LayerContext, LayerInputs
from attnlab.testing._seeds import seeded

WIDTH, HEADS, LENGTH = 16, 4, 256
"""Small sizes at which each head still has several channels."""
LAYERS = 2
LONGEST = 4096
"""Largest length that is tried; options that need more are reported with their error."""
SINGLE = 1e-4
"""Largest difference between two orders of sums in float32, where outputs are of order 1."""
TRIED = 64
"""Tokens of the trial that tells types apart; modules of whole blocks take them."""
STEP = 2.0**-23
"""Relative change of the inputs by which rounding is told from curvature: a second difference of it is 1e-14."""
ROUGH, RANDOM = 1e-9, 1e-3
"""Second differences, as shares of the largest output: of more than the first the output is rounded to float32; of
more than the second it is not a function of the input."""


@dataclass(frozen=True)
class Subject:
    """One attention with its options."""

    entry: Entry[Attention]
    options: Mapping[str, Any] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """What several checks ask for and is found once, by name."""

    @property
    def adapted(self) -> bool:
        """Whether it is a module of its own, which has no parts of the template."""
        return issubclass(self.entry.cls, Adapted)

    @cached_property
    def exact(self) -> bool:
        """Whether it computes in float64 where weights and inputs have that type; a cast may be anywhere inside.

        A smooth function of x has f(x + d) - 2 f(x) + f(x - d) = O(d^2). Rounding inside is seen beside it.
        """
        try:
            x_BTD, (lower, middle, upper) = self._trial(torch.float64)
        except Exception:
            return not self._accepts_float32()
        if middle.shape != x_BTD.shape or middle.is_complex():
            return True
        roughness = max_difference(lower + upper, 2 * middle) / max(1e-30, float(middle.abs().max()))
        return not ROUGH < roughness < RANDOM

    def _accepts_float32(self) -> bool:
        """Whether it computes in float32 at least; an exception for another reason says nothing of types."""
        try:
            self._trial(torch.float32)
        except Exception:
            return False
        return True

    @torch.no_grad()
    def _trial(self, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        """Inputs, and the outputs for them and for those a small step below and above."""
        attention, context = self.build_with_context(dtype=dtype)
        x_BTD = random_inputs(2, TRIED, width=context.width, dtype=dtype)
        return x_BTD, [_seeded_run(attention, x_BTD * (1 + step)) for step in (-STEP, 0.0, STEP)]

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and inputs where results are compared."""
        return torch.float64 if self.exact else torch.float32

    def tolerance(self, exact: float, single: float = SINGLE) -> float:
        """The largest difference that is rounding, for outputs of order 1.

        Args:
            exact: That in float64.
            single: That of an attention which computes in float32.

        Returns:
            The one that holds.
        """
        return exact if self.exact else max(exact, single)

    @property
    def rounding(self) -> str:
        """What to add to a finding that passes with the larger tolerance; empty for an exact attention."""
        return "" if self.exact else "; it computes in float32"

    def build(self, **sizes: Any) -> Attention:
        """The attention, with weights drawn from the seed; for the sizes see :meth:`build_with_context`."""
        return self.build_with_context(**sizes)[0]

    def build_with_context(
        self,
        *,
        width: int = WIDTH,
        heads: int = HEADS,
        length: int = LENGTH,
        seed: int = 0,
        dtype: torch.dtype | None = None,
        training: bool = False,
        **fields: Any,
    ) -> tuple[Attention, LayerContext]:
        """Build the attention and its layer context.

        Torch's global generator is seeded as the builder of models does it, so that torch's own layers are a function
        of the seed too. Options may need a longer sequence than a check uses, or more heads. So the first context that
        the options accept is used: at the requested width and then at the usual one, with the length and its doubles.

        Args:
            width: D.
            heads: H.
            length: Largest T.
            seed: Seed of the weights.
            dtype: Type of the weights; None is that in which results are compared.
            training: Whether the attention is in training mode; whatever is measured is measured in evaluation mode.
            **fields: Other fields of the context.

        Returns:
            The attention and its context.

        Raises:
            InvalidValueError: No context is accepted; the error is that of the requested sizes.
        """
        options = self.entry.complete(self.options)
        errors: list[InvalidValueError] = []
        for size, count in dict.fromkeys([(width, heads), (max(width, WIDTH), max(heads, HEADS))]):
            for longest in (length * 2**step for step in range(max(1, (LONGEST // length).bit_length()))):
                generator = torch.Generator().manual_seed(seed)
                context = LayerContext(
                    width=size, heads=count, layers=LAYERS, length=longest, generator=generator, **fields
                )
                try:
                    with seeded(seed):
                        attention = self.entry.cls(context, **options)
                        _initialize_lazy(attention, size)
                except InvalidValueError as error:
                    errors.append(error)
                else:
                    return _converted(attention, dtype or self.dtype).train(training), context
        raise errors[0]


def _initialize_lazy(attention: Attention, width: int) -> None:
    """Give lazy layers their sizes, as the builder of models does."""
    tensors = [*attention.parameters(), *attention.buffers()]
    if any(map(is_lazy, tensors)):
        with torch.no_grad(), evaluation_mode(attention):
            run(attention, random_inputs(1, 7, width=width, dtype=torch.float32))


def _converted(attention: Attention, dtype: torch.dtype) -> Attention:
    """The attention with real weights of a type, and complex ones of the type that has its precision.

    Weights that are float64 by construction stay so beside inputs in float32, as they do in training.
    """

    def convert(tensor: Tensor) -> Tensor:
        if dtype is torch.float32 and tensor.dtype in (torch.float64, torch.complex128):
            return tensor
        kind = dtype.to_complex() if tensor.is_complex() else dtype
        return tensor.to(kind) if tensor.is_complex() or tensor.is_floating_point() else tensor

    converted: Attention = attention._apply(convert)  # type: ignore[no-untyped-call]
    return converted


def build_position(name: str = "none", *, width: int = WIDTH, heads: int = HEADS, length: int = LENGTH) -> Position:
    """A registered position in float64; parameters that start at zero are drawn, so that they have an effect."""
    entry = POSITIONS.entry(name)
    context = LayerContext(
        width=width, heads=heads, layers=LAYERS, length=length, generator=torch.Generator().manual_seed(1)
    )
    position = entry.cls(context, **entry.complete({})).double()
    with torch.no_grad():
        for parameter in position.parameters():
            drawn = torch.randn(parameter.shape, generator=context.generator) if not parameter.any() else parameter
            parameter.copy_(drawn)
    return position


def random_inputs(
    batch: int, tokens: int, *, width: int = WIDTH, seed: int = 2, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Standard normal inputs, B x T x D."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, tokens, width, generator=generator, dtype=torch.float64).to(dtype)


def run(
    attention: Attention, x_BTD: Tensor, position: Position | None = None, query_positions: Tensor | None = None
) -> Tensor:
    """The attention's output, B x T x D; with query positions N x D."""
    position = position or build_position(width=x_BTD.shape[-1])
    inputs = LayerInputs(query_positions=query_positions)
    output_BTD = attention(position.embed(x_BTD).to(x_BTD.dtype), position, inputs).output_BTD
    return output_BTD if query_positions is None else select_positions(output_BTD, query_positions)


def _seeded_run(attention: Attention, x_BTD: Tensor) -> Tensor:
    with seeded(0):
        return run(attention, x_BTD)


def max_difference(one: Tensor, other: Tensor) -> float:
    """Largest absolute difference; infinite if either is not finite."""
    one, other = (tensor.detach() if tensor.is_complex() else tensor.detach().double() for tensor in (one, other))
    difference = (one - other).abs()
    return float(difference.max()) if bool(difference.isfinite().all()) else float("inf")
