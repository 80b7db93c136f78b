"""Several delta steps per token: a rule of n steps for each token, written as a rule of n S tokens.

    token t, step j = 1 .. n:   S <- (I - e_tj r_tj^T) Diag(a_tj) S + k_tj v_tj^T,   a_tj = 1 for j > 1
    o_t = S^T q_t               after the last step

The steps of a token stand next to each other. The state decays at the first one and is read after the last one. A token
has n values, so the output is no matrix times one value for each token. It is the sum over the steps of a matrix times
the values of that step. The steps of each head are therefore held as heads of their own: B x HN x S x C, those of one
head next to each other.

Letters  B batch, H heads, N steps, HN steps of all heads, T queries, S keys, C channels of keys, V of values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.ops.delta_rule import Rule, closed_form, scan


def as_heads(tensor_BHSC: Tensor, steps: int) -> Tensor:
    """The channels of a head split into those of its steps, each step as a head.

    Args:
        tensor_BHSC: Keys, values or strengths, B x H x S x NC.
        steps: N.

    Returns:
        B x HN x S x C.
    """
    return tensor_BHSC.unflatten(-1, (steps, -1)).transpose(-3, -2).flatten(-4, -3)


def as_tokens(tensor_BhSC: Tensor, steps: int) -> Tensor:
    """Steps that are held as heads, next to each other as tokens.

    Args:
        tensor_BhSC: B x HN x S x C.
        steps: N.

    Returns:
        B x H x SN x C.
    """
    return tensor_BhSC.unflatten(-3, (-1, steps)).transpose(-3, -2).flatten(-3, -2)


def at_first(tensor_BHSC: Tensor, steps: int) -> Tensor:
    """One number per token at its first step, zero at the others.

    Args:
        tensor_BHSC: Log decays.
        steps: N.

    Returns:
        B x H x SN x C.
    """
    return functional.pad(tensor_BHSC[..., None, :], (0, 0, 0, steps - 1)).flatten(-3, -2)


def at_last(tensor_BHTC: Tensor, steps: int) -> Tensor:
    """One number per token at its last step, zero at the others.

    Args:
        tensor_BHTC: Queries.
        steps: N.

    Returns:
        B x H x TN x C.
    """
    return functional.pad(tensor_BHTC[..., None, :], (0, 0, steps - 1, 0)).flatten(-3, -2)


def step_matrices(rule: Rule, steps: int, start: int = 0) -> Tensor:
    """The closed form: for each step the matrix that multiplies its values.

    Args:
        rule: Of the steps as tokens, with queries of some rows, or of all.
        steps: N.
        start: Index of the token of the first of these rows.

    Returns:
        B x HN x T x S.
    """
    weights_BHTS = closed_form(rule, start * steps)[..., steps - 1 :: steps, :]
    return weights_BHTS.unflatten(-1, (-1, steps)).movedim(-1, -3).flatten(-4, -3)


def step_outputs(rule: Rule, values_BhSV: Tensor, steps: int) -> Tensor:
    """The scan: what the values of each step contribute to the outputs.

    Args:
        rule: Of the steps as tokens, with the queries of all rows.
        values_BhSV: v, B x HN x S x V.
        steps: N.

    Returns:
        B x HN x S x V; the output is the sum over the steps of a head.
    """
    values_BHSV = as_tokens(values_BhSV, steps)
    own_NN = torch.eye(steps, dtype=values_BHSV.dtype, device=values_BHSV.device)
    tokens = values_BHSV.shape[-2] // steps
    # Each step writes to channels of its own, so that one scan keeps the contributions apart.
    apart = (own_NN.repeat(tokens, 1)[..., None] * values_BHSV[..., None, :]).flatten(-2)
    return as_heads(scan(rule, apart)[..., steps - 1 :: steps, :], steps)
