"""DAPE: a small network corrects the scores, from the scores and the positional bias of all heads together.

    A = softmax(S + B + f(S, B)),  f = W_2 LeakyReLU(W_1 [S; B] + b_1) + b_2

``f`` reads, for each pair (query i, key j), the 2H numbers of all heads (H if the position adds no bias). With
``kernel: k`` it also reads the k - 1 keys before j, in both layers: that is DAPE V2, and k = 1 is DAPE V1.

Source   Zheng et al., "DAPE", arXiv:2405.14722, equations 2 and 3 (V1); "DAPE V2", arXiv:2410.04798 (V2).
Theirs   D_DAPE -> our ``width``;  Concat / Concat_Residual / Add_Residual -> our ``form``.
Differs  V2 pads with zeros on the left only (``padding: causal``), so that a prefix gives exactly the results it gives
         within a longer sequence. Their symmetric padding is ``padding: symmetric``, with the future set to zero before
         each of the two convolutions, not only before the first: otherwise the last row would depend on the length of
         the sequence. Where there is no bias the first layer has H inputs (in their code V2 without a bias expects 2H
         and does not run).

Letters  B batch, H heads, T queries, S keys, k width of the kernel over the keys.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Attention, register
from attnlab.attention.ops import loops
from attnlab.attention.ops.correction import Network, corrected, usable
from attnlab.tensors import QKV, LayerContext, causal_mask

Size = Annotated[int, Field(ge=1)]


@register("dape", source="arXiv:2405.14722 (V1), arXiv:2410.04798 (V2: kernel 3)")
@final
class Dape(Attention):
    """Softmax attention with scores and biases corrected by a network across heads.

    Options:
        kernel: Keys that each of the two layers reads: 1 is V1, 3 is V2.
        width: Hidden channels of the network.
        form: ``residual`` S + B + f(S, B), ``concat`` S + f(S, B), ``add`` S + B + f(S + B).
        padding: Padding of the keys: ``causal`` (left only) or ``symmetric``.
    """

    hides_keys = False

    def __init__(
        self,
        context: LayerContext,
        *,
        kernel: Size = 1,
        width: Size = 32,
        form: Literal["residual", "concat", "add"] = "residual",
        padding: Literal["causal", "symmetric"] = "causal",
    ) -> None:
        super().__init__(context)
        self.kernel, self.form, self.padding = kernel, form, padding
        inputs = context.heads * (2 if context.biased and form != "add" else 1)
        self.reader = Correction(context, inputs, width, kernel)
        self.writer = Correction(context, width, context.heads, kernel)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2 + 2 k w H + w + H``; one ``k w H`` more where a position adds a bias and the form is not ``add``."""
        kernel, hidden = options["kernel"], options["width"]
        maps = 3 if biased and options["form"] != "add" else 2
        return 4 * width**2 + maps * kernel * hidden * heads + hidden + heads

    @property
    def score_maps(self) -> int:
        """The width of the widest layer of the network; compiled loops hold scores, corrected ones and gradients."""
        if self.fast and loops.usable(self.reader.weight):
            return 3 * super().score_maps
        return max(self.reader.weight.shape[:2])

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores corrected by the network, from one key (V1) or from the keys before it too (V2)."""
        bias_BHTS = torch.zeros_like(scores) if bias is None else bias.expand_as(scores)
        given = None if bias is None else bias_BHTS
        if self.fast and usable(network := self.network, scores, given):
            return corrected(network, scores, given, qkv.start)
        biased = scores + bias_BHTS
        inputs = biased if bias is None or self.form == "add" else torch.cat([scores, bias_BHTS], dim=-3)
        hidden = functional.leaky_relu(self.convolve(self.reader, inputs, qkv.start), inplace=True)
        correction = self.convolve(self.writer, hidden, qkv.start)
        return correction + (scores if self.form == "concat" else biased)

    @property
    def network(self) -> Network:
        """The two layers, and how they read the keys."""
        weights = (self.reader.weight, self.reader.bias, self.writer.weight, self.writer.bias)
        after = self.kernel // 2 if self.padding == "symmetric" else 0
        return Network(*weights, after, summed=self.form == "add", adds_bias=self.form != "concat")

    def convolve(self, layer: Correction, maps: Tensor, start: int) -> Tensor:
        """One layer of the network over the keys; entries in the future of a query count as zero.

        Args:
            layer: The convolution.
            maps: B x inputs x T x S.
            start: Index of the first query among the keys.

        Returns:
            B x outputs x T x S.
        """
        queries, keys = maps.shape[-2:]
        after = self.kernel // 2 if self.padding == "symmetric" else 0
        if after:
            maps = maps.masked_fill(~causal_mask(queries, keys, start, maps.device), 0.0)
        return layer(functional.pad(maps, (self.kernel - 1 - after, after)))


@final
class Correction(nn.Module):
    """A 1 x k convolution over the keys that mixes all maps; PyTorch's default initialization.

    Args:
        context: The source of the initial weights.
        inputs: Number of input maps.
        outputs: Number of output maps.
        kernel: k, keys per convolution.
    """

    def __init__(self, context: LayerContext, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs * kernel)
        self.weight = context.uniform(outputs, inputs, 1, kernel, bound=bound)
        self.bias = context.uniform(outputs, bound=bound)

    def forward(self, maps: Tensor) -> Tensor:
        """The convolution, as a matrix product over the maps and a shift over the keys.

        The order is the one that shifts fewer maps. With so few maps PyTorch's convolution takes up to four times as
        long.

        Args:
            maps: B x inputs x T x (S + k - 1).

        Returns:
            B x outputs x T x S.
        """
        weight, bias = self.weight.to(maps.dtype).squeeze(2), self.bias.to(maps.dtype)
        outputs, inputs, kernel = weight.shape
        keys = maps.shape[-1] - kernel + 1
        if outputs < inputs:
            mixed = mix_maps(weight.movedim(-1, 0).flatten(0, 1), maps).unflatten(1, (kernel, outputs))
            shifted = (mixed[:, tap, ..., tap : tap + keys] for tap in range(kernel))
            return sum(shifted, start=bias[:, None, None])
        inputs_by_tap = torch.cat([maps[..., tap : tap + keys] for tap in range(kernel)], dim=1) if kernel > 1 else maps
        return mix_maps(weight.movedim(-1, 1).flatten(1), inputs_by_tap, bias)


def mix_maps(weight: Tensor, maps: Tensor, bias: Tensor | None = None) -> Tensor:
    """The maps of every query and key multiplied by one matrix.

    Args:
        weight: outputs x inputs.
        maps: B x inputs x T x S.
        bias: outputs; None is no bias.

    Returns:
        B x outputs x T x S.
    """
    flat = maps.flatten(2)
    weights = weight.expand(len(flat), -1, -1)
    result = weights @ flat if bias is None else torch.baddbmm(bias[:, None], weights, flat)
    return result.unflatten(2, maps.shape[2:])
