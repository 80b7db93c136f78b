"""The base class of all blocks: attention and MLP, each a branch with a norm and a residual connection.

Letters  B batch, T tokens, D width, N query positions of the whole batch, P of each row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from attnlab.attention import Attention
from attnlab.choices import NormPlace
from attnlab.mlp import Mlp
from attnlab.norm import Norm
from attnlab.position import Position
from attnlab.registry import Registry
from attnlab.residual_stream import ResidualStream, Stream
from attnlab.tensors import AttentionOutput, LayerContext, LayerInputs, Role


@dataclass(frozen=True)
class BlockParts:
    """What a block is put together from."""

    attention: Attention
    mlp: Mlp | None
    """None in a layer without an MLP."""
    make_norm: Callable[[], Norm]
    """Builds one more norm."""
    norm: NormPlace
    """Where the norms stand."""
    residual_stream: ResidualStream
    residual: bool
    """Whether each branch has a residual connection."""


class Block(nn.Module, ABC):
    """Attention and MLP of one layer; a subclass says what reads what.

    Args:
        context: The layer that the block is built for.
        parts: Attention, MLP, norms and residual stream.
        norms: How many norms the block has, of those that it would use with norms anywhere.
    """

    parameter_roles: ClassVar[Mapping[str, Role]] = {
        "norms": "norm",
        "attention": "extra",
        "mlp": "mlp_up",
        "residual_stream": "extra",
    }

    def __init__(self, context: LayerContext, parts: BlockParts, norms: int) -> None:
        super().__init__()
        self.norm, self.residual = parts.norm, parts.residual
        self.attention = parts.attention
        self.norms = nn.ModuleList(parts.make_norm() for _ in range(norms if parts.norm != "none" else 0))
        self.mlp = parts.mlp
        self.residual_stream = parts.residual_stream
        self.residual_stream.limit(norms)

    def before_mlp(self, layer_inputs: LayerInputs) -> LayerInputs:
        """Tell which positions may be selected before the MLP.

        Args:
            layer_inputs: The inputs of the layer.

        Returns:
            The same; without the query positions where the MLP reads other tokens.
        """
        mixes = self.mlp is not None and self.mlp.mixes_tokens
        return layer_inputs._replace(query_positions=None) if mixes else layer_inputs

    @abstractmethod
    def forward(
        self, x_BTD: Stream, position: Position, layer_inputs: LayerInputs, trace: bool
    ) -> tuple[Stream, AttentionOutput]:
        """Apply attention and MLP.

        Args:
            x_BTD: The residual stream.
            position: The position of the layer.
            layer_inputs: The first layer's queries, keys and values, and the query positions.
            trace: Whether the attention returns scores and effective matrix.

        Returns:
            The residual stream after the block, N x D where there are query positions; the attention's output.
        """

    def branch_input(self, x_BTD: Stream, branch: int) -> Tensor:
        """Compute the input of a branch.

        Args:
            x_BTD: The residual stream.
            branch: 0 for the attention, 1 for the MLP.

        Returns:
            What the branch reads of the stream, normalized in a pre-norm block, B x T x D.
        """
        read_BTD = self.residual_stream.read(x_BTD, branch)
        return self.norms[branch](read_BTD) if self.norm == "pre" else read_BTD

    def branch_output(self, x_BTD: Stream, update_BTD: Tensor, branch: int) -> Stream:
        """Compute the residual stream after a branch.

        Args:
            x_BTD: The residual stream before the branch.
            update_BTD: The output of the branch.
            branch: 0 for the attention, 1 for the MLP.

        Returns:
            Their sum, or the update alone without residual connections, normalized in a post-norm block, B x T x D.
        """
        first_BTD: Tensor = x_BTD[0] if isinstance(x_BTD, tuple) else x_BTD
        update_BTD = update_BTD.to(first_BTD.dtype)  # in a step in bf16 the stream stays float32
        total = self.residual_stream.write(x_BTD, update_BTD, branch) if self.residual else update_BTD
        return self.norms[branch](total) if self.norm == "post" else total


def select_positions(tensor_BTD: Stream, positions: Tensor | None) -> Any:
    """Select tokens of a batch.

    Args:
        tensor_BTD: One vector per token, of all tokens or already of the selected ones; or a tuple of such tensors.
        positions: Indices in the flattened batch, N or B x P; None for all.

    Returns:
        The selected vectors, N x D; or a tuple of such tensors.
    """
    if isinstance(tensor_BTD, tuple):
        return tuple(select_positions(one_BTD, positions) for one_BTD in tensor_BTD)
    tensor_ND = tensor_BTD.flatten(0, -2)
    if positions is None or tensor_BTD.shape[:-1] == positions.shape:
        return tensor_ND
    return tensor_ND.index_select(0, positions.flatten())


BLOCKS: Registry[Block] = Registry("block", "attnlab.block")
register = BLOCKS.register
