"""The parallel block: attention and MLP read the same input, and their outputs are added together.

    pre-norm    x <- x + attention(norm(x)) + mlp(norm(x))
    post-norm   x <- norm(x + attention(x) + mlp(x))

Source   Wang and Komatsuzaki, GPT-J-6B (2021); Chowdhery et al., "PaLM", arXiv:2204.02311, section 2. With
         ``shared_norm=false`` Black et al., "GPT-NeoX-20B", arXiv:2204.06745, section 2.1: a norm for each branch.
Theirs   as ours.
Differs  they have the pre-norm form alone. In ours the first norm is that of the attention. A layer without an MLP is
         that of a sequential block.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from typing import final

from attnlab.block.base import Block, BlockParts, register, select_positions
from attnlab.position import Position
from attnlab.residual_stream import Stream
from attnlab.tensors import AttentionOutput, LayerContext, LayerInputs


@register("parallel", source="arXiv:2204.02311, section 2")
@final
class ParallelBlock(Block):
    """Attention and MLP side by side: both read the same normalized input, and one residual connection adds both.

    Options:
        shared_norm: Whether a pre-norm block has one norm for both branches, and not one for each.
    """

    def __init__(self, context: LayerContext, parts: BlockParts, *, shared_norm: bool = True) -> None:
        separate = not shared_norm and parts.mlp is not None and parts.norm == "pre"
        super().__init__(context, parts, norms=2 if separate else 1)
        self.separate = separate

    def forward(
        self, x_BTD: Stream, position: Position, layer_inputs: LayerInputs, trace: bool
    ) -> tuple[Stream, AttentionOutput]:
        """The stream after both branches."""
        queries, layer_inputs = layer_inputs.query_positions, self.before_mlp(layer_inputs)
        read_BTD = self.branch_input(x_BTD, 0)
        output: AttentionOutput = self.attention(read_BTD, position, layer_inputs, trace)
        update_BTD = output.output_BTD
        if layer_inputs.query_positions is not None:
            x_BTD, read_BTD, update_BTD = (
                select_positions(tensor_BTD, layer_inputs.query_positions)
                for tensor_BTD in (x_BTD, read_BTD, update_BTD)
            )
        if self.mlp is not None:
            update_BTD = update_BTD + self.mlp(self.branch_input(x_BTD, 1) if self.separate else read_BTD)
        x_BTD = self.branch_output(x_BTD, update_BTD, 0)
        return x_BTD if queries is None or layer_inputs.query_positions is not None else select_positions(
            x_BTD, queries
        ), output
