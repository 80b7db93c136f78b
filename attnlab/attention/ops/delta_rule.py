"""The delta rule, shared by its family: a state that forgets, corrects itself, takes in and is read.

    S_t = (I - e_t r_t^T) Diag(a_t) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t

In this order: decay, read with r, erase at e what was read, write at k. Where k = e, as in DeltaNet, the state is
corrected towards v. With

    <x, y>_ij = sum_c x_ic y_jc prod_{j < t <= i} a_tc       for j <= i, else 0
    M = I + stril <r, e>

the closed form of the effective matrix, and its shorter form where k = e, is

    A = <q, k> - <q, e> M^-1 stril <r, k>,   A = <q, e> M^-1

The scan holds it chunk by chunk, with a state of C x V numbers between chunks.

Source   Yang et al., "Parallelizing linear transformers with the delta rule", arXiv:2406.06484 (the chunked form);
         the closed forms are checked against the recurrence in the tests.
Theirs   beta k -> our e;  alpha, w (a decay) -> our a;  their W, U of a chunk -> our pull, fresh.
Differs  <x, y> is put together from blocks of 1, 2, 4, ... tokens, each one product of numbers decayed up to the seam
         between two halves: every exponent is a sum of log decays, never above zero, so nothing overflows.

Letters  B batch, H heads, T queries, S keys, C channels of keys, V of values, N chunks of L tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position, RowConstraint
from attnlab.tensors import QKV, at_least_float32

CHUNK = 64


class Rule(NamedTuple):
    """What each token does to the state; float32 or more."""

    queries_BHTC: Tensor
    removals_BHSC: Tensor
    """r, with which the decayed state is read."""
    erasures_BHSC: Tensor
    """e, at which what was read is taken away."""
    writes_BHSC: Tensor | None = None
    """k; None where it is e."""
    decays_BHSC: Tensor | None = None
    """log a, at most zero, per channel or (one channel) per token; None where nothing decays."""
    own_BHT1: Tensor | None = None
    """How much of its own value each query reads beside the state."""


class DeltaRule(Attention, ABC):
    """An attention whose weights are a delta rule's: says the rule, gets closed form and scan."""

    row_constraint = RowConstraint.FREE
    has_scores = False
    cost = "T C D"
    chunked_scan = True

    @abstractmethod
    def rule(self, qkv: QKV) -> Rule:
        """What each token does to the state."""

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form, B x H x T x S."""
        return closed_form(self.rule(qkv), qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan, where all rows are asked for; the closed form otherwise."""
        whole = qkv.start == 0 and qkv.queries_BHTC.shape[-2] == qkv.values_BHSC.shape[-2]
        if self.fast and whole:
            return scan(self.rule(qkv), at_least_float32(qkv.values_BHSC)).to(qkv.values_BHSC.dtype)
        return super().attend(qkv, position)


def closed_form(rule: Rule, start: int = 0) -> Tensor:
    """The effective matrix, B x H x T x S.

    Args:
        rule: With queries (and what they read of their own) for some rows, or for all.
        start: Index of the first of these rows.
    """
    rows, tokens = rule.queries_BHTC.shape[-2], rule.erasures_BHSC.shape[-2]
    around = (0, 0, start, tokens - start - rows)
    own = None if rule.own_BHT1 is None else functional.pad(rule.own_BHT1, around)
    queries = functional.pad(rule.queries_BHTC, around)
    one = _cut(rule._replace(queries_BHTC=queries, own_BHT1=own), _power(tokens))
    readers = torch.stack([one.queries_BHTC, one.removals_BHSC])
    erased, overlap = decayed_products(readers, one.erasures_BHSC, one.decays_BHSC).unbind(0)
    through = torch.linalg.solve_triangular(overlap, erased, upper=False, left=False, unitriangular=True)
    if one.writes_BHSC is None:
        weights = through
    else:
        stored, removed = decayed_products(readers, one.writes_BHSC, one.decays_BHSC).unbind(0)
        weights = stored - through @ removed.tril(-1)
    if one.own_BHT1 is not None:
        weights = weights + torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device) * one.own_BHT1
    return weights.squeeze(-3)[..., start : start + rows, :tokens]


def scan(rule: Rule, values_BHSV: Tensor) -> Tensor:
    """What is read from the state, B x H x S x V; time and memory grow linearly in S.

    Args:
        rule: With the queries of all rows.
        values_BHSV: v.
    """
    tokens = values_BHSV.shape[-2]
    size = min(CHUNK, _power(tokens))
    chunk, values = _cut(rule, size), _chunks(values_BHSV, size)
    readers = torch.stack([chunk.queries_BHTC, chunk.removals_BHSC])
    erased, overlap = decayed_products(readers, chunk.erasures_BHSC, chunk.decays_BHSC).unbind(0)
    decays = values.new_zeros(*values.shape[:-1], 1) if chunk.decays_BHSC is None else chunk.decays_BHSC
    arrived, left = decays.cumsum(-2).exp(), _until(decays).exp()
    erasing = (chunk.erasures_BHSC * left).mT
    if chunk.writes_BHSC is None:
        fresh = _solve(overlap, values)
        out, added = erased @ fresh, erasing @ fresh
    else:
        stored, removed = decayed_products(readers, chunk.writes_BHSC, chunk.decays_BHSC).unbind(0)
        fresh = _solve(overlap, -removed.tril(-1) @ values)
        out = erased @ fresh + stored @ values
        added = erasing @ fresh + (chunk.writes_BHSC * left).mT @ values
    if chunk.own_BHT1 is not None:
        out = out + chunk.own_BHT1 * values
    pull = _solve(overlap, chunk.removals_BHSC * arrived)
    channels = torch.eye(erasing.shape[-2], dtype=values.dtype, device=values.device)
    saved = channels * arrived[..., -1:, :].mT - erasing @ pull
    read = chunk.queries_BHTC * arrived - erased @ pull
    return (out + read @ _states(saved, added)).flatten(-3, -2)[..., :tokens, :]


def decayed_products(later: Tensor, earlier: Tensor, decays: Tensor | None) -> Tensor:
    """``<later, earlier>``, ... x L x L: products of channels, decayed on the way from one token to the other.

    Args:
        later: x, ... x L x C; L is a power of two.
        earlier: y, ... x L x C.
        decays: log a, ... x L x C or ... x L x 1, or None.
    """
    if decays is None:
        return (later @ earlier.mT).tril()
    blocks = (later * earlier).sum(-1)[..., None, None]
    while blocks.shape[-3] > 1:
        halves = (-1, 2, blocks.shape[-1])
        before, after = decays.unflatten(-2, halves).unbind(-3)
        readers = later.unflatten(-2, halves).select(-3, 1) * after.cumsum(-2).exp()
        written = earlier.unflatten(-2, halves).select(-3, 0) * _until(before).exp()
        first, second = blocks.unflatten(-3, (-1, 2)).unbind(-3)
        upper = torch.cat([first, torch.zeros_like(first)], -1)
        blocks = torch.cat([upper, torch.cat([readers @ written.mT, second], -1)], -2)
    return blocks.squeeze(-3)


def unit_length(tensor: Tensor) -> Tensor:
    """The last axis at a length of one, a little less where it is tiny; zeros stay zeros."""
    return tensor * (tensor.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


def _states(saved: Tensor, added: Tensor) -> Tensor:
    """The state that each chunk finds, ... x N x C x V."""
    state = torch.zeros_like(added.select(-3, 0))
    result = []
    for keeps, adds in zip(saved.unbind(-3), added.unbind(-3), strict=True):
        result.append(state)
        state = keeps @ state + adds
    return torch.stack(result, -3)


def _solve(overlap: Tensor, right: Tensor) -> Tensor:
    """``M^-1 right``; only what lies below the diagonal of the overlap counts."""
    return torch.linalg.solve_triangular(overlap, right, upper=False, unitriangular=True)


def _until(decays: Tensor) -> Tensor:
    """Log decay from after each token to the end."""
    return functional.pad(decays[..., 1:, :], (0, 0, 0, 1)).flip(-2).cumsum(-2).flip(-2)


def _cut(rule: Rule, size: int) -> Rule:
    """Everything in chunks."""
    return Rule(*(None if part is None else _chunks(part, size) for part in rule))  # type: ignore[arg-type]


def _chunks(tensor: Tensor, size: int) -> Tensor:
    """... x T x C to ... x N x L x C, the last chunk filled up with zeros."""
    return functional.pad(tensor, (0, 0, 0, -tensor.shape[-2] % size)).unflatten(-2, (-1, size))


def _power(tokens: int) -> int:
    """The power of two not below the tokens."""
    return 1 << (tokens - 1).bit_length()
