"""Products of reflections, one for each token, between a query and the keys before it: chunk by chunk.

    s_ij = q_i^T P_i P_{i-1} ... P_{j+1} k_j,   P_t = I - b_t w_t w_t^T

With U = Diag(b) W and M = I + stril(U W^T) for the tokens of one chunk, and H = P_last ... P_first,

    H   = I - W^T M^-1 U                            a whole chunk
    S   = tril(Q K^T) - tril(Q W^T) M^-1 stril(U K^T)     queries and keys in the chunk
    Q'  = Q - tril(Q W^T) M^-1 U                    queries, reflected back to the start of the chunk
    K'  = K - (M^-1 stril(U K^T))^T W               keys, reflected up to the end of the chunk

Across chunks a score is ``q'^T H ... H k'``. The products of the H up to one chunk are C x C numbers for each earlier
chunk, so the keys of all earlier tokens, reflected up to that chunk, are T x C numbers: scores of a block of queries
need no triangular solve over more tokens than the block has.

Source   Yang et al., "PaTH attention", arXiv:2505.16381 (the products as a triangular solve, and the blockwise form).
Theirs   beta -> our b.

Letters  T queries, S keys, C channels per head, N chunks of L tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 64
"""Tokens of a chunk, L."""


def scores_in_block(queries_TC: Tensor, keys_SC: Tensor, axes_SC: Tensor, strengths_S1: Tensor, start: int) -> Tensor:
    """Scores of the keys of one block.

    Args:
        queries_TC: Queries, the last ones of the block or all, ... x T x C.
        keys_SC: Keys of the block, ... x S x C.
        axes_SC: w, of unit length, ... x S x C.
        strengths_S1: b, ... x S x 1.
        start: Index of the first query in the block.

    Returns:
        ... x T x S; zero for keys after their query.
    """
    scaled_SC = strengths_S1 * axes_SC
    removed_SS = _solve(scaled_SC @ axes_SC.mT, (scaled_SC @ keys_SC.mT).tril(-1))
    return (queries_TC @ keys_SC.mT).tril(start) - (queries_TC @ axes_SC.mT).tril(start) @ removed_SS


def queries_at_start(queries_TC: Tensor, axes_SC: Tensor, strengths_S1: Tensor, start: int) -> Tensor:
    """Reflect queries back to the start of their block.

    Args:
        queries_TC: Queries, the last ones of the block or all, ... x T x C.
        axes_SC: w, of unit length, ... x S x C.
        strengths_S1: b, ... x S x 1.
        start: Index of the first query in the block.

    Returns:
        Q', ... x T x C.
    """
    scaled_SC = strengths_S1 * axes_SC
    return queries_TC - (queries_TC @ axes_SC.mT).tril(start) @ _solve(scaled_SC @ axes_SC.mT, scaled_SC)


def keys_at_chunk_ends(keys_SC: Tensor, axes_SC: Tensor, strengths_S1: Tensor) -> tuple[Tensor, Tensor]:
    """Reflect keys up to the end of their chunk, and solve for the reflections of each chunk.

    Args:
        keys_SC: Keys of all tokens, ... x S x C.
        axes_SC: w, of unit length, ... x S x C.
        strengths_S1: b, ... x S x 1.

    Returns:
        K' and ``M^-1 U``, each ... x S x C.
    """
    tokens, channels = keys_SC.shape[-2:]
    keys, axes, scaled = (_chunks(tensor) for tensor in (keys_SC, axes_SC, strengths_S1 * axes_SC))
    solved = _solve(scaled @ axes.mT, torch.cat([scaled, (scaled @ keys.mT).tril(-1)], dim=-1))
    reads, removed = solved.split([channels, CHUNK], dim=-1)
    ends = keys - removed.mT @ axes
    return ends.flatten(-3, -2)[..., :tokens, :], reads.flatten(-3, -2)[..., :tokens, :]


def keys_at_end(ends_SC: Tensor, reads_SC: Tensor, axes_SC: Tensor) -> Tensor:
    """Reflect keys from the end of their chunk up to the end of the last chunk.

    Args:
        ends_SC: K', ... x S x C; S is a multiple of the chunk.
        reads_SC: ``M^-1 U``, ... x S x C.
        axes_SC: w, of unit length, ... x S x C.

    Returns:
        ... x S x C.
    """
    ends, reads, axes = (tensor.unflatten(-2, (-1, CHUNK)) for tensor in (ends_SC, reads_SC, axes_SC))
    identity_CC = torch.eye(axes.shape[-1], dtype=axes.dtype, device=axes.device)
    later_CC = identity_CC.expand(*axes.shape[:-3], -1, -1)
    products = [later_CC]
    for chunk_CC in reversed((identity_CC - axes[..., 1:, :, :].mT @ reads[..., 1:, :, :]).unbind(-3)):
        later_CC = later_CC @ chunk_CC
        products.append(later_CC)
    return (ends @ torch.stack(products[::-1], dim=-3).mT).flatten(-3, -2)


def _solve(overlaps: Tensor, right: Tensor) -> Tensor:
    """``M^-1 right``; only the entries of the overlaps below their diagonal are used."""
    return torch.linalg.solve_triangular(overlaps, right, upper=False, unitriangular=True)


def _chunks(tensor_SC: Tensor) -> Tensor:
    """... x S x C to ... x N x L x C, the last chunk padded with zeros."""
    return functional.pad(tensor_SC, (0, 0, 0, -tensor_SC.shape[-2] % CHUNK)).unflatten(-2, (-1, CHUNK))
