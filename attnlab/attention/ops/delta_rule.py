"""The delta rule, shared by its family: a state that decays, is corrected, is written to and is read.

    S_t = (I - e_t r_t^T) Diag(a_t) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t

The order is: decay; read with r; erase at e the value that was read; write at k. Where k = e, as in DeltaNet, the state
is corrected towards v. With

    <x, y>_ij = sum_c x_ic y_jc prod_{j < t <= i} a_tc       for j <= i, else 0
    M = I + stril <r, e>

the closed form of the effective matrix, and its shorter form where k = e, is

    A = <q, k> - <q, e> M^-1 stril <r, k>,   A = <q, e> M^-1

The scan computes it chunk by chunk, with a state of C x V numbers between chunks.

Source   Yang et al., "Parallelizing linear transformers with the delta rule", arXiv:2406.06484 (the chunked form);
         the closed forms are checked against the recurrence in the tests.
Theirs   beta k -> our e;  alpha, w (a decay) -> our a;  their W, U of a chunk -> our state_reads, corrected.
Differs  <x, y> is assembled from blocks of 1, 2, 4, ... tokens, each one product of numbers decayed up to the boundary
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
from attnlab.attention.ops.recurrence import recurrent_outputs, usable
from attnlab.tensors import QKV, at_least_float32

CHUNK = 64


class Rule(NamedTuple):
    """The operations of each token on the state; float32 or more."""

    queries_BHTC: Tensor
    removals_BHSC: Tensor
    """r, with which the decayed state is read."""
    erasures_BHSC: Tensor
    """e, at which the value read is subtracted; or with one channel the strength b where e = b r."""
    writes_BHSC: Tensor | None = None
    """k; None where it is e."""
    decays_BHSC: Tensor | None = None
    """log a, at most zero, per channel or (one channel) per token; None without decay."""
    self_weights_BHT1: Tensor | None = None
    """The weight of each query's own value, added to the output of the state; None is zero."""

    def explicit(self) -> Rule:
        """Write e out.

        Returns:
            The same rule, with all channels of e.
        """
        if self.erasures_BHSC.shape[-1] == self.removals_BHSC.shape[-1]:
            return self
        return self._replace(erasures_BHSC=self.erasures_BHSC * self.removals_BHSC)


class DeltaRule(Attention, ABC):
    """An attention with the effective matrix of a delta rule: a variant defines the rule."""

    row_constraint = RowConstraint.FREE
    has_scores = False
    cost = "T C D"
    chunked_scan = True

    @abstractmethod
    def rule(self, qkv: QKV) -> Rule:
        """The operations of each token on the state.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.

        Returns:
            The rule.
        """

    def state_size(self, tokens: int) -> int:
        """A state of C x V numbers per head."""
        return self.key.out_features * self.value.out_features // self.num_heads

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form, B x H x T x S."""
        return closed_form(self.rule(qkv), qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan where the output of all rows is computed, the closed form otherwise."""
        if self.takes_scan(qkv):
            return scan(self.rule(qkv), at_least_float32(qkv.values_BHSC)).to(qkv.values_BHSC.dtype)
        return super().attend(qkv, position)

    def takes_scan(self, qkv: QKV) -> bool:
        """Whether the output of all rows is computed, on a fast path.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.

        Returns:
            Whether ``attend`` takes the scan.
        """
        return self.fast and qkv.start == 0 and qkv.queries_BHTC.shape[-2] == qkv.values_BHSC.shape[-2]


def closed_form(rule: Rule, start: int = 0) -> Tensor:
    """The effective matrix.

    Args:
        rule: With queries (and self weights) of some rows, or of all.
        start: Index of the first of these rows.

    Returns:
        B x H x T x S.
    """
    rule = rule.explicit()
    rows, tokens = rule.queries_BHTC.shape[-2], rule.erasures_BHSC.shape[-2]
    padding = (0, 0, start, tokens - start - rows)
    self_weights = None if rule.self_weights_BHT1 is None else functional.pad(rule.self_weights_BHT1, padding)
    queries = functional.pad(rule.queries_BHTC, padding)
    padded = rule._replace(queries_BHTC=queries, self_weights_BHT1=self_weights)
    chunk = _rule_chunks(padded, _next_power_of_two(tokens))  # a single chunk
    readers = torch.stack([chunk.queries_BHTC, chunk.removals_BHSC])
    erased, overlap = decayed_products(readers, chunk.erasures_BHSC, chunk.decays_BHSC).unbind(0)
    weights = torch.linalg.solve_triangular(overlap, erased, upper=False, left=False, unitriangular=True)
    if chunk.writes_BHSC is not None:
        written, removed = decayed_products(readers, chunk.writes_BHSC, chunk.decays_BHSC).unbind(0)
        weights = written - weights @ removed.tril(-1)
    if chunk.self_weights_BHT1 is not None:
        identity = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
        weights = weights + identity * chunk.self_weights_BHT1
    return weights.squeeze(-3)[..., start : start + rows, :tokens]


def scan(rule: Rule, values_BHSV: Tensor) -> Tensor:
    """The output of the recurrence; time and memory grow linearly in S.

    Args:
        rule: With the queries of all rows.
        values_BHSV: v.

    Returns:
        B x H x S x V.
    """
    if usable(*rule, values_BHSV):
        return _looped(rule, values_BHSV)
    tokens = values_BHSV.shape[-2]
    size = min(CHUNK, _next_power_of_two(tokens))
    chunk, values = _rule_chunks(rule.explicit(), size), _chunks(values_BHSV, size)
    readers = torch.stack([chunk.queries_BHTC, chunk.removals_BHSC])
    erased, overlap = decayed_products(readers, chunk.erasures_BHSC, chunk.decays_BHSC).unbind(0)
    decays = values.new_zeros(*values.shape[:-1], 1) if chunk.decays_BHSC is None else chunk.decays_BHSC
    from_start, to_end = decays.cumsum(-2).exp(), _decay_to_end(decays).exp()
    erasing = (chunk.erasures_BHSC * to_end).mT
    if chunk.writes_BHSC is None:
        corrected = _solve(overlap, values)
        out, added = erased @ corrected, erasing @ corrected
    else:
        written, removed = decayed_products(readers, chunk.writes_BHSC, chunk.decays_BHSC).unbind(0)
        corrected = _solve(overlap, -removed.tril(-1) @ values)
        out = erased @ corrected + written @ values
        added = erasing @ corrected + (chunk.writes_BHSC * to_end).mT @ values
    if chunk.self_weights_BHT1 is not None:
        out = out + chunk.self_weights_BHT1 * values
    state_reads = _solve(overlap, chunk.removals_BHSC * from_start)
    identity = torch.eye(erasing.shape[-2], dtype=values.dtype, device=values.device)
    transition = identity * from_start[..., -1:, :].mT - erasing @ state_reads
    readout = chunk.queries_BHTC * from_start - erased @ state_reads
    return (out + readout @ _states(transition, added)).flatten(-3, -2)[..., :tokens, :]


def _looped(rule: Rule, values_BHSV: Tensor) -> Tensor:
    """The output of the recurrence by compiled loops over the tokens."""
    out = recurrent_outputs(
        rule.queries_BHTC,
        values_BHSV,
        keys_BHTC=rule.writes_BHSC,
        log_decays_BHTN=rule.decays_BHSC,
        removals_BHTC=rule.removals_BHSC,
        erasures_BHTC=rule.erasures_BHSC,
    )
    return out if rule.self_weights_BHT1 is None else out + rule.self_weights_BHT1 * values_BHSV


def decayed_products(later: Tensor, earlier: Tensor, decays: Tensor | None) -> Tensor:
    """``<later, earlier>``: dot products over the channels, decayed from the earlier token to the later one.

    Args:
        later: x, ... x L x C; L is a power of two.
        earlier: y, ... x L x C.
        decays: log a, ... x L x C or ... x L x 1; None without decay.

    Returns:
        ... x L x L, lower triangular.
    """
    if decays is None:
        return (later @ earlier.mT).tril()
    blocks = (later * earlier).sum(-1)[..., None, None]
    while blocks.shape[-3] > 1:
        halves = (-1, 2, blocks.shape[-1])
        first_decays, second_decays = decays.unflatten(-2, halves).unbind(-3)
        readers = later.unflatten(-2, halves).select(-3, 1) * second_decays.cumsum(-2).exp()
        written = earlier.unflatten(-2, halves).select(-3, 0) * _decay_to_end(first_decays).exp()
        first, second = blocks.unflatten(-3, (-1, 2)).unbind(-3)
        upper = torch.cat([first, torch.zeros_like(first)], -1)
        blocks = torch.cat([upper, torch.cat([readers @ written.mT, second], -1)], -2)
    return blocks.squeeze(-3)


def _states(transitions: Tensor, added: Tensor) -> Tensor:
    """The state before each chunk, ... x N x C x V."""
    state = torch.zeros_like(added.select(-3, 0))
    states = []
    for transition, addition in zip(transitions.unbind(-3), added.unbind(-3), strict=True):
        states.append(state)
        state = transition @ state + addition
    return torch.stack(states, -3)


def _solve(overlap: Tensor, right: Tensor) -> Tensor:
    """``M^-1 right``; only the entries of the overlap below its diagonal are used."""
    return torch.linalg.solve_triangular(overlap, right, upper=False, unitriangular=True)


def _decay_to_end(decays: Tensor) -> Tensor:
    """Log decay from after each token to the last one."""
    return functional.pad(decays[..., 1:, :], (0, 0, 0, 1)).flip(-2).cumsum(-2).flip(-2)


def _rule_chunks(rule: Rule, size: int) -> Rule:
    """All tensors of a rule in chunks."""
    return Rule(*(None if tensor is None else _chunks(tensor, size) for tensor in rule))  # type: ignore[arg-type]


def _chunks(tensor: Tensor, size: int) -> Tensor:
    """... x T x C to ... x N x L x C, the last chunk padded with zeros."""
    return functional.pad(tensor, (0, 0, 0, -tensor.shape[-2] % size)).unflatten(-2, (-1, size))


def _next_power_of_two(tokens: int) -> int:
    """The smallest power of two that is at least the number of tokens."""
    return 1 << (tokens - 1).bit_length()
