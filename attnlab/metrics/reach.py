"""How many layers until every token can have heard of all before it, by the effective matrices.

    P_l = [A_l != 0 in any head]   or the diagonal, where a skip carries each token on
    R_0 = I,   R_l = P_l R_{l-1}

It says what can be heard, not what is: of a dense attention, everything after one layer.

Source   :mod:`attnlab.attention.ops.sparsity`, whose table this is, of the matrices of one model at work; so patterns
         that follow the data, as a choice of the best keys does, are seen as they were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnlab.attention.ops.sparsity import reachability


@dataclass(frozen=True)
class Reach:
    """What can be heard after a layer."""

    layer: int
    """From 1."""
    share: float
    """Pairs of a token and one not after it that are connected, of all; the mean over sequences."""
    complete: bool
    """Whether, in every sequence, every token can have heard of all before it."""
    keys: float
    """Keys per row in this layer, all heads together; the mean over rows and sequences."""


def reached(weights: Sequence[Tensor], *, skip: bool = True) -> tuple[Reach, ...]:
    """What can be heard after each layer.

    Args:
        weights: The effective matrix of each layer, B x H x T x T.
        skip: Whether a skip carries each token on beside the attention.
    """
    length = weights[0].shape[-1]
    own_TT = torch.eye(length, dtype=torch.bool, device=weights[0].device)
    seen = [(layer_BHTT != 0).flatten(1, -3).any(1) for layer_BHTT in weights]
    tables = [
        reachability([(layer_BTT[row] | own_TT if skip else layer_BTT[row]).cpu() for layer_BTT in seen])
        for row in range(len(seen[0]))
    ]
    pairs = length * (length + 1) // 2
    answers = []
    for index, layer_BTT in enumerate(seen):
        counts = [int(table[index].sum()) for table in tables]
        keys = float(layer_BTT.double().sum(-1).mean())
        answers.append(Reach(index + 1, sum(counts) / (pairs * len(counts)), min(counts) == pairs, keys))
    return tuple(answers)


def layers_needed(result: Sequence[Reach]) -> int | None:
    """The first layer after which every token can have heard of all before it; None if none is."""
    return next((one.layer for one in result if one.complete), None)
