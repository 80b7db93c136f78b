"""Softmax over a window of keys and the first few, in blocks of queries that multiply no other keys.

A block of R queries has R + w - 1 keys that one of its windows holds, and s sinks. Blocks lie side by side as the heads
of one call of PyTorch's fused kernel, so that time and memory grow linearly in T. The keys are copied R + w - 1 for R.

Letters  B batch, H heads, T tokens, N blocks of R queries, L keys of a block, C channels per head, w, s as above.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.tensors import QKV

ROWS = 32
"""Fewest queries of a block."""
PAYS = 5
"""Blocks are faster from so many times their keys on: a call over all keys skips the copies."""


def takes_blocks(tokens: int, window: int, sinks: int) -> bool:
    """Whether blocks are faster than a call over all keys.

    Args:
        tokens: T.
        window: w.
        sinks: s.

    Returns:
        True for sequences of at least five times the keys of a block.
    """
    return tokens >= PAYS * (_rows(window) + window - 1 + sinks)


def banded(qkv: QKV, window: int, sinks: int) -> Tensor:
    """Weighted sums of the values under a causal softmax over the last keys and the first.

    Args:
        qkv: Queries, keys and values of all tokens.
        window: w, the last keys that a query sees, its own among them.
        sinks: s, the first keys that it sees.

    Returns:
        B x H x T x C.
    """
    queries, keys, values = qkv[:3]
    tokens, rows = queries.shape[-2], _rows(window)
    count = -(-tokens // rows)
    after = count * rows - tokens

    def blocks(tensor_BHTC: Tensor) -> Tensor:
        """The keys of each block, with the sinks; (B H) x N x L x C."""
        padded = functional.pad(tensor_BHTC, (0, 0, window - 1, after))
        held = padded.unfold(-2, rows + window - 1, rows).mT
        first = tensor_BHTC[..., None, :sinks, :].expand(*held.shape[:-2], -1, -1)
        return torch.cat([held, first], dim=-2).flatten(0, -4)

    asked = functional.pad(queries, (0, 0, 0, after)).unflatten(-2, (count, rows)).flatten(0, -4)
    allowed = _allowed(count, rows, window, min(sinks, tokens), queries.device)
    mixed = functional.scaled_dot_product_attention(asked, blocks(keys), blocks(values), attn_mask=allowed)
    return mixed.flatten(-3, -2)[..., :tokens, :].unflatten(0, queries.shape[:-2])


def _rows(window: int) -> int:
    """Queries of a block."""
    return max(ROWS, window)


def _allowed(count: int, rows: int, window: int, sinks: int, device: torch.device) -> Tensor:
    """The keys of each block that a query sees, N x R x L: a sink within the window counts once."""
    query_NR1 = torch.arange(count * rows, device=device).view(count, rows, 1)
    first_N11 = query_NR1[:, :1] - (window - 1)
    key_N1L = first_N11 + torch.arange(rows + window - 1, device=device)
    held = (key_N1L >= 0) & (key_N1L <= query_NR1) & (query_NR1 - key_N1L < window)
    sink_S = torch.arange(sinks, device=device)
    return torch.cat([held, (sink_S <= query_NR1) & (query_NR1 - sink_S >= window)], dim=-1)
