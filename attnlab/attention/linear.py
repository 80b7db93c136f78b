"""Linear attention: a kernel of positive features replaces the exponential, and one state the T keys.

    A_ij = f(q_i).f(k_j) / sum_{s <= i} f(q_i).f(k_s)

    linear      f(x) = elu(x) + 1
    based       f(x) = (1, x / a, x x^T / (a^2 sqrt 2)), a = F^(1/4)
    hedgehog    f(x) = softmax(2 y, -2 y), y = W x + b

For based, ``f(q).f(k) = 1 + s + s^2 / 2`` with ``s = q.k / sqrt F``. The heads share the maps of hedgehog.

Source   linear: Katharopoulos et al., "Transformers are RNNs", arXiv:2006.16236, equation 7; based: Arora et al.,
         arXiv:2402.18668, and its feature map of F = 16; hedgehog: Zhang et al., arXiv:2402.04347.
Theirs   phi -> our f;  d' -> our F.
Differs  a row whose sum is below 1e-20 is zero. linear: rotary positions rotate queries and keys before the kernel.
         based: its windows and convolutions are separate parts here (a hybrid stack, and the modifier short_conv);
         x x^T is stored as its triangle. hedgehog: the softmax over both signs is that of flash-linear-attention;
         later code of the authors (``softmax_dim`` of lolcats) has one softmax of y and one of -y, another function.
         W starts as the identity, and the parameter is its difference from the identity. It was made for distillation,
         here it is trained from random weights, with one map each for queries and keys unless ``tied``.

Letters  B batch, H heads, T queries, S keys, C channels per head, F features.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from attnlab.attention.base import Position, RowConstraint, register
from attnlab.attention.ops.convolution import Convolutions, Convolved, num_taps
from attnlab.attention.ops.scan import Recurrence, Recurrent, divide_rows, no_decay
from attnlab.tensors import QKV, LayerContext, LayerInputs, with_float32


@register("linear", source="arXiv:2006.16236, equation 7")
@final
class Linear(Recurrent):
    """Normalized linear attention with the features elu + 1.

    Options:
        conv: The projections (q, k, v) with a causal convolution of 4 taps, and a SiLU after it.
    """

    row_constraint = RowConstraint.STOCHASTIC
    normalized: ClassVar[bool] = True

    def __init__(self, context: LayerContext, *, conv: Convolved = "none") -> None:
        super().__init__(context)
        self.convolutions = Convolutions(context, conv, dict.fromkeys("qkv", context.width))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2``, and 4 taps for each channel that is convolved."""
        return 4 * width**2 + num_taps(options["conv"], dict.fromkeys("qkv", width))

    def state_size(self, tokens: int) -> int:
        """A state of C x C numbers per head and C for the sums, and the tokens that convolutions read again."""
        return super().state_size(tokens) + self.convolutions.state_size(tokens, self.query.in_features)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values, those that are chosen after their convolution."""
        return self.convolutions(super().project(x_BTD, layer_inputs), silu=True)

    def recurrence(self, qkv: QKV) -> Recurrence:
        """Positive features without decay."""
        return Recurrence(positive(qkv.queries_BHTC), positive(qkv.keys_BHSC), no_decay(qkv.keys_BHSC))


@register("based", source="arXiv:2402.18668")
@final
class Based(Recurrent):
    """The exponential's Taylor series to the second order: every weight is at least 1/2 before the row is divided.

    Options:
        features: F, channels of queries and keys per head.
    """

    row_constraint = RowConstraint.STOCHASTIC
    cost = "T D F^2"
    normalized: ClassVar[bool] = True
    only_recurrence: ClassVar[bool] = False  # its weights are a polynomial of few channels

    def __init__(self, context: LayerContext, *, features: Annotated[int, Field(ge=2, multiple_of=2)] = 16) -> None:
        super().__init__(context, keys=features)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 D H F + 2 D^2``."""
        return 2 * width * heads * options["features"] + 2 * width**2

    @property
    def num_features(self) -> int:
        """Products of up to two channels, ``1 + F + F (F + 1) / 2``."""
        channels = super().num_features
        return 1 + channels + channels * (channels + 1) // 2

    def recurrence(self, qkv: QKV) -> Recurrence:
        """Products of up to two channels, without decay."""
        return Recurrence(taylor(qkv.queries_BHTC), taylor(qkv.keys_BHSC), no_decay(qkv.keys_BHSC))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """``1 + s + s^2 / 2`` of the scores, normalized, B x H x T x S."""
        scores = self.score(with_float32(qkv))
        weights = (1 + scores + scores.square() / 2).tril(qkv.start)
        return divide_rows(weights, weights.sum(-1, keepdim=True))


@register("hedgehog", source="arXiv:2402.04347")
@final
class Hedgehog(Recurrent):
    """Normalized linear attention with learned features that start as a softmax over the channels and their negatives.

    Options:
        tied: Whether queries and keys share one map.
    """

    row_constraint = RowConstraint.STOCHASTIC
    normalized: ClassVar[bool] = True

    def __init__(self, context: LayerContext, *, tied: bool = False) -> None:
        super().__init__(context)
        maps = 1 if tied else 2
        self.map = nn.ParameterList(torch.zeros(context.channels, context.channels) for _ in range(maps))
        self.shift = nn.ParameterList(torch.zeros(context.channels) for _ in range(maps))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + n (C^2 + C)`` for n maps: two, or one that is tied."""
        channels = width // heads
        return 4 * width**2 + (1 if options["tied"] else 2) * (channels**2 + channels)

    @property
    def num_features(self) -> int:
        """Two for each channel."""
        return 2 * super().num_features

    def recurrence(self, qkv: QKV) -> Recurrence:
        """Learned positive features without decay."""
        queries = self.features(qkv.queries_BHTC, 0)
        return Recurrence(queries, self.features(qkv.keys_BHSC, -1), no_decay(qkv.keys_BHSC))

    def features(self, x_BHTC: Tensor, index: int) -> Tensor:
        """Compute ``softmax(2 y, -2 y)``.

        Args:
            x_BHTC: Queries or keys.
            index: Index of the map: 0 for queries, -1 for keys.

        Returns:
            Positive features that sum to one, B x H x T x 2C.
        """
        map_CC, shift_C = self.map[index].to(x_BHTC.dtype), self.shift[index].to(x_BHTC.dtype)
        y_BHTC = x_BHTC + x_BHTC @ map_CC.mT + shift_C
        return torch.cat([2 * y_BHTC, -2 * y_BHTC], dim=-1).softmax(-1)


def positive(x: Tensor) -> Tensor:
    """Compute ``elu(x) + 1`` without cancellation where it is small.

    Args:
        x: Any numbers.

    Returns:
        Positive numbers in the same shape.
    """
    above = x.relu()
    return above + (x - above).exp()  # the gradient of a clamp takes two slow passes


def taylor(x_BHTF: Tensor) -> Tensor:
    """Compute features with the inner product ``1 + s + s^2 / 2``, ``s = q.k / sqrt F``.

    Args:
        x_BHTF: Queries or keys.

    Returns:
        ``1 + F + F (F + 1) / 2`` features on the last axis.
    """
    count = x_BHTF.shape[-1]
    scaled = x_BHTF / count**0.25
    rows, columns = torch.triu_indices(count, count, 1, device=x_BHTF.device)
    squares, pairs = scaled.square() / math.sqrt(2), scaled[..., rows] * scaled[..., columns]
    return torch.cat([torch.ones_like(scaled[..., :1]), scaled, squares, pairs], dim=-1)
