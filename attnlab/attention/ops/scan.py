"""Linear attention whose memory fades: the closed form, the chunked scan, and the template of all that recur.

    S_i  = diag(exp(g_i)) S_(i-1) + k_i v_i^T              token by token
    o_i  = q_i S_i
    A_ij = sum_c q_ic k_jc exp(g_(j+1),c + ... + g_ic)     closed form
    o    = (A within the chunk) v + (q exp(G)) S           chunk by chunk

for j <= i; S on the last line is the memory before the chunk, G the sum of g since its start. ``g <= 0`` is the
logarithm of what is kept, one number per token (scalar) or one per channel. A sum of g is always taken over the
tokens it spans, never as a difference of two running sums: no exponential overflows, and no digit is lost where a
strong gate is followed by weak ones. The scan does T/64 steps for scalars, T/8 for channels.

Source   the chunked form is that of GLA, arXiv:2312.06635, and of Mamba-2, arXiv:2405.21060; the sums of spans are
         the latter's "segment sums".
Theirs   log alpha (GLA), A dt (Mamba-2) -> our g.
Differs  within a chunk channels keep a tensor of differences (8 x 8 x C) instead of two factors, which overflow.

Letters  B batch, H heads, T queries, S keys, C channels per head (1 where all channels fade alike), N chunks,
         V width of the values.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.base import Attention, Position
from attnlab.attention.ops.modifiers import rms_norm
from attnlab.tensors import QKV, at_least_float32

SCALAR_CHUNK, CHANNEL_CHUNK = 64, 8
MIN_ROW_SUM = 1e-20
"""A row whose weights sum to less than this hears nothing: it is zero."""


class Recurrence(NamedTuple):
    """What one fading memory is made of."""

    queries_BHTC: Tensor
    keys_BHSC: Tensor
    decay_BHSC: Tensor
    """Logarithm of what is kept of the memory when a token arrives, at most 0; C is 1 where channels fade alike."""


class Recurrent(Attention):
    """Attention by a fading memory, as a template: a variant says what it reads, writes and forgets.

    A variant that is ``normalized`` divides each row by its sum; any other norms what each head has read, since its
    size grows with the number of tokens.
    """

    has_scores = False
    chunked_scan = True
    cost = "T D C"
    normalized: ClassVar[bool] = False
    chunk: ClassVar[int] = SCALAR_CHUNK
    """Sequences no longer than this take the closed form."""

    @abstractmethod
    def recurrence(self, qkv: QKV) -> Recurrence:
        """Queries, keys and decay of the memory; the heads come in float32 or more."""

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form, T x S: the specification."""
        weights = closed_form(*self.recurrence(with_float32(qkv)), qkv.start)
        return divide_rows(weights, weights.sum(-1, keepdim=True)) if self.normalized else weights

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan, where it pays."""
        if not self.scan_values(qkv):
            return super().attend(qkv, position)
        raised = with_float32(qkv)
        run = averaging_scan if self.normalized else scan
        return run(*self.recurrence(raised), at_least_float32(raised.values_BHSC)).to(qkv.values_BHSC.dtype)

    def scan_values(self, qkv: QKV) -> bool:
        """Whether all rows are asked for, and there are more than one chunk of them."""
        tokens = qkv.keys_BHSC.shape[-2]
        return self.fast and qkv.start == 0 and qkv.queries_BHTC.shape[-2] == tokens > self.chunk

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """The stream's update; what is not normalized by row is normed by head."""
        return super().output(mixed_BHTC if self.normalized else head_norm(mixed_BHTC), x_BTD)


def closed_form(queries_BHTC: Tensor, keys_BHSC: Tensor, decay_BHSC: Tensor, start: int = 0) -> Tensor:
    """The closed form, B x H x T x S, of the query rows from ``start``."""
    rows = slice(start, start + queries_BHTC.shape[-2])
    kept_BHCTS = segment_sums(decay_BHSC.mT)[..., rows, :].exp()
    if decay_BHSC.shape[-1] == 1:
        weights = queries_BHTC @ keys_BHSC.mT * kept_BHCTS.squeeze(-3)
    else:
        weights = (queries_BHTC.mT[..., None] * keys_BHSC.mT[..., None, :] * kept_BHCTS).sum(-3)
    return weights.tril(start)


def scan(queries_BHTC: Tensor, keys_BHSC: Tensor, decay_BHSC: Tensor, values_BHSV: Tensor) -> Tensor:
    """The closed form times the values, B x H x T x V, without ever holding T x T numbers; all rows at once."""
    size = SCALAR_CHUNK if decay_BHSC.shape[-1] == 1 else CHANNEL_CHUNK
    everything = (queries_BHTC, keys_BHSC, decay_BHSC, values_BHSV)
    queries, keys, decay, values = (to_chunks(tensor, size) for tensor in everything)
    since_start = decay.cumsum(-2).exp()
    written_BHNCV = (keys * remaining_decay(decay).exp()).mT @ values
    states_BHNCV = chunk_states(written_BHNCV, since_start[..., -1, :, None])
    mixed = closed_form(queries, keys, decay) @ values + (queries * since_start) @ states_BHNCV
    return mixed.flatten(-3, -2)[..., : queries_BHTC.shape[-2], :]


def averaging_scan(queries_BHTC: Tensor, keys_BHSC: Tensor, decay_BHSC: Tensor, values_BHSV: Tensor) -> Tensor:
    """The scan with every row divided by its sum, which a column of ones beside the values collects."""
    ones_BHS1 = torch.ones_like(values_BHSV[..., :1])
    mixed = scan(queries_BHTC, keys_BHSC, decay_BHSC, torch.cat([values_BHSV, ones_BHS1], dim=-1))
    return divide_rows(mixed[..., :-1], mixed[..., -1:])


def chunk_states(written_BHNCV: Tensor, kept_BHNC1: Tensor) -> Tensor:
    """The memory before each chunk, from what each chunk writes and what it keeps of the memory before it."""
    written = written_BHNCV.unbind(-3)
    states = [torch.zeros_like(written[0])]
    for chunk_BHCV, kept_BHC1 in zip(written[:-1], kept_BHNC1.unbind(-3), strict=False):
        states.append(kept_BHC1 * states[-1] + chunk_BHCV)
    return torch.stack(states, dim=-3)


def segment_sums(decay_BHT: Tensor) -> Tensor:
    """``g_(j+1) + ... + g_i`` at (i, j), and 0 where that is empty: B x H x T x T."""
    tokens = decay_BHT.shape[-1]
    return decay_BHT[..., None].expand(*decay_BHT.shape, tokens).tril(-1).cumsum(-2)


def remaining_decay(decay_BHTC: Tensor) -> Tensor:
    """``g_(j+1) + ... + g_T`` at j: what is still to come after each token."""
    onwards = decay_BHTC.flip(-2).cumsum(-2).flip(-2)
    return functional.pad(onwards[..., 1:, :], (0, 0, 0, 1))


def to_chunks(tensor_BHTC: Tensor, size: int) -> Tensor:
    """B x H x N x size x C, with zeros after the last token."""
    missing = -tensor_BHTC.shape[-2] % size
    return functional.pad(tensor_BHTC, (0, 0, 0, missing)).unflatten(-2, (-1, size))


def no_decay(keys_BHSC: Tensor) -> Tensor:
    """The decay of a memory that does not fade, S x 1."""
    return keys_BHSC.new_zeros(keys_BHSC.shape[-2], 1)


def divide_rows(weights: Tensor, sums: Tensor) -> Tensor:
    """Rows divided by their sums; a row whose sum is nothing is zero, and so is its gradient."""
    reached = sums > MIN_ROW_SUM
    return torch.where(reached, weights / torch.where(reached, sums, 1.0), 0.0)


def head_norm(mixed_BHTC: Tensor) -> Tensor:
    """Each head's reading at a root mean square of one, without a gain; in float32 or more, however large it is."""
    exact = at_least_float32(mixed_BHTC)
    size = exact.detach().abs().amax(-1, keepdim=True).clamp_min(1.0)
    return rms_norm(exact / size).to(mixed_BHTC.dtype)


def with_float32(qkv: QKV) -> QKV:
    """QKV with queries and keys in float32 or more."""
    return qkv._replace(queries_BHTC=at_least_float32(qkv.queries_BHTC), keys_BHSC=at_least_float32(qkv.keys_BHSC))
