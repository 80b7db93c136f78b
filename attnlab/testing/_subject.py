"""The variant under check, built at any size.

Letters  B batch, T tokens, D width, H heads; N query positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from attnlab.attention import Attention
from attnlab.errors import InvalidValueError
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import select_positions
from attnlab.position import POSITIONS, Position
from attnlab.registry import Entry
from attnlab.tensors import QKV, LayerContext, LayerInputs
from attnlab.testing._seeds import seeded

WIDTH, HEADS, LENGTH = 16, 4, 256
"""Small sizes at which each head still has several channels."""
LAYERS = 2
LONGEST = 4096
"""Largest length that is tried; options that need more are reported with their error."""


HEADLESS = "the output is not that of the template's queries, keys and values"
"""Why checks of the effective matrix do not apply to some attentions."""


@dataclass(frozen=True)
class Subject:
    """One attention with its options."""

    entry: Entry[Attention]
    options: Mapping[str, Any] = field(default_factory=dict)

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
        dtype: torch.dtype = torch.float64,
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
            dtype: Type of the weights.
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
                    return _converted(attention, dtype).train(training), context
        raise errors[0]


def _initialize_lazy(attention: Attention, width: int) -> None:
    """Give lazy layers their sizes, as the builder of models does."""
    tensors = [*attention.parameters(), *attention.buffers()]
    if any(map(is_lazy, tensors)):
        with torch.no_grad(), evaluation_mode(attention):
            run(attention, random_inputs(1, 7, width=width, dtype=torch.float32))


def _converted(attention: Attention, dtype: torch.dtype) -> Attention:
    """The attention with real weights of a type, and complex ones of the type that has its precision."""

    def convert(tensor: Tensor) -> Tensor:
        kind = dtype.to_complex() if tensor.is_complex() else dtype
        return tensor.to(kind) if tensor.is_complex() or tensor.is_floating_point() else tensor

    converted: Attention = attention._apply(convert)  # type: ignore[no-untyped-call]
    return converted


def has_heads(attention: Attention, width: int) -> bool:
    """Whether the output is that of the attention's own queries, keys and values.

    A class that overrides ``forward`` may compute its output in another way. What the template would compute of such
    an attention is not what it does, and some of the template's parts may not exist.

    Args:
        attention: The attention.
        width: D.

    Returns:
        Whether ``output(attend(prepare(x)))`` exists and is the attention's output.
    """
    if type(attention).forward is Attention.forward:
        return True
    x_BTD = random_inputs(2, 7, width=width, dtype=next(attention.parameters(), torch.zeros(1).double()).dtype)
    output_BTD = run(attention, x_BTD)
    try:
        qkv, no_position = prepare_qkv(attention, x_BTD)
        template_BTD = attention.output(attention.attend(qkv, no_position), x_BTD)
    except Exception:
        return False  # whatever is missing, the template does not describe this attention
    return template_BTD.shape == output_BTD.shape and max_difference(template_BTD, output_BTD) < 1e-6


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
    output_BTD = attention(position.embed(x_BTD), position, inputs).output_BTD
    return output_BTD if query_positions is None else select_positions(output_BTD, query_positions)


def prepare_qkv(attention: Attention, x_BTD: Tensor) -> tuple[QKV, Position]:
    """Queries, keys and values with the position ``none``, and that position."""
    no_position = build_position(width=x_BTD.shape[-1])
    return attention.prepare(x_BTD, no_position, LayerInputs()), no_position


def max_difference(one: Tensor, other: Tensor) -> float:
    """Largest absolute difference; infinite if either is not finite."""
    difference = (one.detach().double() - other.detach().double()).abs()
    return float(difference.max()) if bool(difference.isfinite().all()) else float("inf")
