"""The base class of all norms. A norm maps each token's vector to one of the same width, and mixes no tokens.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from attnlab.registry import Registry
from attnlab.tensors import LayerContext


class Norm(nn.Module, ABC):
    """A norm of the residual stream. Where it stands is the field ``norm`` of a model: before a branch or after a sum.

    Args:
        context: The sizes of the model.
    """

    def __init__(self, context: LayerContext) -> None:
        super().__init__()
        self.width = context.width

    @abstractmethod
    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalize each token.

        Args:
            x_BTD: One vector per token; N x D at supervised positions alone.

        Returns:
            A tensor of the same shape.
        """


NORMS: Registry[Norm] = Registry("norm", "attnlab.norm")
register = NORMS.register
