"""The control of loudness: a softmax that writes as much as another mechanism, and differs from it in nothing but that.

    y_l <- g_l y_l,   g_l = rms(reference's y_l) / rms(y_l)

Letters  B batch, T tokens, D width, l layer, y what an attention adds to the stream.

A mechanism with a gain above one has larger gradients for that alone. Each layer is turned up in order, so that the
ones after it read what it now writes.
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
    """An attention whose matrix, and so all that it writes, is multiplied by a number."""

    def __init__(self, attention: nn.Module, gain: float) -> None:
        super().__init__()
        self.attention, self.gain = attention, gain

    def forward(
        self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs, trace: bool = False
    ) -> AttentionOutput:
        """What the attention says, louder."""
        mixed: AttentionOutput = self.attention(x_BTD, position, layer_inputs, trace)
        weights = tuple(self.gain * matrix_BHTS for matrix_BHTS in mixed.weights_BHTS)
        return mixed._replace(output_BTD=self.gain * mixed.output_BTD, weights_BHTS=weights)


def blocks(model: Transformer) -> list[Block]:
    """The blocks of a model."""
    return [block for block in model.blocks if isinstance(block, Block)]


def unwrapped(attention: nn.Module) -> Attention:
    """The mechanism itself, out of its control."""
    within = attention.attention if isinstance(attention, ScaledAttention) else attention
    assert isinstance(within, Attention), "blocks hold attentions"
    return within


@torch.no_grad()
def match_gain(model: Transformer, reference: Transformer, stream_BTD: Tensor) -> list[float]:
    """Make each attention write as loudly as the reference's, both shown the same stream; the gains, layer by layer."""
    gains = []
    quiet_BTD = loud_BTD = stream_BTD
    first: tuple[QKV, ...] = ()
    other: tuple[QKV, ...] = ()
    for block, example in zip(blocks(model), blocks(reference), strict=True):
        loud_BTD, wanted = example(loud_BTD, reference.position, LayerInputs(other), False)
        _, mixed = block(quiet_BTD, model.position, LayerInputs(first), False)
        gains.append(float(rms(wanted.output_BTD) / rms(mixed.output_BTD)))
        block.add_module("attention", ScaledAttention(block.attention, gains[-1]))
        quiet_BTD, mixed = block(quiet_BTD, model.position, LayerInputs(first), False)
        first, other = first or (mixed.qkv,), other or (wanted.qkv,)
    return gains


def rms(written_BTD: Tensor) -> Tensor:
    """Root of the mean square."""
    return written_BTD.square().mean().sqrt()
