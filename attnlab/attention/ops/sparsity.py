"""Boolean patterns of sparse attention, and their receptive field over several layers.

    R_0 = I,   R_l = P_l R_{l-1}

After l layers the output of token i depends on token j where R_l[i, j] is true.
Every pattern is causal and contains the token itself. A row of it does not depend on the length of the sequence.

Source   Yun et al., "O(n) connections are expressive enough", arXiv:2006.04862, names the patterns; the definitions
         are those of Sparse Transformer (arXiv:1904.10509), Star-Transformer, BigBird and LogSparse, as w, the window,
         fits them all.
Differs  the paper's own sets, and its theorem, are bidirectional; the exact sets are not known to us. Under causality
         the star's relay, token 0, cannot gather: the star is a window with a sink. A random pattern is a function of
         seed, draw, query and key alone.

Letters  T queries, S keys, P the sets of a pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from attnlab.attention.ops.selection import top_k_mask

Pattern = Literal["strided", "fixed", "star", "window", "random", "logsparse"]
SETS: dict[str, int] = {"strided": 2, "fixed": 2, "star": 1, "window": 1, "random": 1, "logsparse": 1}
"""The number of sets that alternate in a pattern."""


def pattern(
    name: Pattern,
    rows_T1: Tensor,
    keys_S: Tensor,
    *,
    window: int,
    part: int = 0,
    random: int = 0,
    seed: int = 0,
    draw: int = 0,
) -> Tensor:
    """The keys that each query may attend to in one set of a pattern.

    Args:
        name: The pattern.
        rows_T1: Indices of the queries.
        keys_S: Indices of the keys.
        window: w; the stride of strided, the block of fixed, without meaning for random and logsparse.
        part: Index of the set, where the pattern has two.
        random: Number of past keys drawn at random for each query, in addition to the pattern.
        seed: Seed of the random keys.
        draw: Index of the draw with that seed.

    Returns:
        bool, T x S.
    """
    distance_TS = rows_T1 - keys_S
    near_TS = distance_TS < window
    match name:
        case "strided":
            allowed_TS = near_TS if part == 0 else distance_TS % window == 0
        case "fixed":
            allowed_TS = (keys_S // window == rows_T1 // window) if part == 0 else (keys_S % window == window - 1)
        case "star":
            allowed_TS = near_TS | (keys_S == 0)
        case "window":
            allowed_TS = near_TS
        case "random":
            allowed_TS = distance_TS == 0
        case "logsparse":
            allowed_TS = (distance_TS > 0) & ((distance_TS & (distance_TS - 1)) == 0)
    past_TS = distance_TS > 0
    if random:
        allowed_TS = allowed_TS | top_k_mask(pseudo_random(rows_T1, keys_S, 2 * seed + 1, draw), past_TS, random)
    return (allowed_TS & past_TS) | (distance_TS == 0)


def pseudo_random(rows_T1: Tensor, keys_S: Tensor, seed: int, draw: int) -> Tensor:
    """A pseudo-random number for each pair of query and key: the finalizer of SplitMix.

    Args:
        rows_T1: Indices of the queries, int64.
        keys_S: Indices of the keys, int64.
        seed: Seed.
        draw: Index of the draw with that seed.

    Returns:
        int64, T x S; a function of seed, draw, query and key alone.
    """
    mixed_TS = (rows_T1 * 0x9E3779B1 + keys_S * 0x85EBCA6B) + (seed * 0xC2B2AE35 + draw * 0x27D4EB2F)
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        mixed_TS = (mixed_TS ^ ((mixed_TS >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return mixed_TS ^ ((mixed_TS >> 31) & ((1 << 33) - 1))


def reachability(layers: Sequence[Tensor]) -> list[Tensor]:
    """The tokens on which each token's output depends after each layer.

    Args:
        layers: The pattern of each layer, bool, T x T.

    Returns:
        R_1 to R_L, bool, T x T.

    >>> previous = torch.eye(3).bool() | torch.eye(3).bool().roll(1, 0).tril()
    >>> [int(reached.sum()) for reached in reachability([previous, previous])]
    [5, 6]
    """
    reached_TT = torch.eye(layers[0].shape[-1], dtype=torch.bool)
    reached_by_layer = []
    for pattern_TT in layers:
        reached_TT = (pattern_TT.float() @ reached_TT.float()) > 0
        reached_by_layer.append(reached_TT)
    return reached_by_layer


def depth(sets: Sequence[Tensor]) -> int | None:
    """The number of layers after which every token depends on all before it, with patterns that alternate.

    Args:
        sets: The patterns that alternate, bool, T x T.

    Returns:
        The number of layers, or None if that never happens.
    """
    reached_TT = torch.eye(sets[0].shape[-1], dtype=torch.bool)
    complete, count, layer = reached_TT.shape[-1] * (reached_TT.shape[-1] + 1) // 2, -1, 0
    while int(reached_TT.sum()) != count:
        count = int(reached_TT.sum())
        for pattern_TT in sets:
            if int(reached_TT.sum()) == complete:
                return layer
            reached_TT, layer = (pattern_TT.float() @ reached_TT.float()) > 0, layer + 1
    return None
