"""The gain-matched control: a softmax with the branch gain of another mechanism, and no other difference to softmax.

    y_l <- g_l y_l,   g_l = rms(reference's y_l) / rms(y_l)

Letters  B batch, T tokens, D width, l layer, y what an attention adds to the residual stream.

A mechanism with a gain above one has larger gradients for that reason alone. The layers are scaled in order, so that
each later layer reads the scaled output of the earlier ones.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from attnlab.attention import Attention
from attnlab.model.transformer import Block, Transformer
from attnlab.position import Position
from attnlab.tensors import QKV, AttentionOutput, LayerInputs


@final
class ScaledAttention(nn.Module):
    """An attention with its output, and so its effective matrix, multiplied by a number."""

    def __init__(self, attention: nn.Module, gain: float) -> None:
        super().__init__()
        self.attention, self.gain = attention, gain

    def forward(
        self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs, trace: bool = False
    ) -> AttentionOutput:
        """Compute the attention's output, scaled."""
        output: AttentionOutput = self.attention(x_BTD, position, layer_inputs, trace)
        weights = tuple(self.gain * matrix_BHTS for matrix_BHTS in output.weights_BHTS)
        return output._replace(output_BTD=self.gain * output.output_BTD, weights_BHTS=weights)


def blocks(model: Transformer) -> list[Block]:
    """List the blocks of a model."""
    return [block for block in model.blocks if isinstance(block, Block)]


def unscaled(attention: nn.Module) -> Attention:
    """Get the mechanism itself, without its scaling."""
    inner = attention.attention if isinstance(attention, ScaledAttention) else attention
    assert isinstance(inner, Attention), "blocks hold attentions"
    return inner


@torch.no_grad()
def match_gain(model: Transformer, reference: Transformer, x_BTD: Tensor) -> list[float]:
    """Scale each attention of a model to the output RMS of the reference's, on the same input; the gains by layer."""
    gains = []
    model_BTD = reference_BTD = x_BTD
    model_first: tuple[QKV, ...] = ()
    reference_first: tuple[QKV, ...] = ()
    for layer, (block, reference_block) in enumerate(zip(blocks(model), blocks(reference), strict=True)):
        position, own = reference.position.of_layer(layer), model.position.of_layer(layer)
        reference_BTD, target = reference_block(reference_BTD, position, LayerInputs(reference_first), False)
        _, output = block(model_BTD, own, LayerInputs(model_first), False)
        gains.append(float(rms(target.output_BTD) / rms(output.output_BTD)))
        block.add_module("attention", ScaledAttention(block.attention, gains[-1]))
        model_BTD, output = block(model_BTD, own, LayerInputs(model_first), False)
        model_first, reference_first = model_first or (output.qkv,), reference_first or (target.qkv,)
    return gains


def rms(output_BTD: Tensor) -> Tensor:
    """Compute the root mean square of a tensor."""
    return output_BTD.square().mean().sqrt()
