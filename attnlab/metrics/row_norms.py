"""Jacobian row norms: how much each output of a module moves with each of its inputs.

    N_ts = ||d y_t / d x_s||_F          the D x D block of the Jacobian, of one sequence
    p_ts = N_ts / sum_s N_ts            a row that reads nothing stays zeros

Rows of p can be read as weights, but they are no effective matrix: N has no sign, depends on the input at which it is
taken, and measures the whole module, its projections and its gates included. The block is projected on K directions
u_k, which are orthonormal:

    N_ts^2 = (D / K) sum_k ||u_k^T d y_t / d x_s||^2      exact where K = D, and right in the mean below that

Source   the identity of a trace under random projections: Hutchinson, "A stochastic estimator of the trace of the
         influence matrix", 1990.
Differs  the directions are orthonormal, which removes the error where K = D.

Letters  B batch, T tokens as outputs, S tokens as inputs, D width, K directions, R copies of the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attnlab.metrics._rows import safe_divide

DIRECTIONS = 8
"""Random directions for each output, at most; a module of no larger width is measured exactly."""
MAX_ELEMENTS = 2**22
"""Elements of the input of one pass, about; more outputs are measured in one pass the shorter the sequences are."""


def random_directions(width: int, directions: int, seed: int = 0) -> Tensor:
    """Draw orthonormal directions, uniformly.

    Args:
        width: D.
        directions: K, at most D.
        seed: The seed.

    Returns:
        float64, K x D, the rows orthonormal.
    """
    normal_DK = torch.randn(width, directions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    orthonormal_DK, upper_KK = torch.linalg.qr(normal_DK)
    # The sign of the diagonal makes the distribution uniform; norms do not depend on it.
    return (orthonormal_DK * upper_KK.diagonal().sign()).mT


def jacobian_row_norms(
    function: Callable[[Tensor], Tensor],
    x_BTD: Tensor,
    *,
    directions: int = DIRECTIONS,
    seed: int = 0,
    rows_are_independent: bool = True,
) -> Tensor:
    """Measure the Frobenius norms of the blocks of a Jacobian.

    Args:
        function: From B x T x D to the same shape; no output depends on another sequence.
        x_BTD: The input.
        directions: K, the random directions for each output; D or more is exact.
        seed: The seed of the directions.
        rows_are_independent: Whether the function takes batches of any size, so that several outputs are measured in
            one pass; otherwise it is called once, on the input as it is.

    Returns:
        Norms in float64, B x T x S; not normalized.

    Raises:
        ValueError: The output does not depend on the input by operations that have gradients.
    """
    batch, tokens, width = x_BTD.shape
    count = min(directions, width)
    directions_KD = random_directions(width, count, seed).to(x_BTD.device)
    probes = [(token, index) for token in range(tokens) for index in range(count)]
    copies = max(1, min(len(probes), MAX_ELEMENTS // x_BTD.numel())) if rows_are_independent else 1
    squares_BTS = x_BTD.new_zeros(batch, tokens, tokens, dtype=torch.float64)
    # The recurrent kernels of cuDNN have no gradient in evaluation mode.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        inputs_RBTD = x_BTD.detach().expand(copies, *x_BTD.shape).clone().requires_grad_()
        output_RBTD = function(inputs_RBTD.flatten(0, 1)).unflatten(0, (copies, batch))
        if not output_RBTD.requires_grad:
            raise ValueError("its output has no gradient")
        for start in range(0, len(probes), copies):
            part = torch.tensor(probes[start : start + copies], device=x_BTD.device)
            tokens_R, directions_R = part.unbind(-1)
            cotangent_RBTD = torch.zeros_like(output_RBTD)
            cotangent_RBTD[torch.arange(len(part)), :, tokens_R] = (
                directions_KD[directions_R].to(output_RBTD.dtype)[:, None].expand(-1, batch, -1)
            )
            (gradient_RBTD,) = torch.autograd.grad(
                output_RBTD, inputs_RBTD, cotangent_RBTD, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            squares_RBS = gradient_RBTD[: len(part)].double().square().sum(-1)
            squares_BTS.index_add_(1, tokens_R, squares_RBS.transpose(0, 1))
    return (squares_BTS * (width / count)).sqrt()


def as_weights(norms_BTS: Tensor) -> Tensor:
    """Normalize each row to a sum of one.

    Args:
        norms_BTS: Norms, B x T x S.

    Returns:
        Rows that can be read as weights, with one head, B x 1 x T x S; a row of zeros stays zeros.
    """
    return safe_divide(norms_BTS, norms_BTS.sum(-1, keepdim=True))[:, None]
