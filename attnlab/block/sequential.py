"""The sequential block, the baseline: the MLP reads what the attention has written.

    pre-norm    x <- x + attention(norm_1(x)),   x <- x + mlp(norm_2(x))
    post-norm   x <- norm_1(x + attention(x)),   x <- norm_2(x + mlp(x))

Source   Vaswani et al., "Attention is all you need", arXiv:1706.03762, section 3.1 (post-norm); Xiong et al., "On layer
         normalization in the transformer architecture", arXiv:2002.04745, section 3 (pre-norm).
Differs  in nothing; there is no dropout.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from typing import final

from attnlab.block.base import Block, BlockParts, register, select_positions
from attnlab.position import Position
from attnlab.residual_stream import Stream
from attnlab.tensors import AttentionOutput, LayerContext, LayerInputs


@register("sequential", source="arXiv:1706.03762, section 3.1")
@final
class SequentialBlock(Block):
    """Attention, then an MLP, each a branch with a norm and a residual connection."""

    def __init__(self, context: LayerContext, parts: BlockParts) -> None:
        super().__init__(context, parts, norms=1 if parts.mlp is None else 2)

    def forward(
        self, x_BTD: Stream, position: Position, layer_inputs: LayerInputs, trace: bool
    ) -> tuple[Stream, AttentionOutput]:
        """The stream after the attention, then after the MLP."""
        queries, layer_inputs = layer_inputs.query_positions, self.before_mlp(layer_inputs)
        output: AttentionOutput = self.attention(self.branch_input(x_BTD, 0), position, layer_inputs, trace)
        update_BTD = output.output_BTD
        if layer_inputs.query_positions is not None:
            x_BTD, update_BTD = (
                select_positions(tensor_BTD, layer_inputs.query_positions) for tensor_BTD in (x_BTD, update_BTD)
            )
        x_BTD = self.branch_output(x_BTD, update_BTD, 0)
        if self.mlp is not None:
            x_BTD = self.branch_output(x_BTD, self.mlp(self.branch_input(x_BTD, 1)), 1)
        done = queries is None or layer_inputs.query_positions is not None
        return x_BTD if done else select_positions(x_BTD, queries), output
