"""The loss of a model's outputs: cross-entropy where targets are ids, the squared error where they are numbers.

Letters  N supervised positions, V vocabulary, which is 1 where targets are numbers.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

IGNORED_TARGET = -100
"""The target of an entry that adds no loss."""


def mean_loss(outputs_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Average the loss over the supervised positions.

    Args:
        outputs_NV: Logits, or one number per position.
        targets_N: Targets, int64 or floating-point; none is ignored.

    Returns:
        Nats, or the mean squared error; a scalar.
    """
    if targets_N.is_floating_point():
        return functional.mse_loss(outputs_NV.squeeze(-1), targets_N.to(outputs_NV.dtype))
    return functional.cross_entropy(outputs_NV, targets_N)


def losses_of(outputs_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Compute the loss at each position.

    Args:
        outputs_NV: Logits, or one number per position; any axes before the last.
        targets_N: Targets of the same axes; -100 adds no loss.

    Returns:
        Nats, or squared errors, in the shape of the targets.
    """
    if targets_N.is_floating_point():
        squares_N = (outputs_NV.squeeze(-1) - targets_N.to(outputs_NV.dtype)).square()
        return squares_N.where(targets_N != IGNORED_TARGET, 0.0)
    outputs, targets = outputs_NV.flatten(0, -2), targets_N.flatten()
    losses = functional.cross_entropy(outputs, targets, ignore_index=IGNORED_TARGET, reduction="none")
    return losses.view_as(targets_N)


def answers_of(outputs_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Read the answers off the outputs.

    Args:
        outputs_NV: Logits, or one number per position; any axes before the last.
        targets_N: Targets, of which only the type is used.

    Returns:
        The most likely tokens, or the numbers.
    """
    return outputs_NV.squeeze(-1) if targets_N.is_floating_point() else outputs_NV.argmax(-1)
