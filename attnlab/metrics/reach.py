"""The receptive field of each layer, by the effective matrices: from which tokens a token can get information.

    P_l = [A_l != 0 in any head]   or the diagonal, where a residual connection passes each token on
    R_0 = I,   R_l = P_l R_{l-1}

R is what can influence a token, not what does: for a dense attention it is every earlier token after one layer.

Source   :mod:`attnlab.attention.ops.sparsity`, with the same table, from the matrices of one model on data; so patterns
         that depend on the data, as a choice of the best keys does, are measured as they were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnlab.attention.ops.sparsity import reachability


@dataclass(frozen=True)
class Reach:
    """The receptive field after a layer."""

    layer: int
    """From 1."""
    share: float
    """Connected pairs of a token and one not after it, as a share of all such pairs; the mean over sequences."""
    complete: bool
    """Whether, in every sequence, every token can get information from all tokens before it."""
    keys: float
    """Keys per row in this layer, all heads together; the mean over rows and sequences."""


def measure_reach(weights: Sequence[Tensor], *, residual: bool = True) -> tuple[Reach, ...]:
    """Compute the receptive field after each layer.

    Args:
        weights: The effective matrix of each layer, B x H x T x T.
        residual: Whether a residual connection passes each token on beside the attention.

    Returns:
        One entry per layer.
    """
    length = weights[0].shape[-1]
    diagonal_TT = torch.eye(length, dtype=torch.bool, device=weights[0].device)
    attended = [(layer_BHTT != 0).flatten(1, -3).any(1) for layer_BHTT in weights]
    tables = [
        reachability([(layer_BTT[row] | diagonal_TT if residual else layer_BTT[row]).cpu() for layer_BTT in attended])
        for row in range(len(attended[0]))
    ]
    pairs = length * (length + 1) // 2
    reaches = []
    for index, layer_BTT in enumerate(attended):
        counts = [int(table[index].sum()) for table in tables]
        keys = float(layer_BTT.double().sum(-1).mean())
        reaches.append(Reach(index + 1, sum(counts) / (pairs * len(counts)), min(counts) == pairs, keys))
    return tuple(reaches)


def layers_needed(reaches: Sequence[Reach]) -> int | None:
    """Find the first layer after which every token can get information from all tokens before it.

    Args:
        reaches: One entry per layer, as :func:`measure_reach` returns them.

    Returns:
        The layer, from 1; None if no layer is enough.
    """
    return next((reach.layer for reach in reaches if reach.complete), None)
