"""Boolean patterns of sparse attention, and how far they reach when layers follow one another.

    R_0 = I,   R_l = P_l R_{l-1}

After l layers token i has heard of token j where R_l[i, j] is true.
Every pattern is causal, holds the token itself, and says of a row the same whatever the length of the sequence.

Source   Yun et al., "O(n) connections are expressive enough", arXiv:2006.04862, names the patterns; the definitions
         are those of Sparse Transformer (arXiv:1904.10509), Star-Transformer, BigBird and LogSparse, as w, the window,
         fits them all.
Differs  the paper's own sets, and its theorem, are bidirectional; the exact sets are not known to us. Under causality
         the star's relay, token 0, cannot gather: the star is a window with a sink. What is drawn at random is a
         function of seed, draw, query and key alone.

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
"""How many sets take turns in a pattern."""


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
    """Which keys each query sees in one set of a pattern: bool, T x S.

    Args:
        name: The pattern.
        rows_T1: Indices of the queries.
        keys_S: Indices of the keys.
        window: w; the stride of strided, the block of fixed, without meaning for random and logsparse.
        part: Which set, where the pattern has two.
        random: Past keys drawn at random for each query, beside the pattern.
        seed: Of what is drawn.
        draw: Which of the draws of that seed.
    """
    far_TS = rows_T1 - keys_S
    near_TS = far_TS < window
    match name:
        case "strided":
            seen_TS = near_TS if part == 0 else far_TS % window == 0
        case "fixed":
            seen_TS = (keys_S // window == rows_T1 // window) if part == 0 else (keys_S % window == window - 1)
        case "star":
            seen_TS = near_TS | (keys_S == 0)
        case "window":
            seen_TS = near_TS
        case "random":
            seen_TS = far_TS == 0
        case "logsparse":
            seen_TS = (far_TS > 0) & ((far_TS & (far_TS - 1)) == 0)
    past_TS = far_TS > 0
    if random:
        seen_TS = seen_TS | top_k_mask(pseudo_random(rows_T1, keys_S, 2 * seed + 1, draw), past_TS, random)
    return (seen_TS & past_TS) | (far_TS == 0)


def pseudo_random(rows_T1: Tensor, keys_S: Tensor, seed: int, draw: int) -> Tensor:
    """A number for each cell that looks drawn at random: the finaliser of SplitMix over seed, draw, row and key."""
    mixed_TS = (rows_T1 * 0x9E3779B1 + keys_S * 0x85EBCA6B) + (seed * 0xC2B2AE35 + draw * 0x27D4EB2F)
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        mixed_TS = (mixed_TS ^ ((mixed_TS >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return mixed_TS ^ ((mixed_TS >> 31) & ((1 << 33) - 1))


def reachability(layers: Sequence[Tensor]) -> list[Tensor]:
    """Which tokens each token has heard of after each layer, given the pattern of each: bool, T x T.

    >>> previous = torch.eye(3).bool() | torch.eye(3).bool().roll(1, 0).tril()
    >>> [int(reached.sum()) for reached in reachability([previous, previous])]
    [5, 6]
    """
    reached_TT = torch.eye(layers[0].shape[-1], dtype=torch.bool)
    table = []
    for seen_TT in layers:
        reached_TT = (seen_TT.float() @ reached_TT.float()) > 0
        table.append(reached_TT)
    return table


def depth(turns: Sequence[Tensor]) -> int | None:
    """Layers until every token has heard of all before it, patterns taking turns; None if that never happens."""
    reached_TT = torch.eye(turns[0].shape[-1], dtype=torch.bool)
    whole, count, layer = reached_TT.shape[-1] * (reached_TT.shape[-1] + 1) // 2, -1, 0
    while int(reached_TT.sum()) != count:
        count = int(reached_TT.sum())
        for seen_TT in turns:
            if int(reached_TT.sum()) == whole:
                return layer
            reached_TT, layer = (seen_TT.float() @ reached_TT.float()) > 0, layer + 1
    return None
