"""The cross-entropy of a large vocabulary, computed in chunks of rows of logits.

    loss = mean_n (log sum_v exp z_nv - z_n,target),   z = x W^T
    dz   = (softmax(z) - onehot(target)) / N,  dx = dz W,  dW = dz^T x

The gradients are computed in the forward pass. Only one chunk of logits is in memory at a time, and each chunk is
written once: its gradient replaces it. PyTorch's own cross-entropy writes the logits, their log-softmax and two
gradients of them, all N x V.

Letters  N supervised positions, M of them in a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attnlab.attention.ops.precision import rounds_factors
from attnlab.differentiation import differentiable_once

CHUNK_LOGITS = 2**22
"""Logits of a chunk."""


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy, in nats, from the hidden states and the weights of the head."""

    @staticmethod
    def forward(ctx: Any, states_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
        """The loss; its gradients are saved for the backward pass."""
        grad_ND, grad_VD = torch.empty_like(states_ND), torch.zeros_like(head_VD)
        nats, exact = states_ND.new_zeros(()), states_ND.dtype
        factor = torch.bfloat16 if rounds_factors(states_ND) else exact
        rounded_ND, rounded_VD = states_ND.to(factor), head_VD.to(factor)
        rows = max(1, CHUNK_LOGITS // len(head_VD))
        for part_MD, targets_M, grad_MD in zip(
            *(tensor.split(rows) for tensor in (rounded_ND, targets_N, grad_ND)), strict=True
        ):
            logits_MV = (part_MD @ rounded_VD.mT).to(exact)
            targets_M1 = targets_M[:, None]
            margin_M = logits_MV.amax(1) - logits_MV.gather(1, targets_M1)[:, 0]
            probabilities_MV = torch.softmax(logits_MV, 1)
            # The largest probability is exp(largest logit) over the sum. Its logarithm is exact; a small one's is not.
            nats += (margin_M - probabilities_MV.amax(1).log()).sum()
            probabilities_MV.scatter_add_(1, targets_M1, torch.full_like(targets_M1, -1, dtype=probabilities_MV.dtype))
            if factor == exact:
                torch.mm(probabilities_MV, head_VD, out=grad_MD)
                grad_VD.addmm_(probabilities_MV.mT, part_MD)
            else:
                rounded_MV = probabilities_MV.to(factor)
                grad_MD.copy_(rounded_MV @ rounded_VD)
                grad_VD += rounded_MV.mT @ part_MD
        ctx.save_for_backward(grad_ND.div_(len(targets_N)), grad_VD.div_(len(targets_N)))
        return nats / len(targets_N)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """The saved gradients, times the gradient of the loss."""
        grad_ND, grad_VD = ctx.saved_tensors
        return grad_ND * grad, grad_VD * grad, None


def chunked_cross_entropy(states_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Mean cross-entropy of the head's logits, in nats; differentiable once.

    Args:
        states_ND: Hidden states, the input of the head.
        head_VD: Weights of the head.
        targets_N: Target tokens, int64.

    Returns:
        The loss, a scalar.
    """
    loss: Tensor = ChunkedCrossEntropy.apply(states_ND, head_VD, targets_N)  # type: ignore[no-untyped-call]
    return loss
