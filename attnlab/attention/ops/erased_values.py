"""Values from which each token erases what the earlier ones hold: one unit lower triangular solve, by blocks of rows.

    (I + E) u = v,   E_ij = b_i softmax_{j < i}(w_i.k_j / sqrt(C))

A block of rows is a product with the u before it and a solve over its own tokens. The backward pass solves the
transposed system from the last block to the first, ``(I + E)^T l = du``, and computes each block of E a second time:

    dv = l,   dE = -l u^T

so that memory grows with the length and not with its square.

Letters  S tokens, C channels of keys, V channels of values.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, final

import torch
from torch import Tensor
from torch.func import vjp
from torch.nn import functional

from attnlab.attention.ops.looped import looped, suits
from attnlab.differentiation import differentiable_once
from attnlab.tensors import causal_mask, masked_softmax

ROWS = 64
"""Tokens of a block."""


def erased_values(erasers_SC: Tensor, keys_SC: Tensor, strengths_S1: Tensor, values_SV: Tensor) -> Tensor:
    """Solve for u.

    Args:
        erasers_SC: w, ... x S x C, float32 or more.
        keys_SC: k, ... x S x C, float32 or more.
        strengths_S1: b, ... x S x 1, float32 or more.
        values_SV: v, ... x S x V, float32 or more.

    Returns:
        u, ... x S x V.
    """
    if suits(erasers_SC, keys_SC, strengths_S1, values_SV):
        from attnlab.attention.ops.erased_loops import ErasedLoops

        return looped(ErasedLoops(), erasers_SC, keys_SC, strengths_S1, values_SV)
    if keys_SC.shape[-2] <= ROWS:
        return _solved(erasure(erasers_SC, keys_SC, strengths_S1), values_SV)
    erased: Tensor = _Erased.apply(erasers_SC, keys_SC, strengths_S1, values_SV)  # type: ignore[no-untyped-call]
    return erased


def erasure(erasers_TC: Tensor, keys_SC: Tensor, strengths_T1: Tensor, start: int = 0) -> Tensor:
    """Rows of E.

    Args:
        erasers_TC: w of the rows, ... x T x C.
        keys_SC: k up to the last row, ... x S x C.
        strengths_T1: b of the rows, ... x T x 1.
        start: Index of the first row among the keys.

    Returns:
        ... x T x S; zero at the token itself and after it, and in the row of the first token.
    """
    scores_TS = erasers_TC @ keys_SC.mT / math.sqrt(keys_SC.shape[-1])
    rows, keys = scores_TS.shape[-2:]
    earlier_TS = causal_mask(rows, keys, start - 1, scores_TS.device)
    return strengths_T1 * masked_softmax(scores_TS, earlier_TS)


def _solved(rows_TT: Tensor, right_TV: Tensor) -> Tensor:
    """``(I + E)^-1 right``; only the entries below the diagonal are used."""
    return torch.linalg.solve_triangular(rows_TT, right_TV, upper=False, unitriangular=True)


@final
class _Erased(torch.autograd.Function):
    """The solve by blocks; the backward pass computes E again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(erasers_SC: Tensor, keys_SC: Tensor, strengths_S1: Tensor, values_SV: Tensor) -> Tensor:
        """Solve one block after another."""
        tokens, erased_SV = keys_SC.shape[-2], values_SV[..., :0, :]
        for first in range(0, tokens, ROWS):
            rows = slice(first, min(first + ROWS, tokens))
            block_TS = erasure(
                erasers_SC[..., rows, :], keys_SC[..., : rows.stop, :], strengths_S1[..., rows, :], first
            )
            right_TV = values_SV[..., rows, :] - block_TS[..., :first] @ erased_SV
            erased_SV = torch.cat([erased_SV, _solved(block_TS[..., first:], right_TV)], dim=-2)
        return erased_SV

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the inputs but the values, and u."""
        ctx.save_for_backward(*inputs[:3], output)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad_SV: Tensor) -> tuple[Tensor, ...]:
        """Solve the transposed system from the last block to the first."""
        erasers_SC, keys_SC, strengths_S1, erased_SV = ctx.saved_tensors
        tokens, grad_keys_SC = keys_SC.shape[-2], torch.zeros_like(keys_SC)
        grads: list[tuple[Tensor, Tensor, Tensor]] = []
        for first in reversed(range(0, tokens, ROWS)):
            last = min(first + ROWS, tokens)
            rows = slice(first, last)
            inputs = erasers_SC[..., rows, :], keys_SC[..., :last, :], strengths_S1[..., rows, :]
            block_TS, pull, *_ = vjp(partial(erasure, start=first), *inputs)
            adjoint_TV = torch.linalg.solve_triangular(
                block_TS[..., first:].mT, grad_SV[..., rows, :], upper=True, unitriangular=True
            )
            grad_SV = grad_SV[..., :first, :] - block_TS[..., :first].mT @ adjoint_TV
            grad_erasers_TC, grad_own_SC, grad_strengths_T1 = pull(-adjoint_TV @ erased_SV[..., :last, :].mT)
            grad_keys_SC = grad_keys_SC + functional.pad(grad_own_SC, (0, 0, 0, tokens - last))
            grads.append((grad_erasers_TC, grad_strengths_T1, adjoint_TV))
        erasers, strengths, values = (torch.cat(parts[::-1], dim=-2) for parts in zip(*grads, strict=True))
        return erasers, grad_keys_SC, strengths, values
