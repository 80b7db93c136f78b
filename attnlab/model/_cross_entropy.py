"""The loss of a large vocabulary, part by part: logits are formed, turned into slopes in place, and let go.

    loss = mean_n (log sum_v exp z_nv - z_n,due),   z = x W^T
    dz   = (softmax(z) - onehot(due)) / N,  dx = dz W,  dW = dz^T x

The slopes are worked out on the way forth, so that never more than some rows of logits are held, and each is written
once. Torch's own cross entropy writes logits, their log-softmax and two slopes of them, all N x V.

Letters  N supervised positions, M of them at a time, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROOM = 2**22
"""Logits held at a time."""


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean nats at the answers that are due, from what the head reads and its weights."""

    @staticmethod
    def forward(ctx: Any, states_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
        """The loss; slopes are kept for the way back."""
        grad_ND, grad_VD = torch.empty_like(states_ND), torch.zeros_like(head_VD)
        nats = states_ND.new_zeros(())
        rows = max(1, ROOM // len(head_VD))
        for part_MD, targets_M, grad_MD in zip(
            *(one.split(rows) for one in (states_ND, targets_N, grad_ND)), strict=True
        ):
            logits_MV = part_MD @ head_VD.mT
            targets_M1 = targets_M[:, None]
            above_M = logits_MV.amax(1) - logits_MV.gather(1, targets_M1)[:, 0]
            shares_MV = torch.softmax(logits_MV, 1)
            # The largest share is exp(largest logit) over the sum: its logarithm is exact, that of a small one is not.
            nats += (above_M - shares_MV.amax(1).log()).sum()
            shares_MV.scatter_add_(1, targets_M1, torch.full_like(targets_M1, -1, dtype=shares_MV.dtype))
            torch.mm(shares_MV, head_VD, out=grad_MD)
            grad_VD.addmm_(shares_MV.mT, part_MD)
        ctx.save_for_backward(grad_ND.div_(len(targets_N)), grad_VD.div_(len(targets_N)))
        return nats / len(targets_N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """The slopes, times that of the loss."""
        grad_ND, grad_VD = ctx.saved_tensors
        return grad_ND * grad, grad_VD * grad, None


def chunked_cross_entropy(states_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Mean nats at the answers that are due; differentiable once.

    Args:
        states_ND: What the head reads.
        head_VD: Its weights.
        targets_N: The answers.
    """
    loss: Tensor = ChunkedCrossEntropy.apply(states_ND, head_VD, targets_N)  # type: ignore[no-untyped-call]
    return loss
