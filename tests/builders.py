"""Builders for the tests of attentions and positions: layer contexts, pairs and tiny models, from a seed."""

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
    """A new generator with a seed."""
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def layer_context(
    width: int = 8, heads: int = 2, *, biased: bool = False, length: int = LENGTH, seed: int = 0
) -> LayerContext:
    """The layer context of a model of one layer."""
    return LayerContext(width=width, heads=heads, biased=biased, length=length, generator=seeded(seed))


def attention_of(name: str, options: Mapping[str, Any] | None = None, **sizes: Any) -> Attention:
    """A registered attention."""
    entry = ATTENTIONS.entry(name)
    return entry.cls(layer_context(**sizes), **entry.complete(options or {}))


def position_of(name: str, options: Mapping[str, Any] | None = None, **sizes: Any) -> Position:
    """A registered position."""
    entry = POSITIONS.entry(name)
    return entry.cls(layer_context(**sizes), **entry.complete(options or {}))


def pair_of(attention: Part, position: Part, **sizes: Any) -> tuple[Attention, Position]:
    """An attention and its position, in float64."""
    biased = POSITIONS.entry(position.name).cls.biases
    built = attention_of(attention.name, attention.options, biased=biased, **sizes)
    return built.double(), position_of(position.name, position.options, **sizes).double()


def model_of(
    attention: Part | tuple[Part, ...] = SOFTMAX,
    position: Part = NO_POSITION,
    *,
    seed: int = 0,
    length: int = LENGTH,
    **sizes: Any,
) -> Transformer:
    """A model in float64, of two layers, width 8 and two heads by default."""
    stack = attention if isinstance(attention, tuple) else (attention,)
    spec = ModelSpec(
        **{"layers": 2, "width": 8, "heads": 2, "mlp_ratio": 1.0, **sizes}, attention=stack, position=position
    )
    return build(spec, vocabulary=VOCABULARY, length=length, seed=seed).double()


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    """Token ids, B x T."""
    return torch.randint(VOCABULARY, (batch, length), generator=seeded(seed))


def all_positions(inputs_BT: Tensor) -> Tensor:
    """The indices of all tokens of a batch, flattened."""
    return torch.arange(inputs_BT.numel())
