"""Scores of queries and keys whose products decay channel by channel, without a T x T x C tensor and without overflow.

    s_ij = sum_c q_ic k_jc exp(g_(j+1),c + ... + g_ic),   g <= 0

For tokens on two sides of a cut, the sum of g splits at the cut into two sums that are at most 0, one for each side:
their exponentials are factors of queries and keys, and the scores are one matrix product. Within a chunk every pair of
tokens has such a cut, because blocks of one token are merged into blocks of 2, 4, ... tokens; before the chunk the cut
is its start. A sum of g is taken over the tokens it spans, never as a difference of two running sums.

Letters  T queries, S keys, C channels per head, N blocks of b tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.ops.scan import remaining_decay

CHUNK = 64
"""Queries that share the cut before them, at most."""


class _Blocks(NamedTuple):
    """Blocks of b tokens."""

    scores_Nbb: Tensor
    since_NbC: Tensor
    """The sum of g from the first token of the block to the token itself."""
    until_NbC: Tensor
    """The sum of g from after the token to the last token of the block."""


def decayed_scores(queries_TC: Tensor, keys_SC: Tensor, decays_SC: Tensor, start: int = 0) -> Tensor:
    """Scores with a decay per channel.

    Args:
        queries_TC: Queries of some rows, or of all, ... x T x C.
        keys_SC: Keys of all tokens, ... x S x C.
        decays_SC: g, ... x S x C, at most 0.
        start: Index of the first query among the keys.

    Returns:
        ... x T x S; zero for keys after their query.
    """
    queries, keys = queries_TC.shape[-2], keys_SC.shape[-2]
    until_SC = remaining_decay(decays_SC[..., :start, :]) if start else decays_SC[..., :0, :]
    rows: list[Tensor] = []
    for first in range(start, start + queries, CHUNK):
        last = min(first + CHUNK, start + queries)
        own = (
            queries_TC[..., first - start : last - start, :],
            *(one[..., first:last, :] for one in (keys_SC, decays_SC)),
        )
        scores_TT, since_TC, chunk_until_TC = _within(*own)
        if first:
            earlier_SC = keys_SC[..., :first, :] * until_SC.exp()
            scores_TT = torch.cat([(own[0] * since_TC.exp()) @ earlier_SC.mT, scores_TT], dim=-1)
        rows.append(functional.pad(scores_TT, (0, keys - last)))
        until_SC = torch.cat([until_SC + since_TC[..., -1:, :], chunk_until_TC], dim=-2)
    return torch.cat(rows, dim=-2) if len(rows) > 1 else rows[0]


def _within(queries_TC: Tensor, keys_TC: Tensor, decays_TC: Tensor) -> _Blocks:
    """The scores of one chunk, and its sums of g."""
    tokens = queries_TC.shape[-2]
    # At least two, so that g has a gradient, of zero, where there is one token.
    missing = (0, 0, 0, max(2, 2 ** (tokens - 1).bit_length()) - tokens)
    queries, keys, decays = (functional.pad(one, missing) for one in (queries_TC, keys_TC, decays_TC))
    diagonal_N11 = (queries * keys).sum(-1)[..., None, None]
    since_N1C = decays.unsqueeze(-2)
    blocks = _Blocks(diagonal_N11, since_N1C, torch.zeros_like(since_N1C))
    while blocks.scores_Nbb.shape[-3] > 1:
        blocks = _merged(blocks, queries, keys)
    scores, since, until = (one.squeeze(-3) for one in blocks)
    return _Blocks(scores[..., :tokens, :tokens], since[..., :tokens, :], until[..., :tokens, :])


def _merged(blocks: _Blocks, queries_TC: Tensor, keys_TC: Tensor) -> _Blocks:
    """Two blocks become one: queries of the second meet keys of the first at the cut between them."""
    size = blocks.since_NbC.shape[-2]
    first, second = (_Blocks(*(one[..., side::2, :, :] for one in blocks)) for side in (0, 1))
    queries_NbC = queries_TC.unflatten(-2, (-1, 2, size))[..., 1, :, :]
    keys_NbC = keys_TC.unflatten(-2, (-1, 2, size))[..., 0, :, :]
    across_Nbb = (queries_NbC * second.since_NbC.exp()) @ (keys_NbC * first.until_NbC.exp()).mT
    upper = functional.pad(first.scores_Nbb, (0, size))
    lower = torch.cat([across_Nbb, second.scores_Nbb], dim=-1)
    since = torch.cat([first.since_NbC, second.since_NbC + first.since_NbC[..., -1:, :]], dim=-2)
    until = torch.cat([first.until_NbC + second.since_NbC[..., -1:, :], second.until_NbC], dim=-2)
    return _Blocks(torch.cat([upper, lower], dim=-2), since, until)
