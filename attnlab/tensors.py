"""Named tuples that the parts exchange, and the site at which a part is built.

Letters  B batch, T tokens as queries, P of them that are asked, S tokens as keys, D width of the stream, H heads,
         C channels per head.
Suffixes name the trailing axes. Leading axes may be split further and always broadcast: a mechanism with two kinds
of queries holds them as ``queries_B2HTC`` beside ``keys_B1HSC``, and everything downstream works unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attnlab.specs import Modifiers


@dataclass(frozen=True, kw_only=True)
class LayerContext:
    """Where in a model a part is built: its sizes, and the stream of randomness its weights are drawn from.

    Weights are drawn here and nowhere else, so that a run's initial weights are a function of its seed alone.
    """

    width: int
    """D, the width of the stream."""
    heads: int
    """H."""
    layer: int = 0
    """Index of the layer, from 0."""
    layers: int = 1
    length: int = 512
    """The longest sequence the run will see, in tokens."""
    biased: bool = False
    """Whether the position adds a bias to the scores."""
    modifiers: Modifiers = field(default_factory=Modifiers)
    """What every attention of the model wears."""
    init_scale: float = 1.0
    """Factor on the initial weights of linear maps."""
    generator: torch.Generator

    @property
    def channels(self) -> int:
        """C, the width of a head."""
        return self.width // self.heads

    def linear(self, inputs: int, outputs: int, *, gain: float = 1.0, bias: bool = False) -> nn.Linear:
        """A linear map with weights of variance ``(scale * gain)^2 / inputs`` and no bias, or a zero one."""
        layer = nn.Linear(inputs, outputs, bias=bias, device="meta")  # its own weights are never drawn
        layer.weight = self.normal(outputs, inputs, std=self.init_scale * gain / math.sqrt(inputs))
        if bias:
            layer.bias = nn.Parameter(torch.zeros(outputs))
        return layer

    def normal(self, *shape: int, std: float) -> nn.Parameter:
        """A parameter drawn from N(0, std^2)."""
        return nn.Parameter(torch.empty(shape).normal_(0.0, std, generator=self.generator))

    def uniform(self, *shape: int, bound: float) -> nn.Parameter:
        """A parameter drawn from U(-bound, bound)."""
        return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=self.generator))


class QKV(NamedTuple):
    """What ``project`` makes of the stream: queries, keys, values, and anything else a mechanism needs."""

    queries_BHTC: Tensor
    keys_BHSC: Tensor
    values_BHSC: Tensor
    extra: tuple[Tensor, ...] = ()
    start: int = 0
    """Index of the first query among the keys: queries may be a chunk of the rows."""


class LayerInputs(NamedTuple):
    """What a layer may know beyond its own input."""

    first_layer: tuple[QKV, ...] = ()
    """The heads of the first layer; empty in the first layer itself."""
    query_positions: Tensor | None = None
    """Places of the only tokens whose update is wanted, in the flattened batch: N, or B x P where each row has as many;
    an attention may answer those alone. None for all."""


class AttentionOutput(NamedTuple):
    """What an attention returns. Absent things are empty tuples, never None, so that lanes can be stacked."""

    output_BTD: Tensor
    """The stream's update; B x P x D if it answers only what is asked."""
    qkv: QKV
    auxiliary: Tensor
    """A scalar added to the loss; zero for most."""
    scores_BHTS: tuple[Tensor, ...] = ()
    weights_BHTS: tuple[Tensor, ...] = ()


class ActivationTrace(NamedTuple):
    """What a model shows of itself when asked."""

    residual_BTD: tuple[Tensor, ...]
    """The stream before the first block, then after every block."""
    scores_BHTS: tuple[tuple[Tensor, ...], ...]
    """Per layer, the scores after position and combination; empty where none are formed."""
    weights_BHTS: tuple[tuple[Tensor, ...], ...]
    """Per layer, the effective matrix: what multiplies the values."""
    qkv: tuple[QKV, ...] = ()
    """Per layer, queries, keys and values as they were mixed."""


def causal_mask(queries: int, keys: int, start: int, device: torch.device) -> Tensor:
    """The mask of keys not after their query: True at ``j <= i + start``; bool, T x S."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(start)


def causal_mask_at(columns_BP: Tensor, keys: int, axes: int) -> Tensor:
    """The mask of keys not after their query, for queries in some columns of each row: True at ``j <= column``.

    Args:
        columns_BP: Where the queries stand in their row, int64.
        keys: S.
        axes: Of the mask, bool, B x 1 x .. x P x S: those of the scores it meets.
    """
    return _spread(columns_BP, axes) >= torch.arange(keys, device=columns_BP.device)


def gather_tokens(tensor_BTC: Tensor, columns_BP: Tensor) -> Tensor:
    """Some tokens of each row: B x .. x P x C.

    Args:
        tensor_BTC: Tokens of any kind; other axes, such as heads, may stand between the first and the tokens'.
        columns_BP: Which tokens, int64.
    """
    return tensor_BTC.take_along_dim(_spread(columns_BP, tensor_BTC.ndim), -2)


def _spread(columns_BP: Tensor, axes: int) -> Tensor:
    return columns_BP.view(len(columns_BP), *[1] * (axes - 3), -1, 1)


def at_least_float32(tensor: Tensor) -> Tensor:
    """At least float32: scores and normalizers are never computed in less."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the allowed keys of each row; a row with no allowed key is zero, never NaN.

    Args:
        scores: ... x T x S, finite.
        mask: bool, broadcastable to the scores; True where a key is allowed.
    """
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(-1).masked_fill(~mask, 0.0)
