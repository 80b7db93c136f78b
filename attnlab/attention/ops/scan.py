"""Linear attention with a decaying state: the closed form, the chunked scan, and the template of recurrent attentions.

    S_i  = diag(exp(g_i)) S_(i-1) + k_i v_i^T              recurrence, token by token
    o_i  = q_i S_i
    A_ij = sum_c q_ic k_jc exp(g_(j+1),c + ... + g_ic)     closed form
    o    = (A within the chunk) v + (q exp(G)) S           scan, chunk by chunk

for j <= i; S on the last line is the state before the chunk, G the sum of g since its start. ``g <= 0`` is the
logarithm of the fraction that remains, one number per token (scalar) or one per channel. A sum of g is always taken
over the tokens it spans, never as a difference of two running sums. So no exponential overflows, and no digit is lost
where a strong decay is followed by weak ones. The scan takes T/64 steps for scalars, T/8 for channels.

Source   the chunked form is that of GLA, arXiv:2312.06635, and of Mamba-2, arXiv:2405.21060; the sums of spans are
         the latter's "segment sums".
Theirs   log alpha (GLA), A dt (Mamba-2) -> our g.
Differs  within a chunk channels keep a tensor of differences (8 x 8 x C) instead of two factors, which overflow.

Letters  B batch, H heads, T queries, S keys, C channels per head (1 where all channels decay alike), N chunks,
         V width of the values.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position
from attnlab.attention.ops.looped import looped
from attnlab.attention.ops.recurrence import recurrent_outputs, usable
from attnlab.attention.ops.rms_norm import rms_norm
from attnlab.tensors import QKV, at_least_float32, with_float32

SCALAR_CHUNK, CHANNEL_CHUNK = 64, 8
MIN_ROW_SUM = 1e-20
"""A row of weights with a smaller sum is set to zero."""


class Recurrence(NamedTuple):
    """The inputs of one decaying state."""

    queries_BHTC: Tensor
    keys_BHSC: Tensor
    decay_BHSC: Tensor
    """Logarithm of the fraction of the state that remains at each token, at most 0; C is 1 where channels decay
    alike."""


class Recurrent(Attention):
    """Linear attention with a decaying state, as a template: a variant defines queries, keys and decay.

    A variant that is ``normalized`` divides each row by its sum. Any other normalizes the output of each head, since
    its size grows with the number of tokens.
    """

    has_scores = False
    chunked_scan = True
    cost = "T D C"
    normalized: ClassVar[bool] = False
    """Whether each row of the effective matrix is divided by its sum."""
    chunk: ClassVar[int] = SCALAR_CHUNK
    """Sequences no longer than this take the closed form."""
    only_recurrence: ClassVar[bool] = True
    """Whether the output is that of ``recurrence`` alone; otherwise no loop computes it."""

    @abstractmethod
    def recurrence(self, qkv: QKV) -> Recurrence:
        """Queries, keys and decay of the state.

        Args:
            qkv: Queries, keys and values; queries and keys in float32 or more.

        Returns:
            The inputs of the recurrence.
        """

    @property
    def num_features(self) -> int:
        """Features of the keys of each head, F: the rows of its state."""
        return self.key.out_features // self.num_heads

    def state_size(self, tokens: int) -> int:
        """Per head a state of F x V numbers, and F more for the row sums of a normalized variant."""
        sums = self.num_heads if self.normalized else 0
        return self.num_features * (self.value.out_features + sums)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form, B x H x T x S: the specification."""
        weights = closed_form(*self.recurrence(with_float32(qkv)), qkv.start)
        return divide_rows(weights, weights.sum(-1, keepdim=True)) if self.normalized else weights

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan where it is faster; of short sequences the closed form, by compiled loops where there are."""
        if self.uses_scan(qkv):
            run = averaging_scan if self.normalized else scan
        elif self.uses_loops(qkv):
            run = partial(short_outputs, normalized=self.normalized)
        else:
            return super().attend(qkv, position)
        mixed = run(*self.recurrence(with_float32(qkv)), at_least_float32(qkv.values_BHSC))
        return mixed.to(qkv.values_BHSC.dtype)

    def uses_loops(self, qkv: QKV) -> bool:
        """Whether compiled loops over the weights compute the output of all rows.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.

        Returns:
            True for short sequences whose channels decay alike.
        """
        if not (self.fast and self.only_recurrence and self.chunk == SCALAR_CHUNK) or self.uses_scan(qkv):
            return False
        whole = qkv.start == 0 and qkv.queries_BHTC.shape[-2] == qkv.keys_BHSC.shape[-2]
        return whole and usable(qkv.values_BHSC)

    def uses_scan(self, qkv: QKV) -> bool:
        """Whether the output of all rows is computed, and they are longer than one chunk.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.

        Returns:
            Whether ``attend`` takes the scan.
        """
        tokens = qkv.keys_BHSC.shape[-2]
        return self.fast and qkv.start == 0 and qkv.queries_BHTC.shape[-2] == tokens > self.chunk

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """The update of the residual stream; without row normalization each head is normalized first."""
        return super().output(mixed_BHTC if self.normalized else head_norm(mixed_BHTC), x_BTD)


def closed_form(queries_BHTC: Tensor, keys_BHSC: Tensor, decay_BHSC: Tensor, start: int = 0) -> Tensor:
    """The effective matrix of the recurrence.

    Args:
        queries_BHTC: Queries of some rows, or of all.
        keys_BHSC: Keys of all tokens.
        decay_BHSC: g, per channel or (one channel) per token.
        start: Index of the first query among the keys.

    Returns:
        B x H x T x S.
    """
    rows = slice(start, start + queries_BHTC.shape[-2])
    remaining_BHCTS = segment_sums(decay_BHSC.mT)[..., rows, :].exp()
    if decay_BHSC.shape[-1] == 1:
        weights = queries_BHTC @ keys_BHSC.mT * remaining_BHCTS.squeeze(-3)
    else:
        weights = (queries_BHTC.mT[..., None] * keys_BHSC.mT[..., None, :] * remaining_BHCTS).sum(-3)
    return weights.tril(start)


def scan(queries_BHTC: Tensor, keys_BHSC: Tensor, decay_BHSC: Tensor, values_BHSV: Tensor) -> Tensor:
    """The closed form times the values, for all rows at once, without ever holding T x T numbers.

    Args:
        queries_BHTC: Queries of all tokens.
        keys_BHSC: Keys of all tokens.
        decay_BHSC: g, per channel or (one channel) per token.
        values_BHSV: Values of all tokens.

    Returns:
        B x H x T x V.
    """
    tensors = (queries_BHTC, keys_BHSC, decay_BHSC, values_BHSV)
    per_channel = decay_BHSC.shape[-1] > 1
    if per_channel and usable(*tensors):  # where channels decay alike, products of chunks are as fast
        return recurrent_outputs(queries_BHTC, values_BHSV, keys_BHTC=keys_BHSC, log_decays_BHTN=decay_BHSC)
    size = CHANNEL_CHUNK if per_channel else SCALAR_CHUNK
    queries, keys, decay, values = (to_chunks(tensor, size) for tensor in tensors)
    since_start = decay.cumsum(-2).exp()
    updates_BHNCV = (keys * remaining_decay(decay).exp()).mT @ values
    states_BHNCV = chunk_states(updates_BHNCV, since_start[..., -1, :, None])
    mixed = closed_form(queries, keys, decay) @ values + (queries * since_start) @ states_BHNCV
    return mixed.flatten(-3, -2)[..., : queries_BHTC.shape[-2], :]


def short_outputs(
    queries_BHTC: Tensor, keys_BHSC: Tensor, decay_BHSC: Tensor, values_BHSV: Tensor, *, normalized: bool
) -> Tensor:
    """The closed form times the values, by compiled loops.

    Args:
        queries_BHTC: Queries of all tokens; float32 on a CPU, as all others.
        keys_BHSC: Keys of all tokens.
        decay_BHSC: g, one channel.
        values_BHSV: Values of all tokens.
        normalized: Whether each row is divided by its sum.

    Returns:
        B x H x T x V.
    """
    from attnlab.attention.ops.decay_loops import DecayLoops

    program, shape = DecayLoops(normalized=normalized, least=MIN_ROW_SUM), values_BHSV.shape[:-1]
    tensors = (queries_BHTC, keys_BHSC, decay_BHSC.exp(), values_BHSV)
    return looped(program, *(one.expand(*shape, one.shape[-1]) for one in tensors))


def averaging_scan(queries_BHTC: Tensor, keys_BHSC: Tensor, decay_BHSC: Tensor, values_BHSV: Tensor) -> Tensor:
    """The scan with every row divided by its sum, which a column of ones appended to the values collects.

    Args:
        queries_BHTC: Queries of all tokens.
        keys_BHSC: Keys of all tokens.
        decay_BHSC: g, per channel or (one channel) per token.
        values_BHSV: Values of all tokens.

    Returns:
        B x H x T x V.
    """
    ones_BHS1 = torch.ones_like(values_BHSV[..., :1])
    mixed = scan(queries_BHTC, keys_BHSC, decay_BHSC, torch.cat([values_BHSV, ones_BHS1], dim=-1))
    return divide_rows(mixed[..., :-1], mixed[..., -1:])


def chunk_states(updates_BHNCV: Tensor, remaining_BHNC1: Tensor) -> Tensor:
    """The state before each chunk.

    Args:
        updates_BHNCV: What each chunk adds to the state.
        remaining_BHNC1: The fraction of the state that remains after each chunk.

    Returns:
        B x H x N x C x V; zero before the first chunk.
    """
    updates = updates_BHNCV.unbind(-3)
    states = [torch.zeros_like(updates[0])]
    for update_BHCV, remaining_BHC1 in zip(updates[:-1], remaining_BHNC1.unbind(-3), strict=False):
        states.append(remaining_BHC1 * states[-1] + update_BHCV)
    return torch.stack(states, dim=-3)


def segment_sums(decay_BHT: Tensor) -> Tensor:
    """``g_(j+1) + ... + g_i`` at (i, j), and 0 where the sum is empty.

    Args:
        decay_BHT: g, ... x T.

    Returns:
        ... x T x T.
    """
    tokens = decay_BHT.shape[-1]
    return decay_BHT[..., None].expand(*decay_BHT.shape, tokens).tril(-1).cumsum(-2)


def remaining_decay(decay_BHTC: Tensor) -> Tensor:
    """``g_(j+1) + ... + g_T`` at j: the log decay from after each token to the last one.

    Args:
        decay_BHTC: g, ... x T x C.

    Returns:
        ... x T x C.
    """
    reversed_sums = decay_BHTC.flip(-2).cumsum(-2).flip(-2)
    return functional.pad(reversed_sums[..., 1:, :], (0, 0, 0, 1))


def to_chunks(tensor_BHTC: Tensor, size: int) -> Tensor:
    """Tokens in chunks, with zeros after the last token.

    Args:
        tensor_BHTC: ... x T x C.
        size: Tokens per chunk.

    Returns:
        ... x N x size x C.
    """
    missing = -tensor_BHTC.shape[-2] % size
    return functional.pad(tensor_BHTC, (0, 0, 0, missing)).unflatten(-2, (-1, size))


def no_decay(keys_BHSC: Tensor) -> Tensor:
    """The g of a state that does not decay.

    Args:
        keys_BHSC: Keys, for their number, type and device.

    Returns:
        Zeros, S x 1.
    """
    return keys_BHSC.new_zeros(keys_BHSC.shape[-2], 1)


def divide_rows(weights: Tensor, sums: Tensor) -> Tensor:
    """Rows divided by their sums; a row with a sum of at most ``MIN_ROW_SUM`` is zero, and so is its gradient.

    Args:
        weights: ... x T x S.
        sums: ... x T x 1.

    Returns:
        ... x T x S.
    """
    nonzero = sums > MIN_ROW_SUM
    return torch.where(nonzero, weights / torch.where(nonzero, sums, 1.0), 0.0)


def head_norm(mixed_BHTC: Tensor) -> Tensor:
    """The output of each head at a root mean square of one, without a gain; computed in float32 or more, for any size.

    Args:
        mixed_BHTC: Weighted sums of the values.

    Returns:
        B x H x T x C, in the type of the input.
    """
    exact = at_least_float32(mixed_BHTC)
    size = exact.detach().abs().amax(-1, keepdim=True).clamp_min(1.0)
    return rms_norm(exact / size).to(mixed_BHTC.dtype)
