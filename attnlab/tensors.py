"""Named tuples that the parts of a model exchange, and the context in which a layer is built.

Letters  B batch, T tokens as queries, P query positions per sequence, S tokens as keys, D width of the residual
         stream, H heads, C channels per head.
Suffixes name the trailing axes. Leading axes may be split further and always broadcast: an attention with two kinds
of queries holds them as ``queries_B2HTC`` with ``keys_B1HSC``, and all later code works unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.specs import Modifiers


@dataclass(frozen=True, kw_only=True)
class LayerContext:
    """The sizes a layer is built with, its index in the model, and the generator its weights are drawn from.

    All weights are drawn by the methods of this class. The initial weights of a run are therefore a function of its
    seed alone.
    """

    width: int
    """D, the width of the residual stream."""
    heads: int
    """H, the number of heads."""
    layer: int = 0
    """Index of the layer, from 0."""
    layers: int = 1
    """L, the number of layers of the model."""
    length: int = 512
    """The longest sequence of the run, in tokens."""
    biased: bool = False
    """Whether the position adds a bias to the scores."""
    modifiers: Modifiers = field(default_factory=Modifiers)
    """The modifiers of every attention of the model."""
    init_scale: float = 1.0
    """Factor on the initial weights of linear maps."""
    mlp_ratio: float = 4.0
    """Hidden width of an MLP of two maps, as a multiple of the width."""
    generator: torch.Generator
    """The source of all initial weights."""

    @property
    def channels(self) -> int:
        """C, the channels per head."""
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        """M, the hidden channels of an MLP of two maps; at least one."""
        return max(1, round(self.mlp_ratio * self.width))

    def linear(self, inputs: int, outputs: int, *, gain: float = 1.0, bias: bool = False) -> nn.Linear:
        """A linear map with weights of variance ``(init_scale * gain)^2 / inputs``.

        Args:
            inputs: Number of input channels.
            outputs: Number of output channels.
            gain: Factor on the standard deviation of the weights.
            bias: Whether the map has a bias, which starts at zero.

        Returns:
            The map, from ... x inputs to ... x outputs.
        """
        layer = nn.Linear(inputs, outputs, bias=bias, device="meta")  # nn.Linear's own initialization is never run
        layer.weight = self.normal(outputs, inputs, std=self.init_scale * gain / math.sqrt(inputs))
        if bias:
            layer.bias = nn.Parameter(torch.zeros(outputs))
        return layer

    def canon(self, place: str, channels: int) -> Canon | nn.Identity:
        """A Canon layer, if the model has one at a place.

        Args:
            place: A, B, C or D.
            channels: Of what it convolves.

        Returns:
            The layer, or the identity.
        """
        return (
            Canon(self.uniform(channels, 1, CANON_TAPS, bound=0.5)) if place in self.modifiers.canon else nn.Identity()
        )

    def normal(self, *shape: int, std: float) -> nn.Parameter:
        """A parameter drawn from N(0, std^2).

        Args:
            *shape: The size of each axis.
            std: Standard deviation.

        Returns:
            The parameter, float32.
        """
        return nn.Parameter(torch.empty(shape).normal_(0.0, std, generator=self.generator))

    def uniform(self, *shape: int, bound: float) -> nn.Parameter:
        """A parameter drawn from U(-bound, bound).

        Args:
            *shape: The size of each axis.
            bound: Half the width of the interval.

        Returns:
            The parameter, float32.
        """
        return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=self.generator))


CANON_TAPS = 4
"""Tokens that a Canon layer reads."""


@final
class Canon(nn.Module):
    """A Canon layer: a causal depthwise convolution, added to its input; no activation.

    Args:
        tap_D1K: The filters; the last tap is that of the current token.
    """

    def __init__(self, tap_D1K: nn.Parameter) -> None:
        super().__init__()
        self.tap_D1K = tap_D1K

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The input and its convolution, B x T x D; in the filters' precision within a step in bf16."""
        x_BDT = x_BTD.to(self.tap_D1K.dtype).mT if rounds_factors(x_BTD) else x_BTD.mT
        padded_BDT = functional.pad(x_BDT, (self.tap_D1K.shape[-1] - 1, 0))
        with full_precision(x_BTD):
            return (x_BDT + functional.conv1d(padded_BDT, self.tap_D1K, groups=len(self.tap_D1K))).mT


Role = Literal[
    "embedding", "position", "query", "key", "value", "output", "extra", "mlp_up", "mlp_down", "norm", "head"
]
"""What a parameter is for; ``extra`` is any other parameter of an attention, or one of a residual stream."""


class ParameterRole(NamedTuple):
    """The layer and the role of a parameter, declared by the module that makes it."""

    layer: int | None
    """Counted from 1; None outside of the blocks."""
    role: Role


class QKV(NamedTuple):
    """The output of ``project``: queries, keys, values, and any further tensors an attention needs."""

    queries_BHTC: Tensor
    keys_BHSC: Tensor
    values_BHSC: Tensor
    extra: tuple[Tensor, ...] = ()
    """Further tensors of the attention, such as gates and decays. Where all have the tokens as their last axis but one,
    long sequences are attended in blocks of queries."""
    start: int = 0
    """Index of the first query among the keys; above zero where the queries are a chunk of the rows."""

    @property
    def query_indices_T1(self) -> Tensor:
        """Indices of the queries in the sequence, int64, T x 1; the queries may be a chunk of the rows."""
        return torch.arange(self.queries_BHTC.shape[-2], device=self.queries_BHTC.device)[:, None] + self.start

    @property
    def key_indices_S(self) -> Tensor:
        """Indices of the keys in the sequence, int64, S; keys after the last query may be left out or not."""
        return torch.arange(self.keys_BHSC.shape[-2], device=self.keys_BHSC.device)


class LayerInputs(NamedTuple):
    """The inputs of a layer besides the residual stream."""

    first_layer: tuple[QKV, ...] = ()
    """Queries, keys and values of the first layer; empty in the first layer itself."""
    query_positions: Tensor | None = None
    """Indices into the flattened batch of the tokens at which the output is used, int64: N, or B x P where every row
    has the same number. An attention may compute its output at these alone. None is all tokens."""


class AttentionOutput(NamedTuple):
    """The output of an attention. A missing tensor is an empty tuple, never None, so that vmap can stack runs."""

    output_BTD: Tensor
    """The update of the residual stream; B x P x D if it is computed at the query positions alone."""
    qkv: QKV
    """Queries, keys and values after modifiers and rotation."""
    auxiliary: Tensor
    """A scalar added to the loss; zero for most attentions."""
    scores_BHTS: tuple[Tensor, ...] = ()
    """Scores with the position's bias; empty without a trace, and where no scores are formed."""
    weights_BHTS: tuple[Tensor, ...] = ()
    """The effective matrix; empty without a trace."""


class ActivationTrace(NamedTuple):
    """The activations a model returns where a trace is requested."""

    residual_BTD: tuple[Tensor, ...]
    """The residual stream before the first block, then after every block; one vector per token of several streams."""
    scores_BHTS: tuple[tuple[Tensor, ...], ...]
    """Per layer, the scores with the position's bias; empty where none are formed."""
    weights_BHTS: tuple[tuple[Tensor, ...], ...]
    """Per layer, the effective matrix, which multiplies the values."""
    qkv: tuple[QKV, ...] = ()
    """Per layer, queries, keys and values after modifiers and rotation."""
    inputs_BTD: tuple[Tensor, ...] = ()
    """Per layer, the input of the attention, after the norm of a pre-norm block."""


def causal_mask(queries: int, keys: int, start: int, device: torch.device) -> Tensor:
    """The causal mask: True at ``j <= i + start``.

    Args:
        queries: T.
        keys: S.
        start: Index of the first query among the keys.
        device: The device of the mask.

    Returns:
        bool, T x S.
    """
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(start)


def causal_mask_at(query_positions_BP: Tensor, keys: int, ndim: int) -> Tensor:
    """The causal mask of queries at given positions: True at ``j <= query_position``.

    Args:
        query_positions_BP: Positions of the queries in their row, int64.
        keys: S.
        ndim: Number of axes of the mask, that of the scores it is applied to.

    Returns:
        bool, B x 1 x .. x P x S.
    """
    return _with_axes(query_positions_BP, ndim) >= torch.arange(keys, device=query_positions_BP.device)


def gather_tokens(tensor_BTC: Tensor, positions_BP: Tensor) -> Tensor:
    """Selected tokens of each row.

    Args:
        tensor_BTC: B x .. x T x C; other axes, such as heads, may lie between B and T.
        positions_BP: Positions of the tokens in their row, int64.

    Returns:
        B x .. x P x C.
    """
    return tensor_BTC.take_along_dim(_with_axes(positions_BP, tensor_BTC.ndim), -2)


def _with_axes(positions_BP: Tensor, ndim: int) -> Tensor:
    """Positions as B x 1 x .. x P x 1 with ``ndim`` axes."""
    return positions_BP.view(len(positions_BP), *[1] * (ndim - 3), -1, 1)


def broadcast_shape(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Compute the shape of two tensors of which one is broadcast to the other.

    ``torch.broadcast_shapes`` imports sympy at its first call, which takes a third of a second.

    >>> broadcast_shape((4, 1, 2), (3, 1))
    (4, 3, 2)

    Args:
        one: A shape.
        other: The shape of another tensor; axes are aligned at the last one.

    Returns:
        The shape; equal sizes, or one of them 1, are taken for granted.
    """
    axes = max(len(one), len(other))
    padded = ((1,) * (axes - len(shape)) + tuple(shape) for shape in (one, other))
    return tuple(second if first == 1 else first for first, second in zip(*padded, strict=True))


def at_least_float32(tensor: Tensor) -> Tensor:
    """A tensor in float32 or more; scores and normalizers are never computed in less.

    Args:
        tensor: Of any shape and floating-point type.

    Returns:
        The tensor in float32 if it was float16 or bfloat16, and unchanged otherwise.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def rounds_factors(tensor: Tensor) -> bool:
    """Whether linear maps of the running step round their factors to bf16.

    Args:
        tensor: A tensor on the step's device.

    Returns:
        True within torch's autocast of this device.
    """
    return torch.is_autocast_enabled(tensor.device.type)


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Compute products in the type of their factors.

    Args:
        tensor: A tensor on the step's device.

    Returns:
        The context.
    """
    return torch.autocast(tensor.device.type, enabled=False) if rounds_factors(tensor) else nullcontext()


def with_float32(qkv: QKV) -> QKV:
    """Queries and keys in float32 or more, values unchanged.

    Args:
        qkv: Queries, keys and values.

    Returns:
        The same with converted queries and keys.
    """
    return qkv._replace(queries_BHTC=at_least_float32(qkv.queries_BHTC), keys_BHSC=at_least_float32(qkv.keys_BHSC))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the allowed keys of each row; a row with no allowed key is zero, never NaN.

    Args:
        scores: ... x T x S, finite.
        mask: bool, broadcastable to the scores; True where a key is allowed.

    Returns:
        Weights of the shape of the scores.
    """
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(-1).masked_fill(~mask, 0.0)
