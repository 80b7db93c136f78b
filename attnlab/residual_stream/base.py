"""The base class of all residual streams: how the branches of one block read from the stream and write to it.

Letters  B batch, T tokens, D width.

Most streams are one tensor, B x T x D. A stream may also be a tuple of such tensors, as many as it needs: ``open``
makes it of the embedding, ``close`` makes one tensor of it again, and blocks pass it on without looking inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from attnlab.registry import Registry
from attnlab.tensors import LayerContext

Stream = Any
"""B x T x D, or a tuple of such tensors; N x D at supervised positions alone."""


class ResidualStream(nn.Module, ABC):
    """The stream of one block. Its parameters, if it has any, have the role ``extra``.

    Args:
        context: The layer that it is built for.
    """

    is_single: ClassVar[bool] = True
    """Whether the stream is one tensor; a norm after each sum, as in post-norm blocks, needs one."""

    def __init__(self, context: LayerContext) -> None:
        super().__init__()

    def limit(self, branches: int) -> None:
        """Leave out what belongs to branches that the block has not; called once, by the block.

        Args:
            branches: 1 or 2.
        """

    def open(self, x_BTD: Tensor) -> Stream:
        """Make the stream before the first block; called of the first block's stream.

        Args:
            x_BTD: The embedded tokens.

        Returns:
            The stream; the embedded tokens themselves unless a subclass overrides it.
        """
        return x_BTD

    def close(self, x_BTD: Stream) -> Tensor:
        """Make one vector per token of the stream after the last block; called of the last block's stream.

        Args:
            x_BTD: The stream.

        Returns:
            The input of the last norm, B x T x D; the stream itself unless a subclass overrides it.
        """
        tensor: Tensor = x_BTD
        return tensor

    def shown(self, x_BTD: Stream) -> Tensor:
        """Make the one vector per token that diagnostics show as the stream before this block.

        Args:
            x_BTD: The stream.

        Returns:
            B x T x D; where a stream is several tensors, what the attention reads of it.
        """
        return x_BTD if self.is_single else self.read(x_BTD, 0)

    def read(self, x_BTD: Stream, branch: int) -> Tensor:
        """Compute what a branch reads, before the norm of a pre-norm block.

        Args:
            x_BTD: The stream.
            branch: 0 for the attention, 1 for the MLP.

        Returns:
            The input of the branch, B x T x D; the stream itself unless a subclass overrides it.
        """
        tensor: Tensor = x_BTD
        return tensor

    @abstractmethod
    def write(self, x_BTD: Stream, update_BTD: Tensor, branch: int) -> Stream:
        """Compute the stream after a branch, before the norm of a post-norm block.

        Args:
            x_BTD: The stream before the branch.
            update_BTD: The output of the branch.
            branch: 0 for the attention, 1 for the MLP.

        Returns:
            The stream after the branch: of the same shape, or a longer tuple.
        """


RESIDUAL_STREAMS: Registry[ResidualStream] = Registry("residual stream", "attnlab.residual_stream")
register = RESIDUAL_STREAMS.register
