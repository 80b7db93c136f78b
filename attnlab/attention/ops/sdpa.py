"""Softmax attention in fewer passes over the scores, for every variant with the weights of a plain softmax.

    y_i = sum_j softmax_j(q_i.k_j / sqrt(C) + b_ij) v_j     over the keys j <= i that are allowed

Compiled loops take what they can (:mod:`attnlab.attention.ops.softmax_sums`): float32 on a CPU, with more keys than
:data:`SHORT`, or with a bias than :data:`SHORT_BIASED`. Otherwise, without a bias or with one that needs no gradient,
PyTorch's fused kernel never holds the scores. The kernel does not support a bias that needs a gradient. There the mask
is added to the bias, which is smaller than the scores, and one sum and one softmax remain of the six passes of the
plain path.

The caller guarantees that each query has at least one allowed key.

Letters  B batch, H heads, T queries, P query positions per row, S keys, C channels per head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.ops.softmax_sums import softmax_sums, softmax_sums_suit
from attnlab.tensors import QKV, at_least_float32, broadcast_shape, causal_mask, causal_mask_at, gather_tokens

SHORT, SHORT_BIASED = 64, 32
"""Most keys that are left to torch, without a bias and with one: what loops save of a step there would repay only after
minutes that numba, which they need, is imported for a second and a half."""


def sdpa(qkv: QKV, bias: Tensor | None, allowed: Tensor | None) -> Tensor:
    """Weighted sums of the values under a causal softmax.

    Args:
        qkv: Queries, keys and values; queries may be a chunk of the rows.
        bias: Added to the scores, broadcastable to them; None is no bias.
        allowed: bool, broadcastable to the scores: the keys allowed besides the causal mask; None allows all.

    Returns:
        B x H x T x C.
    """
    queries, keys, values, _, start = qkv
    rows, columns = queries.shape[-2], keys.shape[-2]
    many = columns > (SHORT if bias is None else SHORT_BIASED)
    if allowed is None and many and softmax_sums_suit(queries, keys, values, bias):
        return softmax_sums(queries, keys, values, bias, start)
    if bias is None and allowed is None and start == 0 and rows == columns:
        return functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    mask = causal_mask(rows, columns, start, queries.device)
    mask = mask if allowed is None else mask & allowed
    if bias is None:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    masked_bias = bias.masked_fill(~mask, -math.inf)
    needs_gradient = torch.is_grad_enabled() and bias.requires_grad
    if not needs_gradient and bias.dtype == queries.dtype:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=masked_bias)
    scores = (at_least_float32(queries) / math.sqrt(queries.shape[-1])) @ at_least_float32(keys).mT + masked_bias
    return scores.softmax(-1).to(values.dtype) @ values


def sdpa_queries(qkv: QKV, query_positions_BP: Tensor) -> Tensor:
    """Weighted sums of the values for some queries of each row, without a bias.

    Args:
        qkv: Queries, keys and values of all tokens.
        query_positions_BP: Positions of the queries in their row, int64.

    Returns:
        B x H x P x C.
    """
    queries, keys, values, *_ = qkv
    mask = causal_mask_at(query_positions_BP, keys.shape[-2], queries.ndim)
    return functional.scaled_dot_product_attention(
        gather_tokens(queries, query_positions_BP), keys, values, attn_mask=mask
    )


def empty_scores(qkv: QKV) -> Tensor:
    """A tensor of the shape and type of the scores without their memory, for a position that reads nothing else.

    Args:
        qkv: Queries, keys and values.

    Returns:
        Zeros, ... x T x S, expanded from one element.
    """
    queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
    lead = broadcast_shape(queries.shape[:-2], keys.shape[:-2])
    return at_least_float32(queries.new_zeros(())).expand(*lead, queries.shape[-2], keys.shape[-2])
