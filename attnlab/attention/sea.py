"""SEA: a small network estimates the attention matrix; each query attends to the keys with the largest estimates.

    A_ij = a_i r_i P_ij + (1 - a_i) / (i + 1)
    P    = softmax(q.k / sqrt(C)) over the selected keys
    r_i, a_i = sigmoid(w z_i),   E = decode(z)
    z_i  = GELU(LN(W [context_i; v_i]))

``context`` is a linear attention over ``[p_j; v_j]``, p_j a learned vector of position j, with random ReLU features.
``decode`` maps z to T x K bins per head, by two causal convolutions over tokens, bins and heads. A row of K bins,
interpolated over the i + 1 tokens so far, is an estimate of the row of P: token j is in bin
``floor((j + 1/2) K / (i + 1))``, or in the one before if that quotient is a whole number. Each query selects
``H k K / (i + 1)`` bins of all its heads together, those with the largest ``softmax(E)``. So k tokens are selected per
head on average, and heads compete. The selection has no gradient. The loss of the estimate is

    auxiliary = KL(S || softmax(E)) / 10 + (S - softmax(E))^2

a mean over rows and a mean over cells, with E interpolated over the tokens and S the softmax over all keys so
far, without gradient (self-distillation).

Source   Lee et al., "SEA", arXiv:2310.01777, and its code (the causal path; the self-teacher for the loss).
Theirs   predictor length -> our K, ``bins``; k -> our k, ``keep``.
Differs  no attention or context of a teacher is distilled, and the edges of the mask are not jittered in training.
         Features are plain Gaussian, not orthogonal. The network has no biases but those of its norms, reads queries
         and keys before the rotation, and averages its loss over the cells not after their query; these are our
         choices, as are the sizes for short sequences. The auxiliary loss gives it an additional training signal that
         other variants do not have; a comparison should state this. The four bins that one cell is repeated to are
         equal until the gains of the last norm differ. In their code the last map over the heads also pads one bin on
         each side, and the K + 2 bins are averaged back to K, which blurs the estimate; here they are K throughout.

Letters  B batch, H heads, T queries, S keys, C channels per head, K bins, F random features.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.abc import causal_product
from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.attention.ops.blocks import attend_in_blocks, recompute_in_blocks
from attnlab.attention.ops.selection import checked_size, top_k_mask
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32, causal_mask, masked_softmax

HISTORY = 4
"""Earlier tokens that a convolution reads."""


@register("sea", source="arXiv:2310.01777", version=2)
@final
class Sea(Attention):
    """Attention over the keys with the largest estimated weights, plus the mean of the past values.

    Options:
        keep: Tokens that a head attends to on average, k; null is 8, or the longest sequence if that is shorter.
        bins: Width of the estimate, K; a multiple of 4.
        lesson: Factor on the auxiliary loss; with 0 the estimate gets no gradient.
    """

    hides_keys = False
    plain_products = False  # its estimate reads features of queries and keys
    row_constraint = RowConstraint.SUBSTOCHASTIC
    cost = "T (k + K) D"

    def __init__(
        self,
        context: LayerContext,
        *,
        keep: Annotated[int, Field(ge=1)] | None = None,
        bins: Annotated[int, Field(ge=4, multiple_of=4)] = 32,
        lesson: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        super().__init__(context)
        self.keep = checked_size("keep", keep, 8, context.length)
        self.bins, self.lesson = bins, lesson
        self.predictor = Predictor(context, bins)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 6 C^2 + 8 C + K C + T C + 74 H^2 + 5 K / 2``."""
        channels, bins = width // heads, options["bins"]
        network = 6 * channels**2 + (8 + bins + length) * channels + 74 * heads**2 + 5 * bins // 2
        return 4 * width**2 + network

    def state_size(self, tokens: int) -> int:
        """A key and a value per token, and what the network keeps."""
        return super().state_size(tokens) + self.predictor.state_size(tokens)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values; the estimate, and the scale r and share a of each row, as extra."""
        qkv = super().project(x_BTD, layer_inputs)
        return qkv._replace(extra=self.predictor(qkv))

    def mask(self, qkv: QKV) -> Tensor:
        """True at the tokens of the selected bins, B x H x T x S."""
        estimate_BHTK, _, _ = rows_of(qkv)
        rows_T1 = qkv.query_indices_T1
        count_T1 = (
            (self.num_heads * self.keep * self.bins / (rows_T1 + 1)).round().long().clamp(1, self.num_heads * self.bins)
        )
        estimates_BTN = estimate_BHTK.softmax(-1).transpose(-3, -2).flatten(-2)
        selected_BTN = top_k_mask(estimates_BTN, torch.ones_like(estimates_BTN, dtype=torch.bool), count_T1)
        selected_BHTK = selected_BTN.unflatten(-1, (self.num_heads, self.bins)).transpose(-3, -2)
        return interpolate_bins(selected_BHTK, rows_T1, qkv.key_indices_S)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """The sparse softmax, scaled, plus the mean of the past, B x H x T x S."""
        _, scale_BHT1, share_BHT1 = rows_of(qkv)
        past_TS = causal_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        mean_TS = past_TS.to(scores.dtype) / (qkv.query_indices_T1 + 1)
        return share_BHT1 * scale_BHT1 * masked_softmax(scores, mask) + (1 - share_BHT1) * mean_TS

    def auxiliary(self, qkv: QKV, position: Position) -> Tensor:
        """The loss of the estimate against the softmax over all keys, a scalar; long sequences in blocks of rows."""
        queries, rows = qkv.queries_BHTC.shape[-2], self.block_rows(qkv)
        losses = _RowLosses(self, position)
        if not self.fast or rows >= queries or not self.blockable(qkv, position):
            losses_BHT2 = losses(qkv)
        elif torch.is_grad_enabled():
            losses_BHT2 = recompute_in_blocks(losses, losses.unused(), qkv, rows)
        else:
            losses_BHT2 = attend_in_blocks(losses, qkv, rows)
        divergence_BHT, error_BHT = losses_BHT2.unbind(-1)
        cells = queries * qkv.start + queries * (queries + 1) // 2
        error = error_BHT.sum(-1).mean() / cells
        return (self.lesson * (0.1 * divergence_BHT.mean() + error)).to(qkv.values_BHSC.dtype)


@final
class _RowLosses(nn.Module):
    """The two losses of each row, as a module, so that they can be computed again in the backward pass.

    Args:
        attention: The attention.
        position: The position of the model.
    """

    def __init__(self, attention: Sea, position: Position) -> None:
        super().__init__()
        self.attention, self.position = attention, position

    def forward(self, qkv: QKV) -> Tensor:
        """The divergence and the squared error of each row, B x H x T x 2."""
        estimate_BHTK, _, _ = rows_of(qkv)
        past_TS = causal_mask(estimate_BHTK.shape[-2], qkv.keys_BHSC.shape[-2], qkv.start, estimate_BHTK.device)
        teacher = masked_softmax(self.attention.scores(qkv, self.position), past_TS).detach()
        interpolated = interpolate_bins(estimate_BHTK, qkv.query_indices_T1, qkv.key_indices_S)
        lowest = torch.finfo(interpolated.dtype).min
        log_estimate = interpolated.masked_fill(~past_TS, lowest).log_softmax(-1).masked_fill(~past_TS, 0.0)
        log_teacher = teacher.clamp_min(torch.finfo(teacher.dtype).tiny).log()
        divergence = (teacher * (log_teacher - log_estimate)).sum(-1)
        error = ((teacher - log_estimate.exp()) * past_TS).square().sum(-1)
        return torch.stack([divergence, error], dim=-1)

    def unused(self) -> tuple[str, ...]:
        """Beginnings of the names of parameters that no row reads: those of the attention."""
        return ("attention.",) if self.attention.biased else ("attention.", "position.")


@final
class Predictor(nn.Module):
    """The network that estimates the attention matrix.

    Args:
        context: The layer that the attention is built for.
        bins: K.
    """

    def __init__(self, context: LayerContext, bins: int) -> None:
        super().__init__()
        channels, heads = context.channels, context.heads
        features = max(1, round(channels * math.log(channels)))
        self.length, self.bins = context.length, bins
        self.feature_FC = nn.Parameter(context.normal(features, channels, std=1.0), requires_grad=False)
        self.place_TC = context.normal(context.length, channels, std=1.0)
        self.encode = context.linear(3 * channels, 2 * channels)
        self.encoded = nn.LayerNorm(2 * channels)
        self.rows = context.linear(2 * channels, 2)
        self.decode = context.linear(2 * channels, bins // 2)
        self.decoded = nn.LayerNorm(bins // 4)
        bound = 1 / math.sqrt(9 * 2 * heads)
        self.taps = nn.ParameterList(context.uniform(2 * heads, 2 * heads, 3, 3, bound=bound) for _ in range(2))
        self.join = context.linear(2 * heads, heads)
        self.joined = nn.LayerNorm(bins)

    def state_size(self, tokens: int) -> int:
        """Numbers of the linear attention, and of the rows that the convolutions read again.

        Args:
            tokens: Tokens so far.

        Returns:
            ``H F (2 C + 1)`` and ``2 min(T, 4) 2 H K / 4``.
        """
        features, channels = self.feature_FC.shape
        maps = self.join.in_features
        return maps // 2 * features * (2 * channels + 1) + len(self.taps) * min(tokens, HISTORY) * maps * self.bins // 4

    def forward(self, qkv: QKV) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate the attention matrix.

        Args:
            qkv: Queries, keys and values of all tokens, before the rotation.

        Returns:
            The estimate, B x H x T x K; the scale and the share of each row, B x H x T x 1.
        """
        code_BHTC = functional.gelu(self.encoded(self.encode(torch.cat([self.context(qkv), qkv.values_BHSC], -1))))
        scale_BHT1, share_BHT1 = self.rows(code_BHTC).sigmoid().chunk(2, dim=-1)
        return self.estimate(code_BHTC), scale_BHT1, share_BHT1

    def context(self, qkv: QKV) -> Tensor:
        """Compute the linear attention over position vectors and values.

        Args:
            qkv: Queries, keys and values of all tokens, before the rotation.

        Returns:
            B x H x T x 2C.

        Raises:
            InvalidValueError: the sequence is longer than the table of position vectors.
        """
        values_BHTC = qkv.values_BHSC
        tokens = values_BHTC.shape[-2]
        if tokens > self.length:
            raise InvalidValueError(
                f"The position vectors of sea end at {self.length} tokens; the sequence has {tokens}.",
                "Train with the longest sequence of the evaluation.",
            )
        queries_BHTF, keys_BHTF = self.features(qkv.queries_BHTC), self.features(qkv.keys_BHSC)
        input_BHTC = torch.cat([self.place_TC[:tokens].expand_as(values_BHTC), values_BHTC], dim=-1)
        total_BHT1 = (queries_BHTF * keys_BHTF.cumsum(-2)).sum(-1, keepdim=True)
        return (causal_product(queries_BHTF, keys_BHTF, at_least_float32(input_BHTC)) / total_BHT1).to(
            values_BHTC.dtype
        )

    def features(self, tensor_TC: Tensor) -> Tensor:
        """Compute random ReLU features.

        Args:
            tensor_TC: Queries or keys, ... x T x C.

        Returns:
            Features above zero, float32 or more, ... x T x F.
        """
        root = tensor_TC.shape[-1] ** 0.25
        return (at_least_float32(tensor_TC) @ at_least_float32(self.feature_FC).mT / root).relu() + 1e-3

    def estimate(self, code_BHTC: Tensor) -> Tensor:
        """Decode the estimate: two maps of K / 4 bins per head, two causal convolutions, one map of K bins per head.

        Args:
            code_BHTC: z, B x H x T x 2C.

        Returns:
            E, B x H x T x K.
        """
        maps = self.decoded(self.decode(code_BHTC).unflatten(-1, (2, -1)))
        maps = maps.transpose(-3, -2).flatten(-4, -3)
        for tap in self.taps:
            maps = functional.conv2d(functional.pad(maps, (2, 2, HISTORY, 0)), tap, dilation=2).relu()
        widened = maps.repeat_interleave(4, dim=-1)
        return self.joined(self.join(widened.movedim(-3, -1)).movedim(-1, -3))


def rows_of(qkv: QKV) -> tuple[Tensor, ...]:
    """Take the rows of the extra tensors that belong to the queries.

    Args:
        qkv: Queries, keys and values; the queries may be a chunk of the rows.

    Returns:
        The estimate, the scales and the shares of these rows, float32 or more.
    """
    rows = slice(qkv.start, qkv.start + qkv.queries_BHTC.shape[-2])
    return tuple(at_least_float32(tensor[..., rows, :]) for tensor in qkv.extra)


def interpolate_bins(bins_TK: Tensor, rows_T1: Tensor, keys_S: Tensor) -> Tensor:
    """Interpolate K bins over the tokens up to each query.

    Args:
        bins_TK: One number per bin, ... x T x K.
        rows_T1: Position of each query.
        keys_S: Position of each key.

    Returns:
        One number per key, ... x T x S; the numbers of keys after their query are arbitrary.

    >>> interpolate_bins(torch.arange(4.0).expand(3, 4), torch.arange(3)[:, None], torch.arange(3))[-1].tolist()
    [0.0, 1.0, 3.0]
    """
    bins = bins_TK.shape[-1]
    bin_TS = (((2 * keys_S + 1) * bins - 1) // (2 * (rows_T1 + 1))).clamp_max(bins - 1)
    return bins_TK.gather(-1, bin_TS.expand(*bins_TK.shape[:-1], keys_S.shape[0]))
