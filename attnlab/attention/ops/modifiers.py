"""Modifiers: small additions to any attention, each off by default.

    short_conv       x  <- conv(x): a causal depthwise convolution of the attention's input; D k weights
    qk_norm          q, k <- g_h rms(q), rms(k): queries and keys of unit size, one learned gain per head; H weights
    value_residual   v  <- (v + v_1) / 2, or (1 - a) v + a v_1 with a learned: v_1 the values of the first layer
    canon=A          x  <- x + conv_4(x): a causal depthwise convolution with a residual; 4 D weights
    canon=B, C, D    the same of the projections q, k, v; of the MLP's input; inside the MLP, before its activation
    exclusive        y  <- y - (y.u) u with u = v_i / |v_i|, the direction of the token's own value; no weights
    gate             o  <- o * sigmoid(W x) before the output projection: element-wise (D D_o) or one per head (D H)

Source   short_conv: ours, after fla's and Hyena's (Poli et al., arXiv:2302.10866); qk_norm: Henry et al.,
         "Query-key normalization for transformers", arXiv:2010.04245; value_residual: Zhou et al., "Value residual
         learning" (ResFormer), arXiv:2410.17897; gate: Qiu et al., "Gated attention", arXiv:2505.06708;
         canon: Allen-Zhu, "Physics of language models: part 4.1", arXiv:2512.17351; exclusive: arXiv:2603.09078.
Differs  short_conv is neither a Canon layer, which adds its input, nor the convolutions of q, k and v with an
         activation that the papers of linear mixers have (their option `conv`): it is one convolution before the
         projections, and starts as the identity. The gain of qk_norm multiplies the queries only. The learned share of
         value_residual starts at 1/2. The gate reads the input before canon=A. Canon layers start as torch's Conv1d
         does, from U(-1/2, 1/2). With exclusive the first token, which sees its own value alone, has an output of 0.
         The effective matrix is that before the projection, which mixes channels and no tokens.

Letters  B batch, T tokens, D width, H heads, C channels per head, K taps.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.ops.convolution import causal_convolution
from attnlab.attention.ops.rms_norm import rms_norm
from attnlab.errors import IncompatiblePartsError
from attnlab.specs import Modifiers
from attnlab.tensors import QKV, Canon, LayerContext, LayerInputs, at_least_float32


@final
class AttentionModifiers(nn.Module):
    """The modifiers of one attention.

    Args:
        context: Sizes, index of the layer, and the modifiers of the model.
        value_width: Channels per token that reach the output projection.
        projections: Channels of queries, keys and values together; 0 where an attention has projections of its own.
    """

    def __init__(self, context: LayerContext, value_width: int, projections: int = 0) -> None:
        super().__init__()
        modifiers: Modifiers = context.modifiers
        self.modifiers = modifiers
        self.num_heads = context.heads
        self.canon_a = context.canon("A", context.width)
        self.canon_b = context.canon("B", projections) if projections else nn.Identity()
        if modifiers.short_conv:
            tap_D1K = torch.zeros(context.width, 1, modifiers.short_conv)
            tap_D1K[..., -1] = 1.0
            self.tap_D1K = nn.Parameter(tap_D1K)
        if modifiers.qk_norm:
            self.gain_H = nn.Parameter(torch.ones(context.heads))
        if modifiers.value_residual == "learned" and context.layer:
            self.share = nn.Parameter(torch.tensor(0.5))
        if modifiers.gate != "none":
            self.gate = context.linear(context.width, value_width if modifiers.gate == "element" else context.heads)

    def state_size(self, tokens: int) -> int:
        """Numbers that a decoder keeps for convolutions of the attention: the inputs that they read again.

        Args:
            tokens: Tokens so far.

        Returns:
            Their count; 0 without ``short_conv`` and ``canon``. Those of an MLP's Canon layers are not counted.
        """
        layers = [layer.tap_D1K for layer in (self.canon_a, self.canon_b) if isinstance(layer, Canon)]
        if self.modifiers.short_conv:
            layers.append(self.tap_D1K)
        return sum(min(tokens, taps.shape[-1] - 1) * len(taps) for taps in layers)

    def convolve(self, x_BTD: Tensor) -> Tensor:
        """The input of the attention after the short convolution.

        Args:
            x_BTD: The input of the attention.

        Returns:
            B x T x D, with canon=A convolved once more; the input itself without the two.
        """
        if self.modifiers.short_conv:
            x_BTD = causal_convolution(x_BTD, self.tap_D1K)
        convolved_BTD: Tensor = self.canon_a(x_BTD)
        return convolved_BTD

    def exclude(self, mixed_BHTC: Tensor, values_BHTC: Tensor) -> Tensor:
        """The output of each head without its part along the token's own value.

        Args:
            mixed_BHTC: Weighted sums of the values.
            values_BHTC: The values of the same tokens.

        Returns:
            B x H x T x C; the sums themselves without ``exclusive``.
        """
        if not self.modifiers.exclusive:
            return mixed_BHTC
        exact_BHTC = at_least_float32(mixed_BHTC)
        unit_BHTC = functional.normalize(at_least_float32(values_BHTC), dim=-1)
        parallel_BHTC = (exact_BHTC * unit_BHTC).sum(-1, keepdim=True) * unit_BHTC
        return (exact_BHTC - parallel_BHTC).to(mixed_BHTC.dtype)

    def apply_to(self, qkv: QKV, layer_inputs: LayerInputs) -> QKV:
        """Queries and keys after ``qk_norm``, values after ``value_residual``.

        Args:
            qkv: Queries, keys and values of all tokens.
            layer_inputs: The inputs of the layer besides the residual stream; they hold the first layer's values.

        Returns:
            Queries, keys and values of the same shapes.

        Raises:
            IncompatiblePartsError: the first layer's values have another shape.
        """
        if self.modifiers.qk_norm:
            queries_BHTC = rms_norm(qkv.queries_BHTC, self.gain_H[:, None, None])
            qkv = qkv._replace(queries_BHTC=queries_BHTC, keys_BHSC=rms_norm(qkv.keys_BHSC))
        if self.modifiers.value_residual != "none" and layer_inputs.first_layer:
            share = self.share if self.modifiers.value_residual == "learned" else 0.5
            mixed_BHSC = (1 - share) * qkv.values_BHSC + share * first_values(qkv.values_BHSC, layer_inputs)
            qkv = qkv._replace(values_BHSC=mixed_BHSC)
        return qkv

    def apply_gate(self, joined_BTD: Tensor, x_BTD: Tensor) -> Tensor:
        """The input of the output projection, gated.

        Args:
            joined_BTD: Heads joined, B x T x D_o.
            x_BTD: The input of the attention.

        Returns:
            B x T x D_o; the joined heads themselves without ``gate``.
        """
        if self.modifiers.gate == "none":
            return joined_BTD
        gate = self.gate(x_BTD).sigmoid()
        if self.modifiers.gate == "element":
            return joined_BTD * gate
        return (joined_BTD.unflatten(-1, (self.num_heads, -1)) * gate[..., None]).flatten(-2)


def first_values(values_BHSC: Tensor, layer_inputs: LayerInputs) -> Tensor:
    """The first layer's values, checked against the shape of this layer's.

    Args:
        values_BHSC: This layer's values.
        layer_inputs: The inputs of the layer besides the residual stream; they hold the first layer's values.

    Returns:
        The first layer's values, B x H x S x C.

    Raises:
        IncompatiblePartsError: the two have different shapes, as in a stack of different attentions.
    """
    first_BHSC = layer_inputs.first_layer[0].values_BHSC
    if first_BHSC.shape != values_BHSC.shape:
        first, own = (" x ".join(map(str, tensor.shape[1::2])) for tensor in (first_BHSC, values_BHSC))
        problem = f"The first layer's values are {first} (heads x channels), this layer's {own}: they cannot be mixed."
        raise IncompatiblePartsError(problem, "Stack attentions with values of one size.", where="model.attention")
    return first_BHSC
