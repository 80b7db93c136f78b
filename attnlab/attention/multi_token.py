"""Multi-token attention, MTA: scores and weights are convolved over neighboring queries and keys.

    s <- P conv(tril(s)),   A <- R tril(conv'(softmax(s)))

conv and conv' have one kernel per head, over the query and the queries before it and over the keys on both sides. P
and R mix the heads. The kernel covers later keys, but the result is causal: scores above the diagonal are set to zero
before the first convolution, and the weights there are zero.

Source   Golovneva et al., "Multi-token attention", arXiv:2504.00927, and its public code.
Theirs   c_q, c_k -> our ``queries``, ``keys``; mta_kernel, wpsm -> our conv, P; the same after the softmax.
Differs  kernels and mixes start as the identity, as theirs, but the parameters are the differences from it, so that
         weight decay pulls towards the identity. They use it in every fourth layer: use a stack of attentions for
         that. Their gate reads the output of the head; the gate here is the modifier, which reads the input of the
         attention. The position's bias is part of the scores that are convolved: our choice.

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
from attnlab.attention.ops.unit import head_norm
from attnlab.attention.talking_heads import HeadMix
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs, causal_mask

Size = Annotated[int, Field(ge=1)]
BLOCK = 32
"""Keys of one matrix product."""


@register("multi-token", source="arXiv:2504.00927", aliases=("mta",))
@final
class MultiToken(Attention):
    """Softmax attention whose scores and weights are convolved over nearby queries and keys, and mixed over heads.

    Options:
        queries: Rows of the kernel: a query and those before it.
        keys: Keys of the kernel, as many before as after; an odd number.
        norm: Whether the output of each head is normalized, with a learned gain per channel.
    """

    row_constraint = RowConstraint.FREE

    def __init__(self, context: LayerContext, *, queries: Size = 6, keys: Size = 11, norm: bool = True) -> None:
        super().__init__(context)
        if keys % 2 == 0:
            raise InvalidValueError(
                f"A kernel over {keys} keys has no middle.", f"Use an odd number: {keys - 1} or {keys + 1}."
            )
        self.before, self.after = (
            KeyQueryConvolution(context, queries, keys),
            KeyQueryConvolution(context, queries, keys),
        )
        self.mix_before, self.mix_after = HeadMix(context), HeadMix(context)
        self.previous = queries - 1
        self.gain_C = nn.Parameter(torch.ones(context.channels)) if norm else None

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 2 H Q K + 2 H^2``, and C for the norm."""
        kernels = 2 * heads * options["queries"] * options["keys"]
        return 4 * width**2 + kernels + 2 * heads**2 + (width // heads if options["norm"] else 0)

    @property
    def score_maps(self) -> int:
        """Two per head, of which one has the overlap of the blocks of the convolution."""
        return math.ceil(self.num_heads * (2 + (self.before.change_HQK.shape[-1] - 1) / BLOCK))

    def state_size(self, tokens: int) -> int:
        """A key and a value per token, and the queries that the convolution reads again."""
        return super().state_size(tokens) + min(tokens, self.previous) * self.query.out_features

    def prepare(self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values; all queries again as extra, since a chunk of rows needs those before it."""
        qkv = super().prepare(x_BTD, position, layer_inputs)
        return qkv._replace(extra=(qkv.queries_BHTC,))

    def scores(self, qkv: QKV, position: Position) -> Tensor:
        """Scores, convolved and mixed over the heads, B x H x T x S."""
        wider, previous = self.with_previous_rows(qkv)
        return super().scores(wider, position)[..., previous:, :]

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores with later keys set to zero, then convolved, then mixed over the heads."""
        mask = causal_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        return self.mix_before(self.before(super().add_bias(scores, bias, qkv).masked_fill(~mask, 0.0)))

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """Weights, convolved, set to zero above the diagonal, and mixed over the heads, B x H x T x S."""
        wider, previous = self.with_previous_rows(qkv)
        weights = self.after(super().weights(wider, position)).tril(wider.start)
        return self.mix_after(weights)[..., previous:, :]

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """The update of the residual stream, from normalized outputs of the heads."""
        if self.gain_C is not None:
            mixed_BHTC = head_norm(mixed_BHTC.to(self.gain_C.dtype), self.gain_C)
        return super().output(mixed_BHTC, x_BTD)

    def with_previous_rows(self, qkv: QKV) -> tuple[QKV, int]:
        """Extend a chunk of rows by the rows before it that its convolution reads.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.

        Returns:
            The extended chunk, and the number of rows before the chunk.
        """
        previous = min(self.previous, qkv.start)
        start, end = qkv.start - previous, qkv.start + qkv.queries_BHTC.shape[-2]
        return qkv._replace(queries_BHTC=qkv.extra[0][..., start:end, :], start=start), previous


@final
class KeyQueryConvolution(nn.Module):
    """One Q x K kernel per head over queries (before) and keys (both sides); it starts as the identity.

    Args:
        context: The layer that the attention is built for.
        queries: Q.
        keys: K.
    """

    def __init__(self, context: LayerContext, queries: int, keys: int) -> None:
        super().__init__()
        self.change_HQK = nn.Parameter(torch.zeros(context.heads, queries, keys))

    def forward(self, maps_BHTS: Tensor) -> Tensor:
        """Convolve maps, padded with zeros.

        Blocks of keys are multiplied by a band matrix for each row of the kernel. On a CPU, forward and backward pass
        together are nearly twice as fast as with a depthwise convolution.

        Args:
            maps_BHTS: Scores or weights.

        Returns:
            B x H x T x S.
        """
        queries, keys = self.change_HQK.shape[-2:]
        rows, columns = maps_BHTS.shape[-2:]
        block = min(columns, BLOCK)
        padded = functional.pad(maps_BHTS, (keys // 2, keys // 2 + -columns % block, queries - 1, 0))
        # Slices, since torch.func.vmap has no backward pass for Tensor.unfold.
        edges = range(0, padded.shape[-1] - keys + 1, block)
        windows = torch.stack([padded[..., edge : edge + block + keys - 1] for edge in edges], dim=-2)
        del padded
        bands_HQWS = self.bands(block).to(maps_BHTS.dtype)
        changed = windows[..., :rows, :, :].flatten(-3, -2) @ bands_HQWS[:, 0]
        for row in range(1, queries):
            changed += windows[..., row : row + rows, :, :].flatten(-3, -2) @ bands_HQWS[:, row]
        return maps_BHTS + changed.unflatten(-2, (rows, -1)).flatten(-2)[..., :columns]

    def bands(self, block: int) -> Tensor:
        """Write each row of the kernel as a band matrix.

        Args:
            block: Keys of a block, S.

        Returns:
            H x Q x (S + K - 1) x S.
        """
        keys, device = self.change_HQK.shape[-1], self.change_HQK.device
        offset_WS = torch.arange(block + keys - 1, device=device)[:, None] - torch.arange(block, device=device)
        one_hot_KWS = torch.arange(keys, device=device)[:, None, None] == offset_WS
        return (self.change_HQK @ one_hot_KWS.to(self.change_HQK.dtype).flatten(1)).unflatten(-1, offset_WS.shape)
