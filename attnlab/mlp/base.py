"""The base class of all MLPs. An MLP maps each token's vector to an update of the residual stream, and mixes no tokens.

Letters  B batch, T tokens, D width, M hidden channels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from attnlab.registry import Registry
from attnlab.tensors import Canon, LayerContext, Role


class Mlp(nn.Module, ABC):
    """An MLP of one layer.

    The maps of a subclass are drawn by the context. ``context.hidden`` is M, the hidden channels that an MLP of two
    maps has by ``mlp_ratio``; an MLP with another number of maps should choose its own so that it has as many weights.

    Args:
        context: The layer that the MLP is built for.
    """

    parameter_roles: ClassVar[Mapping[str, Role]] = {"up_proj": "mlp_up", "down_proj": "mlp_down"}
    """The role of each parameter or submodule by name; one that is not named counts as ``mlp_up``."""

    up_proj: nn.Linear
    """The map from D to the hidden channels, in an MLP that has one of this name."""
    down_proj: nn.Linear
    """The map from the hidden channels to D, likewise."""

    has_canon: ClassVar[bool] = False
    """Whether ``forward`` applies ``canon_d`` to the hidden channels before their activation."""

    def __init__(self, context: LayerContext) -> None:
        super().__init__()
        self.canon_c = context.canon("C", context.width)
        self.mixes_tokens = bool({"C", "D"} & set(context.modifiers.canon))
        """Whether Canon layers read earlier tokens: a block then selects the supervised ones after the MLP."""
        if isinstance(self.canon_c, Canon):
            self.register_forward_pre_hook(_convolved)

    @abstractmethod
    def forward(self, x_BTD: Tensor) -> Tensor:
        """Compute the update of the residual stream.

        Args:
            x_BTD: The input of the branch; N x D at supervised positions alone.

        Returns:
            The update, of the same shape.
        """


def _convolved(mlp: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inputs of an MLP after canon=C."""
    assert isinstance(mlp, Mlp)
    return mlp.canon_c(inputs[0]), *inputs[1:]


def output_map(context: LayerContext, hidden: int) -> nn.Linear:
    """Draw the last map of an MLP; its weights are smaller in deeper models, where more branches add up.

    Args:
        context: The layer.
        hidden: M.

    Returns:
        The map from ... x M to ... x D.
    """
    return context.linear(hidden, context.width, gain=1 / math.sqrt(2 * context.layers))


def apply_map(x_BTD: Tensor, map: nn.Linear) -> Tensor:
    """Apply a linear map without a bias, in a way whose gradient is computed faster.

    Args:
        x_BTD: The input.
        map: The map from D to M.

    Returns:
        The hidden channels, B x T x M.
    """
    return x_BTD @ map.weight.mT.contiguous()  # transposed in memory for the product


MLPS: Registry[Mlp] = Registry("MLP", "attnlab.mlp")
register = MLPS.register
