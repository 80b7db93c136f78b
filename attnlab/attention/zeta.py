"""ZETA: each query hears its nearest keys in a space of few dimensions, by an adaptive Cauchy kernel.

    A_ij = ([j in I_i] c_ij + c_i* / (i + 1)) / (sum_{s in I_i} c_is + c_i*)
    c_ij = 1 / (|q_i - k_j|^2 + g^2),   g = sigmoid(theta), one per layer

``I_i`` are the k nearest of the candidates: the keys of complete past chunks of M tokens, ``j < M floor(i / M)``.
``c_i*`` belongs to the mean of all keys so far, which brings the mean of all values so far: in the first chunk,
which has no candidates, it is all there is. With ``search: zorder`` the k nearest are sought only among the keys
around the query on a space-filling curve: K / 2 on either side, more where the curve ends.

Source   "ZETA", arXiv:2501.14577, as third parties describe it; the paper's body was not at hand.
Theirs   d_K -> our ``channels``; k -> our ``keep``; K -> our ``window``; M -> our ``chunk``; gamma -> our g.
Differs  distances are computed between all tokens: the selections are theirs, the cost is not. Ours are: M, K = 4 k,
         theta = 0 at the start, GELU and no bias in the two-layer maps, and ``local``, which adds the own chunk so
         far to the candidates and is on unless turned off (without it a token rarely sees the one before). Places on
         the curve come from the sigmoid of each coordinate: by the extent of the sequence, a prefix would not run as
         in the whole. Smaller k than theirs (32), for short sequences. The bias of a position multiplies c by its
         exponential, and has no say in who is near. An odd number of channels gets one of zeros, which no distance
         feels, so that rotary positions find pairs.

Letters  B batch, H heads, T queries, S keys, D width, C channels per head.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Attention, register
from attnlab.attention.ops.selection import checked_size, key_indices, query_indices, top_k_mask
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32, causal_mask

Count = Annotated[int, Field(ge=1)]


@register("zeta", source="arXiv:2501.14577 (third-party description)")
@final
class Zeta(Attention):
    """Nearest keys in few dimensions, Cauchy weights, and the mean of the past.

    Options:
        channels: Channels of queries and keys per head.
        keep: Nearest keys that a query hears, k; null is 8, or all of a shorter run.
        local: Whether the own chunk so far is searched too, which makes a candidate of every token so far.
        chunk: Tokens of a chunk, M; null is 8, or all of a shorter run. Has no meaning where local is on.
        search: ``exact`` finds the nearest; ``zorder`` those among its neighbors on the curve.
        window: Neighbors on the curve, K; null is 4 k. Has no meaning for exact.
        layers: Linear maps to queries and to keys: 1, or 2 with a GELU between them.
    """

    cost = "T (log T + K C + k D)"

    def __init__(
        self,
        context: LayerContext,
        *,
        channels: Count = 3,
        keep: Count | None = None,
        chunk: Count | None = None,
        local: bool = True,
        search: Literal["exact", "zorder"] = "exact",
        window: Annotated[int, Field(ge=2)] | None = None,
        layers: Literal[1, 2] = 2,
    ) -> None:
        super().__init__(context, keys=channels)
        self.keep = checked_size("keep", keep, 8, context.length)
        self.chunk = checked_size("chunk", chunk, 8, context.length)
        self.local, self.search, self.layers = local, search, layers
        self.window = window or 4 * self.keep
        if local and chunk is not None:
            hint = "Write local=false to search complete past chunks only."
            raise InvalidValueError("'chunk' has no meaning where the own chunk is searched too.", hint)
        if search == "exact" and window is not None:
            raise InvalidValueError("'window' has no meaning where the search is exact.", "Use search=zorder.")
        if search == "zorder" and channels > WIDEST:
            raise InvalidValueError(f"The curve holds {WIDEST} channels at most, not {channels}.", "Use search=exact.")
        if self.window < self.keep:
            raise InvalidValueError(
                f"'keep' cannot be {self.keep} of a window of {window}.", f"Keep at most {window}, or widen the window."
            )
        if layers == 2:
            self.before_query, self.before_key = (context.linear(context.width, context.width) for _ in range(2))
        self.theta_1 = nn.Parameter(torch.zeros(1))

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``2 D^2 + 2 D H C + 1``, and ``2 D^2`` more with two layers."""
        return 2 * options["layers"] * width**2 + 2 * width * heads * options["channels"] + 1

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Narrow queries and keys, wide values."""
        positions, answered = x_BTD, x_BTD
        if self.layers == 2:
            positions, answered = functional.gelu(self.before_query(x_BTD)), functional.gelu(self.before_key(x_BTD))
        queries, keys = self.split(self.query(positions)), self.split(self.key(answered))
        odd = queries.shape[-1] % 2
        return QKV(functional.pad(queries, (0, odd)), functional.pad(keys, (0, odd)), self.split(self.value(x_BTD)))

    def score(self, qkv: QKV) -> Tensor:
        """The logarithm of the Cauchy kernel."""
        return self.cauchy(apart(qkv.queries_BHTC, qkv.keys_BHSC))

    def cauchy(self, far: Tensor) -> Tensor:
        """``log c`` of squared distances."""
        return -(far + at_least_float32(self.theta_1).sigmoid().square()).log()

    def mask(self, qkv: QKV) -> Tensor:
        """The nearest of the candidates."""
        rows_T1, keys_S = query_indices(qkv), key_indices(qkv)
        allowed_TS = keys_S < rows_T1 - rows_T1 % self.chunk
        if self.local:
            allowed_TS = keys_S <= rows_T1
        queries_BHTC, keys_BHSC = at_least_float32(qkv.queries_BHTC).detach(), at_least_float32(qkv.keys_BHSC).detach()
        if self.search == "zorder":
            allowed_TS = beside(zorder(queries_BHTC), zorder(keys_BHSC), allowed_TS, self.window)
        return top_k_mask(-apart(queries_BHTC, keys_BHSC), allowed_TS, self.keep)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Cauchy weights of the nearest and of the mean of the past, which is shared out over the past."""
        rows_T1, keys_S = query_indices(qkv), key_indices(qkv)
        past_TS = causal_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        keys_BHSC, queries_BHTC = at_least_float32(qkv.keys_BHSC), at_least_float32(qkv.queries_BHTC)
        means_BHSC = keys_BHSC.cumsum(-2) / (keys_S[:, None] + 1)
        means_BHTC = means_BHSC[..., qkv.start : qkv.start + scores.shape[-2], :]
        mean_BHT1 = self.cauchy((queries_BHTC - means_BHTC).square().sum(-1, keepdim=True))
        near_BHTS = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        top_BHT1 = torch.maximum(near_BHTS.amax(-1, keepdim=True), mean_BHT1).detach()
        reached = (near_BHTS - top_BHT1).exp().masked_fill(~mask, 0.0)
        reached = reached + ((mean_BHT1 - top_BHT1).exp() / (rows_T1 + 1)).masked_fill(~past_TS, 0.0)
        return reached / reached.sum(-1, keepdim=True)


BITS, FINEST = 62, 16
"""Bits of a place on the curve, and at most of one coordinate."""
WIDEST = BITS


def apart(queries_TC: Tensor, keys_SC: Tensor) -> Tensor:
    """Squared distances, T x S; by differences, which lose no digits, since there are few channels."""
    return (queries_TC.unsqueeze(-2) - keys_SC.unsqueeze(-3)).square().sum(-1)


def zorder(points_TC: Tensor) -> Tensor:
    """Places on the space-filling curve, ... x T, int64: the bits of all coordinates in turn, highest first.

    >>> zorder(torch.tensor([[-9.0, -9.0], [-9.0, 9.0], [9.0, -9.0], [9.0, 9.0]])).argsort().tolist()
    [0, 1, 2, 3]
    """
    channels = points_TC.shape[-1]
    bits = min(FINEST, BITS // channels)
    cells_TC = (at_least_float32(points_TC).sigmoid() * 2**bits).long().clamp(0, 2**bits - 1)
    place_T = torch.zeros_like(cells_TC[..., 0])
    for bit in reversed(range(bits)):
        for channel in range(channels):
            place_T = 2 * place_T + ((cells_TC[..., channel] >> bit) & 1)
    return place_T


def beside(queries_T: Tensor, keys_S: Tensor, allowed_TS: Tensor, window: int) -> Tensor:
    """The ``window`` allowed keys around each query on a line: half on either side, more where the line ends.

    Of keys at one place the earlier stands before the later, and a query before them all.
    """
    order_S = keys_S.argsort(dim=-1, stable=True)
    shape = (*queries_T.shape, keys_S.shape[-1])
    sorted_TS = allowed_TS.expand(shape).gather(-1, order_S.unsqueeze(-2).expand(shape))
    rank_TS = (sorted_TS.cumsum(-1) - 1).gather(-1, order_S.argsort(-1).unsqueeze(-2).expand(shape))
    own_T1 = (allowed_TS & (keys_S.unsqueeze(-2) < queries_T.unsqueeze(-1))).sum(-1, keepdim=True)
    last_T1 = (sorted_TS.sum(-1, keepdim=True) - window).clamp_min(0)
    begin_T1 = torch.minimum((own_T1 - window // 2).clamp_min(0), last_T1)
    return allowed_TS & (rank_TS >= begin_T1) & (rank_TS < begin_T1 + window)


def recall(queries_TC: Tensor, keys_SC: Tensor, allowed_TS: Tensor, keep: int, window: int) -> Tensor:
    """The share of each query's true ``keep`` nearest that the search along the curve finds: ... x T."""
    far_TS = apart(queries_TC, keys_SC)
    true_TS = top_k_mask(-far_TS, allowed_TS, keep)
    found_TS = top_k_mask(-far_TS, beside(zorder(queries_TC), zorder(keys_SC), allowed_TS, window), keep)
    return (true_TS & found_TS).sum(-1) / true_TS.sum(-1).clamp_min(1)
