"""The base class of all residual streams: how the branches of one block read from the stream and write to it.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from attnlab.registry import Registry
from attnlab.tensors import LayerContext


class ResidualStream(nn.Module, ABC):
    """The stream of one block. Its parameters, if it has any, have the role ``extra``.

    Args:
        context: The layer that it is built for.
    """

    def __init__(self, context: LayerContext) -> None:
        super().__init__()

    def read(self, x_BTD: Tensor, branch: int) -> Tensor:
        """Compute what a branch reads, before the norm of a pre-norm block.

        Args:
            x_BTD: The stream; N x D at supervised positions alone.
            branch: 0 for the attention, 1 for the MLP.

        Returns:
            The input of the branch; the stream itself unless a subclass overrides it.
        """
        return x_BTD

    @abstractmethod
    def write(self, x_BTD: Tensor, update_BTD: Tensor, branch: int) -> Tensor:
        """Compute the stream after a branch, before the norm of a post-norm block.

        Args:
            x_BTD: The stream before the branch.
            update_BTD: The output of the branch.
            branch: 0 for the attention, 1 for the MLP.

        Returns:
            The stream after the branch, of the same shape.
        """


RESIDUAL_STREAMS: Registry[ResidualStream] = Registry("residual stream", "attnlab.residual_stream")
register = RESIDUAL_STREAMS.register
