"""Singular values, also of the matrices of a run that has diverged."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def singular_values(matrices: Tensor) -> Tensor:
    """Compute the singular values of each matrix in float64; those of a matrix that is not finite are nan.

    Args:
        matrices: ... x R x C.

    Returns:
        The values in falling order, ... x min(R, C).
    """
    matrices = matrices.double()
    finite = matrices.isfinite().all(-1).all(-1)[..., None]
    values = torch.linalg.svdvals(matrices.where(finite[..., None], 0.0))
    return values.where(finite, math.nan)
