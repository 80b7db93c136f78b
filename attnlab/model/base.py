"""What training and evaluation need of a model, be it the transformer or a whole model of the user's own.

Letters  B batch, T tokens, V vocabulary, N supervised positions of the whole batch, P of each row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor, nn

from attnlab.position import Position
from attnlab.specs import ModelSpec
from attnlab.tensors import ActivationTrace, ParameterRole


class ModelOutput(NamedTuple):
    """The output of a model for a batch."""

    logits_NV: Tensor
    auxiliary: Tensor
    """A scalar added to the loss; zero for most attentions."""
    trace: tuple[ActivationTrace, ...] = ()
    """One trace, if it was requested."""


class Model(nn.Module, ABC):
    """A causal model from tokens to logits.

    Args:
        spec: What it is built from.
    """

    position: Position

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec

    def __call__(self, inputs_BT: Any, *positions: Any, **more: Any) -> Any:
        """Compute logits, as any module from tokens to logits does.

        Args:
            inputs_BT: Token ids, int64.
            *positions: With these, or with keywords, it is :meth:`forward`.
            **more: As for :meth:`forward`.

        Returns:
            The logits of all positions, B x T x V, for tokens alone; else what :meth:`forward` returns.
        """
        if positions or more:
            return super().__call__(inputs_BT, *positions, **more)
        return super().__call__(inputs_BT, None).logits_NV.unflatten(0, inputs_BT.shape)

    @abstractmethod
    def forward(self, inputs_BT: Tensor, positions: Tensor | None, trace: bool = False) -> ModelOutput:
        """Compute the logits at the supervised positions.

        Args:
            inputs_BT: Token ids, int64; of a task with numbers B x T x F, float32.
            positions: Indices of the supervised positions in the flattened batch, ``row * T + column``, int64: N, or
                B x P where each row has equally many, which may be faster; None for all positions.
            trace: Whether to return the residual stream, scores and weights of every layer.

        Returns:
            Logits in the order of the positions, the auxiliary loss and the trace.
        """

    @abstractmethod
    def losses(self, inputs_BT: Tensor, positions: Tensor | None, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs_BT: Token ids, int64; of a task with numbers B x T x F, float32.
            positions: As in ``forward``.
            targets_N: The target of each supervised position, int64; or a number, float32.

        Returns:
            Mean cross-entropy in nats, or the mean squared error of numbers, and the auxiliary loss, two scalars.
        """

    @abstractmethod
    def parameter_roles(self) -> dict[str, ParameterRole]:
        """Layer and role of each parameter by name."""

    @property
    def parameter_count(self) -> int:
        """The number of learned numbers; shared ones count once, fixed ones do not count."""
        return sum(weight.numel() for weight in self.parameters() if weight.requires_grad)
