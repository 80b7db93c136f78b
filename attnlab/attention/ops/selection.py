"""Selection in sparse attention: the highest allowed scores, blocks of tokens, sizes that fit the run.

Scores of equal tokens differ by rounding, because matrix products round a row by its place in the matrix. A selection
that compares them exactly would depend on the length of the sequence and on the processor. Scores that differ by no
more than rounding are therefore equal.

Letters  T queries, S keys, N blocks, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.errors import InvalidValueError

EQUAL_ROUNDINGS = 256
"""Scores are equal if they differ by at most this many roundings of the largest score of the row. A projection and a
product of some hundred channels err by tens of roundings."""


def top_k_mask(scores_TS: Tensor, allowed_TS: Tensor, count: int | Tensor) -> Tensor:
    """The ``count`` highest allowed entries of each row, or all of them where there are fewer.

    Entries that are equal up to rounding to the last one selected are taken in their order, the earliest first. The
    selection therefore depends neither on later entries nor on the machine.

    Args:
        scores_TS: Floats or integers, ... x T x S.
        allowed_TS: bool, of the same shape or broadcastable to it.
        count: One number of at least 0, or one of at least 1 for each row, ... x T x 1.

    Returns:
        bool, ... x T x S; True at the selected entries.
    """
    lowest = -torch.inf if scores_TS.is_floating_point() else torch.iinfo(scores_TS.dtype).min
    scores_TS = scores_TS.detach().masked_fill(~allowed_TS, lowest)
    entries = scores_TS.shape[-1]
    if entries == 0 or (isinstance(count, int) and count < 1):
        return allowed_TS & torch.zeros_like(scores_TS, dtype=torch.bool)
    if isinstance(count, int):
        count = min(count, entries)
        threshold_T1 = scores_TS.topk(count, -1).values[..., -1:]
    else:
        last_T1 = (count.clamp_max(entries) - 1).expand(*scores_TS.shape[:-1], 1)
        threshold_T1 = scores_TS.sort(-1, descending=True).values.gather(-1, last_T1)
    margin_T1 = _rounding_margin(scores_TS, allowed_TS)
    above_TS, tied_TS = scores_TS > threshold_T1 + margin_T1, scores_TS >= threshold_T1 - margin_T1
    tied_TS = tied_TS & ~above_TS
    num_tied_T1 = count - above_TS.sum(-1, keepdim=True)
    return allowed_TS & (above_TS | (tied_TS & (tied_TS.cumsum(-1) <= num_tied_T1)))


def _rounding_margin(scores_TS: Tensor, allowed_TS: Tensor) -> Tensor | int:
    """The largest difference of scores that are equal up to rounding, ... x T x 1; zero for integers."""
    if not scores_TS.is_floating_point():
        return 0
    largest_T1 = scores_TS.masked_fill(~allowed_TS, 0.0).abs().amax(-1, keepdim=True)
    return EQUAL_ROUNDINGS * torch.finfo(scores_TS.dtype).eps * largest_T1


def complete_blocks(tensor_SC: Tensor, block: int) -> Tensor:
    """Tokens in complete blocks; the remainder at the end is dropped.

    Args:
        tensor_SC: ... x S x C.
        block: Tokens per block.

    Returns:
        ... x N x block x C.
    """
    blocks = tensor_SC.shape[-2] // block
    return tensor_SC[..., : blocks * block, :].unflatten(-2, (blocks, block))


def expand_blocks(blocks_TN: Tensor, keys_S: Tensor, block: int) -> Tensor:
    """The value of each complete block, repeated for each of its tokens.

    Args:
        blocks_TN: Values of the complete blocks, ... x T x N.
        keys_S: Indices of the keys.
        block: Tokens per block.

    Returns:
        ... x T x S; zero or False at tokens after the last complete block.
    """
    zero_T1 = blocks_TN.new_zeros(*blocks_TN.shape[:-1], 1)
    padded_TN = torch.cat([blocks_TN, zero_T1], dim=-1)
    return padded_TN[..., keys_S // block]


def checked_size(name: str, size: int | None, default: int, longest: int, unit: str = "tokens") -> int:
    """A size given as an option, or the default cut to the longest sequence.

    Args:
        name: The option, for the message.
        size: The size given; None is the default.
        default: The size where none is given.
        longest: The most that fits the longest sequence of the run.
        unit: What is counted, for the message.

    Returns:
        The size.

    Raises:
        InvalidValueError: the size given is larger than the longest sequence of the run.
    """
    if size is None:
        return min(default, longest)
    if size > longest:
        raise InvalidValueError(
            f"'{name}' cannot be {size}: the longest sequence of the run has {longest} {unit}.",
            f"Use at most {longest}, or softmax, which attends to all tokens.",
        )
    return size
