"""Softmax attention in fewer passes over the scores, for every variant whose weights are a plain softmax.

    y_i = sum_j softmax_j(q_i.k_j / sqrt(C) + b_ij) v_j     over the keys j <= i that are allowed

Without a bias, or with one that nothing learns from, torch's fused kernel never holds the scores. A bias that wants a
gradient is beyond the kernel: there the mask goes into the bias, which is smaller than the scores, and one sum and
one softmax are left of the six passes of the plain path.

The caller vouches that each query may hear at least one key.

Letters  B batch, H heads, T queries, P of them that are asked, S keys, C channels per head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.tensors import QKV, at_least_float32, causal_mask, causal_mask_at, gather_tokens


def sdpa(qkv: QKV, bias: Tensor | None, allowed: Tensor | None) -> Tensor:
    """Values mixed: B x H x T x C.

    Args:
        qkv: Queries, keys and values; queries may be a chunk of the rows.
        bias: What is added to the scores, broadcastable to them.
        allowed: Which keys each query may hear among those not after it; None allows all.
    """
    queries, keys, values, _, start = qkv
    rows, columns = queries.shape[-2], keys.shape[-2]
    if bias is None and allowed is None and start == 0 and rows == columns:
        return functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    mask = causal_mask(rows, columns, start, queries.device)
    mask = mask if allowed is None else mask & allowed
    if bias is None:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    masked = bias.masked_fill(~mask, -math.inf)
    learned = torch.is_grad_enabled() and bias.requires_grad
    if not learned and bias.dtype == queries.dtype:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=masked)
    scores = (at_least_float32(queries) / math.sqrt(queries.shape[-1])) @ at_least_float32(keys).mT + masked
    return scores.softmax(-1).to(values.dtype) @ values


def sdpa_queries(qkv: QKV, query_positions_BP: Tensor) -> Tensor:
    """Values mixed for some queries of each row, without a bias: B x H x P x C.

    Args:
        qkv: Queries, keys and values of all tokens.
        query_positions_BP: Columns of the queries that are asked.
    """
    queries, keys, values, *_ = qkv
    reached = causal_mask_at(query_positions_BP, keys.shape[-2], queries.ndim)
    return functional.scaled_dot_product_attention(
        gather_tokens(queries, query_positions_BP), keys, values, attn_mask=reached
    )


def empty_scores(qkv: QKV) -> Tensor:
    """A tensor of the scores' shape and kind that takes no room, for a position that asks for nothing else."""
    queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
    lead = torch.broadcast_shapes(queries.shape[:-2], keys.shape[:-2])
    return at_least_float32(queries.new_zeros(())).expand(*lead, queries.shape[-2], keys.shape[-2])
