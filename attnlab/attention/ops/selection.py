"""How sparse mechanisms choose: the best of the allowed, blocks of tokens, sizes that fit the run.

Letters  T queries, S keys, N blocks, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV


def top_k_mask(scores_TS: Tensor, allowed_TS: Tensor, count: int | Tensor) -> Tensor:
    """True at the ``count`` best allowed entries of each row, or at all of them where there are fewer.

    Of equal entries the earlier one is taken, so the choice depends neither on what comes later nor on the machine.

    Args:
        scores_TS: Floats or integers, ... x T x S.
        allowed_TS: bool, of the same shape or broadcastable to it.
        count: One number of at least 0, or one of at least 1 for each row, ... x T x 1.
    """
    lowest = -torch.inf if scores_TS.is_floating_point() else torch.iinfo(scores_TS.dtype).min
    scores_TS = scores_TS.detach().masked_fill(~allowed_TS, lowest)
    entries = scores_TS.shape[-1]
    if entries == 0 or (isinstance(count, int) and count < 1):
        return allowed_TS & torch.zeros_like(scores_TS, dtype=torch.bool)
    if isinstance(count, int):
        count = min(count, entries)
        bar_T1 = scores_TS.topk(count, -1).values[..., -1:]
    else:
        last_T1 = (count.clamp_max(entries) - 1).expand(*scores_TS.shape[:-1], 1)
        bar_T1 = scores_TS.sort(-1, descending=True).values.gather(-1, last_T1)
    above_TS, level_TS = scores_TS > bar_T1, scores_TS == bar_T1
    seats_T1 = count - above_TS.sum(-1, keepdim=True)
    return allowed_TS & (above_TS | (level_TS & (level_TS.cumsum(-1) <= seats_T1)))


def query_indices(qkv: QKV) -> Tensor:
    """Indices of the queries, T x 1."""
    return torch.arange(qkv.queries_BHTC.shape[-2], device=qkv.queries_BHTC.device)[:, None] + qkv.start


def key_indices(qkv: QKV) -> Tensor:
    """Indices of the keys, S."""
    return torch.arange(qkv.keys_BHSC.shape[-2], device=qkv.keys_BHSC.device)


def complete_blocks(tensor_SC: Tensor, block: int) -> Tensor:
    """The complete blocks of the tokens, N x block x C; what is left over at the end is in none."""
    blocks = tensor_SC.shape[-2] // block
    return tensor_SC[..., : blocks * block, :].unflatten(-2, (blocks, block))


def expand_blocks(blocks_TN: Tensor, keys_S: Tensor, block: int) -> Tensor:
    """What is said of complete blocks, said of each of their tokens, T x S; of the left-over tokens zero or False."""
    nothing_T1 = blocks_TN.new_zeros(*blocks_TN.shape[:-1], 1)
    padded_TN = torch.cat([blocks_TN, nothing_T1], dim=-1)
    return padded_TN[..., keys_S // block]


def checked_size(name: str, asked: int | None, usual: int, longest: int, unit: str = "tokens") -> int:
    """The asked size, or the usual one cut to what there is.

    Raises:
        InvalidValueError: more is asked for than the longest sequence of the run holds.
    """
    if asked is None:
        return min(usual, longest)
    if asked > longest:
        raise InvalidValueError(
            f"'{name}' cannot be {asked}: the longest sequence of the run has {longest} {unit}.",
            f"Use at most {longest}, or softmax, which sees everything.",
        )
    return asked
