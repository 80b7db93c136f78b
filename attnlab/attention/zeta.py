"""ZETA: each query attends to its nearest keys in few dimensions, with the weights of an adaptive Cauchy kernel.

    A_ij = ([j in I_i] c_ij + c_i* / (i + 1)) / (sum_{s in I_i} c_is + c_i*)
    c_ij = 1 / (|q_i - k_j|^2 + g^2),   g = sigmoid(theta), one per layer

``I_i`` are the k nearest of the candidates: the keys of complete past chunks of M tokens, ``j < M floor(i / M)``.
``c_i*`` is the kernel of the mean of all keys so far, with the mean of all values so far. The first chunk has no
candidates, so that this is its only term. With ``search: zorder`` the k nearest are searched only among the keys
around the query on a space-filling curve: K / 2 on each side, more on one side at the ends of the curve.

Source   "ZETA", arXiv:2501.14577, as third parties describe it; the text of the paper was not available, and no
         public code was found (November 2026).
Theirs   d_K -> our ``channels``; k -> our ``keep``; K -> our ``window``; M -> our ``chunk``; gamma -> our g.
Differs  distances are computed between all tokens: the selections are theirs, the cost is not. Our choices are M,
         K = 4 k, the initial theta = 0, GELU and no bias in the two-layer maps, and ``local``, which adds the own
         chunk so far to the candidates and is on by default (without it a token is rarely a candidate of the next
         one). Indices on the curve are computed from the sigmoid of each coordinate: with the range of the sequence, a
         prefix would have other indices than the whole. k is smaller than theirs (32), for short sequences. The
         exponential of a position's bias multiplies c, and the selection does not depend on it. Of keys that are
         equally near up to rounding, such as those of a repeated token, the earliest are selected. An odd number of
         channels is padded with one channel of zeros, which changes no distance, so that rotary positions have pairs.

Letters  B batch, H heads, T queries, S keys, D width, C channels per head.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Attention, register
from attnlab.attention.ops.selection import checked_size, top_k_mask
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32, causal_mask

Count = Annotated[int, Field(ge=1)]


@register("zeta", source="arXiv:2501.14577 (third-party description)", version=2)
@final
class Zeta(Attention):
    """Cauchy weights of the nearest keys in few dimensions, and of the mean of the past.

    Options:
        channels: Channels of queries and keys per head.
        keep: Nearest keys that a query attends to, k; null is 8, or the longest sequence if that is shorter.
        local: Whether the own chunk so far is searched too, so that every token so far is a candidate.
        chunk: Tokens of a chunk, M; null is 8, or the longest sequence if that is shorter. Has no effect with local.
        search: ``exact`` finds the nearest keys; ``zorder`` the nearest among the neighbors on the curve.
        window: Neighbors on the curve, K; null is 4 k. Has no effect with exact.
        layers: Linear maps to queries and to keys: 1, or 2 with a GELU between them.
    """

    hides_keys = False
    plain_products = False  # it reads distances
    cost = "T (log T + K C + k D)"

    own_projections = True

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
            hint = "Set local=false to search complete past chunks only, or leave 'chunk' out."
            raise InvalidValueError("'chunk' has no effect where local is true.", hint)
        if search == "exact" and window is not None:
            raise InvalidValueError("'window' has no effect where the search is exact.", "Use search=zorder.")
        if search == "zorder" and channels > WIDEST:
            raise InvalidValueError(
                f"The space-filling curve has at most {WIDEST} channels, not {channels}.", "Use search=exact."
            )
        if self.window < self.keep:
            raise InvalidValueError(
                f"'keep' is {self.keep}, above the window of {window}.",
                f"Use a keep of at most {window}, or a larger window.",
            )
        if layers == 2:
            self.before_query, self.before_key = (context.linear(context.width, context.width) for _ in range(2))
        self.theta_1 = nn.Parameter(torch.zeros(1))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 D^2 + 2 D H C + 1``, and ``2 D^2`` more with two layers."""
        return 2 * options["layers"] * width**2 + 2 * width * heads * options["channels"] + 1

    @property
    def score_maps(self) -> int:
        """One per head for each channel, whose differences are held before they are added up."""
        channels = self.key.out_features // self.num_heads
        return self.num_heads * (channels + channels % 2)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries and keys of few channels, and values."""
        query_BTD, key_BTD = x_BTD, x_BTD
        if self.layers == 2:
            query_BTD, key_BTD = functional.gelu(self.before_query(x_BTD)), functional.gelu(self.before_key(x_BTD))
        queries, keys = self.split(self.query(query_BTD)), self.split(self.key(key_BTD))
        odd = queries.shape[-1] % 2
        return QKV(functional.pad(queries, (0, odd)), functional.pad(keys, (0, odd)), self.split(self.value(x_BTD)))

    def score(self, qkv: QKV) -> Tensor:
        """The logarithm of the Cauchy kernel, B x H x T x S."""
        return self.log_cauchy(squared_distances(qkv.queries_BHTC, qkv.keys_BHSC))

    def log_cauchy(self, distance: Tensor) -> Tensor:
        """Compute ``log c``.

        Args:
            distance: Squared distances.

        Returns:
            The logarithms, in the same shape.
        """
        return -(distance + at_least_float32(self.theta_1).sigmoid().square()).log()

    def mask(self, qkv: QKV) -> Tensor:
        """True at the nearest of the candidates, B x H x T x S."""
        rows_T1, keys_S = qkv.query_indices_T1, qkv.key_indices_S
        allowed_TS = keys_S < rows_T1 - rows_T1 % self.chunk
        if self.local:
            allowed_TS = keys_S <= rows_T1
        queries_BHTC, keys_BHSC = at_least_float32(qkv.queries_BHTC).detach(), at_least_float32(qkv.keys_BHSC).detach()
        if self.search == "zorder":
            allowed_TS = curve_neighbors(zorder(queries_BHTC), zorder(keys_BHSC), allowed_TS, self.window)
        return top_k_mask(-squared_distances(queries_BHTC, keys_BHSC), allowed_TS, self.keep)

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Weights of the nearest keys, and the weight of the mean divided among all past keys, B x H x T x S."""
        rows_T1, keys_S = qkv.query_indices_T1, qkv.key_indices_S
        past_TS = causal_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        keys_BHSC, queries_BHTC = at_least_float32(qkv.keys_BHSC), at_least_float32(qkv.queries_BHTC)
        means_BHSC = keys_BHSC.cumsum(-2) / (keys_S[:, None] + 1)
        means_BHTC = means_BHSC[..., qkv.start : qkv.start + scores.shape[-2], :]
        mean_BHT1 = self.log_cauchy((queries_BHTC - means_BHTC).square().sum(-1, keepdim=True))
        log_kernel_BHTS = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        top_BHT1 = torch.maximum(log_kernel_BHTS.amax(-1, keepdim=True), mean_BHT1).detach()
        kernel = (log_kernel_BHTS - top_BHT1).exp().masked_fill(~mask, 0.0)
        kernel = kernel + ((mean_BHT1 - top_BHT1).exp() / (rows_T1 + 1)).masked_fill(~past_TS, 0.0)
        return kernel / kernel.sum(-1, keepdim=True)


BITS, FINEST = 62, 16
"""Bits of an index on the curve, and the most bits of one coordinate."""
WIDEST = BITS


def squared_distances(queries_TC: Tensor, keys_SC: Tensor) -> Tensor:
    """Compute squared distances by differences, which are exact and affordable for few channels.

    Args:
        queries_TC: ... x T x C.
        keys_SC: ... x S x C.

    Returns:
        Squared distances, ... x T x S.
    """
    return (queries_TC.unsqueeze(-2) - keys_SC.unsqueeze(-3)).square().sum(-1)


def zorder(points_TC: Tensor) -> Tensor:
    """Compute indices on the space-filling curve: the interleaved bits of all coordinates, highest first.

    Args:
        points_TC: Queries or keys, ... x T x C.

    Returns:
        Indices, int64, ... x T.

    >>> zorder(torch.tensor([[-9.0, -9.0], [-9.0, 9.0], [9.0, -9.0], [9.0, 9.0]])).argsort().tolist()
    [0, 1, 2, 3]
    """
    channels = points_TC.shape[-1]
    bits = min(FINEST, BITS // channels)
    cells_TC = (at_least_float32(points_TC).sigmoid() * 2**bits).long().clamp(0, 2**bits - 1)
    index_T = torch.zeros_like(cells_TC[..., 0])
    for bit in reversed(range(bits)):
        for channel in range(channels):
            index_T = 2 * index_T + ((cells_TC[..., channel] >> bit) & 1)
    return index_T


def curve_neighbors(queries_T: Tensor, keys_S: Tensor, allowed_TS: Tensor, window: int) -> Tensor:
    """Select the ``window`` allowed keys around each query on the curve: half on each side, more on one at the ends.

    Keys of equal index are ordered by time, and a query comes before keys of its index.

    Args:
        queries_T: Indices of the queries on the curve, ... x T.
        keys_S: Indices of the keys on the curve, ... x S.
        allowed_TS: bool, True at the candidates.
        window: How many keys to select.

    Returns:
        bool, True at the selected keys, ... x T x S.
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
    """Compute the fraction of the exact nearest keys that the search along the curve finds.

    Args:
        queries_TC: ... x T x C.
        keys_SC: ... x S x C.
        allowed_TS: bool, True at the candidates.
        keep: How many keys are selected.
        window: Neighbors on the curve.

    Returns:
        Fractions, ... x T.
    """
    distance_TS = squared_distances(queries_TC, keys_SC)
    exact_TS = top_k_mask(-distance_TS, allowed_TS, keep)
    found_TS = top_k_mask(-distance_TS, curve_neighbors(zorder(queries_TC), zorder(keys_SC), allowed_TS, window), keep)
    return (exact_TS & found_TS).sum(-1) / exact_TS.sum(-1).clamp_min(1)
