"""What the tests of the mechanisms share: sites, pairs and tiny models, built from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS, Attention
from attnlab.model.transformer import Transformer, build
from attnlab.position import POSITIONS, Position
from attnlab.specs import ModelSpec, Part
from attnlab.tensors import LayerContext

VOCABULARY = 11
LENGTH = 16
SOFTMAX, NO_POSITION = Part(name="softmax"), Part(name="none")


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def layer_context(
    width: int = 8, heads: int = 2, *, biased: bool = False, length: int = LENGTH, seed: int = 0
) -> LayerContext:
    """A place in a model of one layer."""
    return LayerContext(width=width, heads=heads, biased=biased, length=length, generator=seeded(seed))


def attention_of(name: str, options: Mapping[str, Any] | None = None, **where: Any) -> Attention:
    """A registered attention at a site."""
    entry = ATTENTIONS.entry(name)
    return entry.cls(layer_context(**where), **entry.complete(options or {}))


def position_of(name: str, options: Mapping[str, Any] | None = None, **where: Any) -> Position:
    """A registered position at a site."""
    entry = POSITIONS.entry(name)
    return entry.cls(layer_context(**where), **entry.complete(options or {}))


def pair_of(attention: Part, position: Part, **where: Any) -> tuple[Attention, Position]:
    """An attention beside its position, in float64."""
    biased = POSITIONS.entry(position.name).cls.biases
    one = attention_of(attention.name, attention.options, biased=biased, **where)
    return one.double(), position_of(position.name, position.options, **where).double()


def model_of(
    attention: Part | tuple[Part, ...] = SOFTMAX,
    position: Part = NO_POSITION,
    *,
    seed: int = 0,
    length: int = LENGTH,
    **sizes: Any,
) -> Transformer:
    """A model of two layers, width 8 and two heads, unless told otherwise, in float64."""
    stack = attention if isinstance(attention, tuple) else (attention,)
    spec = ModelSpec(
        **{"layers": 2, "width": 8, "heads": 2, "mlp_ratio": 1.0, **sizes}, attention=stack, position=position
    )
    return build(spec, vocabulary=VOCABULARY, length=length, seed=seed).double()


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    """Token ids, B x T."""
    return torch.randint(VOCABULARY, (batch, length), generator=seeded(seed))


def all_positions(inputs_BT: Tensor) -> Tensor:
    """All places of a batch."""
    return torch.arange(inputs_BT.numel())
