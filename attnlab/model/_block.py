"""A block of a transformer: attention and MLP, each a branch with a norm and a residual connection.

Letters  B batch, T tokens, D width, N query positions of the whole batch, P of each row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, TypeVar, final

from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention import ATTENTIONS, Attention
from attnlab.errors import AttnlabError
from attnlab.position import Position
from attnlab.registry import Entry
from attnlab.specs import ModelSpec, Part
from attnlab.tensors import AttentionOutput, LayerContext, LayerInputs, Role

T = TypeVar("T")


@final
class Block(nn.Module):
    """Attention, then an MLP, each a branch with a norm and a residual connection as the specification sets them."""

    parameter_roles: ClassVar[Mapping[str, Role]] = {"norms": "norm", "attention": "extra"}

    def __init__(self, spec: ModelSpec, context: LayerContext) -> None:
        super().__init__()
        self.norm, self.residual = spec.norm, spec.residual
        self.attention = build_attention(spec, context)
        branches = 2 if spec.mlp_ratio else 1
        self.norms = nn.ModuleList(nn.LayerNorm(spec.width) for _ in range(branches if spec.norm != "none" else 0))
        hidden = max(1, round(spec.mlp_ratio * spec.width))
        self.mlp = Mlp(context, hidden) if spec.mlp_ratio else None

    def forward(
        self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs, trace: bool
    ) -> tuple[Tensor, AttentionOutput]:
        """Apply attention and MLP.

        Args:
            x_BTD: The residual stream.
            position: The position of the model.
            layer_inputs: The first layer's queries, keys and values, and the query positions.
            trace: Whether the attention returns scores and effective matrix.

        Returns:
            The residual stream after the block, N x D where there are query positions; the attention's output.
        """
        output: AttentionOutput = self.attention(self.branch_input(x_BTD, 0), position, layer_inputs, trace)
        update_BTD = output.output_BTD
        if layer_inputs.query_positions is not None:
            x_BTD, update_BTD = (
                select_positions(tensor_BTD, layer_inputs.query_positions) for tensor_BTD in (x_BTD, update_BTD)
            )
        x_BTD = self.branch_output(x_BTD, update_BTD, 0)
        if self.mlp is not None:
            x_BTD = self.branch_output(x_BTD, self.mlp(self.branch_input(x_BTD, 1)), 1)
        return x_BTD, output

    def branch_input(self, x_BTD: Tensor, branch: int) -> Tensor:
        """Compute the input of a branch.

        Args:
            x_BTD: The residual stream.
            branch: 0 for the attention, 1 for the MLP.

        Returns:
            The stream, normalized in a pre-norm block, B x T x D.
        """
        return self.norms[branch](x_BTD) if self.norm == "pre" else x_BTD

    def branch_output(self, x_BTD: Tensor, update_BTD: Tensor, branch: int) -> Tensor:
        """Compute the residual stream after a branch.

        Args:
            x_BTD: The residual stream before the branch.
            update_BTD: The output of the branch.
            branch: 0 for the attention, 1 for the MLP.

        Returns:
            Their sum, or the update alone without residual connections, normalized in a post-norm block, B x T x D.
        """
        total = x_BTD + update_BTD if self.residual else update_BTD
        return self.norms[branch](total) if self.norm == "post" else total


@final
class Mlp(nn.Module):
    """Two linear maps with a GELU between them.

    Args:
        context: The layer that the MLP is built for.
        hidden: Hidden channels.
    """

    parameter_roles: ClassVar[Mapping[str, Role]] = {"up_proj": "mlp_up", "down_proj": "mlp_down"}

    def __init__(self, context: LayerContext, hidden: int) -> None:
        super().__init__()
        self.up_proj = context.linear(context.width, hidden)
        self.down_proj = context.linear(hidden, context.width, gain=1 / math.sqrt(2 * context.layers))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Compute the update of the residual stream.

        Args:
            x_BTD: The input of the branch.

        Returns:
            The update, B x T x D.
        """
        # The weights are transposed in memory for the product: its gradient is then computed faster.
        return self.down_proj(functional.gelu(x_BTD @ self.up_proj.weight.mT.contiguous()))


def select_positions(tensor_BTD: Tensor, positions: Tensor | None) -> Tensor:
    """Select tokens of a batch.

    Args:
        tensor_BTD: One vector per token, of all tokens or already of the selected ones.
        positions: Indices in the flattened batch, N or B x P; None for all.

    Returns:
        The selected vectors, N x D.
    """
    tensor_ND = tensor_BTD.flatten(0, -2)
    if positions is None or tensor_BTD.shape[:-1] == positions.shape:
        return tensor_ND
    return tensor_ND.index_select(0, positions.flatten())


def build_attention(spec: ModelSpec, context: LayerContext) -> Attention:
    """Build the attention of one layer; the layers cycle through the attentions of the specification.

    Args:
        spec: The model's specification.
        context: The layer.

    Returns:
        The attention.

    Raises:
        InvalidValueError: an option that the attention does not accept.
        UnknownNameError: an attention or option that does not exist.
    """
    part = spec.attention[context.layer % len(spec.attention)]
    return build_part(context, ATTENTIONS.entry(part.name), part, "model.attention")


def build_part(context: LayerContext, entry: Entry[T], part: Part, where: str) -> T:
    """Build a registered part with its options.

    Args:
        context: The layer that the part is built for.
        entry: The part's entry in its registry.
        part: Name and options.
        where: The field of the specification, for error messages.

    Returns:
        The part.

    Raises:
        InvalidValueError: an option that the part does not accept.
        UnknownNameError: an option that does not exist.
    """
    try:
        return entry.cls(context, **entry.complete(part.options))  # type: ignore[call-arg]  # parts take a context
    except AttnlabError as error:
        raise error.at(f"{where}: {part}") from None
