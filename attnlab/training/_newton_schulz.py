"""Newton-Schulz iteration: approximately the nearest matrix with equal singular values, for Muon's momentum matrices.

    X <- M / |M|                                then five times
    A <- X X^T,   X <- a X + (b A + c A A) X     a, b, c = 3.4445, -4.7750, 2.0315

The polynomial moves every singular value to between about 0.7 and 1.2. Singular vectors do not change.

Source  K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (Newton-Schulz iteration).
Differs  float32 throughout, and many matrices of one shape at once; torch's own works one by one in bfloat16.

Letters  N matrices, I rows, O columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

ITERATIONS = 5
A, B, C = 3.4445, -4.7750, 2.0315


def newton_schulz(matrices_NIO: Tensor) -> Tensor:
    """Move the singular values of every matrix near 1; a matrix of zeros stays zero. Further axes may stand first."""
    tall = matrices_NIO.shape[-2] > matrices_NIO.shape[-1]
    result = (matrices_NIO.mT if tall else matrices_NIO).flatten(0, -3)
    largest = result.abs().amax(dim=(-2, -1), keepdim=True)  # the squares of a vanishing gradient would underflow
    result = result / largest.where(largest > 0, 1.0)
    result = result / result.norm(dim=(-2, -1), keepdim=True).clamp_min(1.0)
    for _ in range(ITERATIONS):
        square_NII = torch.bmm(result, result.mT)
        factor_NII = torch.baddbmm(square_NII, square_NII, square_NII, beta=B, alpha=C)
        result = torch.baddbmm(result, factor_NII, result, beta=A)
    result = result.unflatten(0, matrices_NIO.shape[:-2])
    return result.mT if tall else result
