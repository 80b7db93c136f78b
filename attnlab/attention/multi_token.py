"""Multi-token attention, MTA: scores are convolved over queries and keys, so that several tokens choose together.

    s <- P conv(tril(s)),   A <- R tril(conv'(softmax(s)))

conv and conv' slide one kernel per head over the query and the queries before it, and over the keys on both sides; P
and R mix the heads. Though the kernel looks right along the keys nothing of the future is read: scores above the
diagonal count as zero before the first convolution, and the weights there are zero.

Source   Golovneva et al., "Multi-token attention", arXiv:2504.00927, and its public code.
Theirs   c_q, c_k -> our ``queries``, ``keys``; mta_kernel, wpsm -> our conv, P; the same after the softmax.
Differs  kernels and mixes start as the identity, as theirs, but are learned as the difference from it, towards which
         weight decay then pulls. They put it into every fourth layer: use a stack of attentions for that. Their gate
         reads what the head wrote; the gate here is the modifier, which reads what the attention read. The position's
         bias is part of the scores that are convolved: our choice.

Letters  B batch, H heads, T queries, S keys, Q and K sizes of the kernel, C channels per head.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Attention, Position, RowConstraint, register
from attnlab.attention.talking_heads import HeadMix
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs, causal_mask

Size = Annotated[int, Field(ge=1)]
BLOCK = 32
"""Keys that are convolved by one matrix product."""


@register("multi-token", source="arXiv:2504.00927", aliases=("mta",))
@final
class MultiToken(Attention):
    """Softmax attention whose scores and weights are convolved over nearby queries and keys, and mixed over heads.

    Options:
        queries: Rows the kernel sees: a query and those before it.
        keys: Keys the kernel sees, as many before as after; an odd number.
        norm: Whether what each head writes is normed, with a learned gain per channel.
    """

    row_constraint = RowConstraint.FREE

    def __init__(self, context: LayerContext, *, queries: Size = 6, keys: Size = 11, norm: bool = True) -> None:
        super().__init__(context)
        if keys % 2 == 0:
            raise InvalidValueError(f"A kernel over {keys} keys has no middle.", f"Use {keys - 1} or {keys + 1}.")
        self.before, self.after = Slide(context, queries, keys), Slide(context, queries, keys)
        self.mix_before, self.mix_after = HeadMix(context), HeadMix(context)
        self.earlier = queries - 1
        self.gain_C = nn.Parameter(torch.ones(context.channels)) if norm else None

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``4 D^2 + 2 H Q K + 2 H^2``, and C for the norm."""
        kernels = 2 * heads * options["queries"] * options["keys"]
        return 4 * width**2 + kernels + 2 * heads**2 + (width // heads if options["norm"] else 0)

    @property
    def score_maps(self) -> int:
        """One per head, with the overlap of the blocks that the kernels slide over."""
        return math.ceil(self.num_heads * (1 + (self.before.change_HQK.shape[-1] - 1) / BLOCK))

    def prepare(self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs) -> QKV:
        """QKV, with all queries kept beside: a chunk of rows needs those before it."""
        qkv = super().prepare(x_BTD, position, layer_inputs)
        return qkv._replace(extra=(qkv.queries_BHTC,))

    def scores(self, qkv: QKV, position: Position) -> Tensor:
        """Scores, convolved and mixed."""
        wider, more = self.with_earlier(qkv)
        return super().scores(wider, position)[..., more:, :]

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """The future set to zero, then the convolution, then the mix of heads."""
        mask = causal_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        return self.mix_before(self.before(super().add_bias(scores, bias, qkv).masked_fill(~mask, 0.0)))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """Weights, convolved, cut at the diagonal and mixed."""
        wider, more = self.with_earlier(qkv)
        weights = self.after(super().weights(wider, position)).tril(wider.start)
        return self.mix_after(weights)[..., more:, :]

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """What each head wrote, normed."""
        if self.gain_C is not None:
            mixed_BHTC = functional.rms_norm(mixed_BHTC, mixed_BHTC.shape[-1:], self.gain_C, eps=1e-5)
        return super().output(mixed_BHTC, x_BTD)

    def with_earlier(self, qkv: QKV) -> tuple[QKV, int]:
        """A chunk of rows and the few before it that its convolution reads, and how many those are."""
        more = min(self.earlier, qkv.start)
        start, end = qkv.start - more, qkv.start + qkv.queries_BHTC.shape[-2]
        return qkv._replace(queries_BHTC=qkv.extra[0][..., start:end, :], start=start), more


@final
class Slide(nn.Module):
    """One Q x K kernel per head over queries (before) and keys (both sides); it starts as the identity.

    Args:
        context: Where it stands.
        queries: Q.
        keys: K.
    """

    def __init__(self, context: LayerContext, queries: int, keys: int) -> None:
        super().__init__()
        self.change_HQK = nn.Parameter(torch.zeros(context.heads, queries, keys))

    def forward(self, maps_BHTS: Tensor) -> Tensor:
        """Maps of shape B x H x T x S, convolved; beyond the edges there is nothing.

        Blocks of keys times a band matrix for each row of the kernel: on a CPU nearly twice as fast, with the way
        back, as a depthwise convolution.
        """
        queries, keys = self.change_HQK.shape[-2:]
        rows, columns = maps_BHTS.shape[-2:]
        block = min(columns, BLOCK)
        padded = functional.pad(maps_BHTS, (keys // 2, keys // 2 + -columns % block, queries - 1, 0))
        # Slices, since torch.func.vmap knows no way back through Tensor.unfold.
        edges = range(0, padded.shape[-1] - keys + 1, block)
        windows = torch.stack([padded[..., edge : edge + block + keys - 1] for edge in edges], dim=-2)
        bands_HQWS = self.bands(block).to(maps_BHTS.dtype)
        changed = torch.zeros((), dtype=maps_BHTS.dtype, device=maps_BHTS.device)
        for row in range(queries):
            changed = changed + windows[..., row : row + rows, :, :].flatten(-3, -2) @ bands_HQWS[:, row]
        return maps_BHTS + changed.unflatten(-2, (rows, -1)).flatten(-2)[..., :columns]

    def bands(self, block: int) -> Tensor:
        """Each row of the kernel as the matrix that slides it over a block: H x Q x (S + K - 1) x S."""
        keys, device = self.change_HQK.shape[-1], self.change_HQK.device
        ahead = torch.arange(block + keys - 1, device=device)[:, None] - torch.arange(block, device=device)
        hot_KWS = torch.arange(keys, device=device)[:, None, None] == ahead
        return (self.change_HQK @ hot_KWS.to(self.change_HQK.dtype).flatten(1)).unflatten(-1, ahead.shape)
