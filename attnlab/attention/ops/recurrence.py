"""The recurrence of a state that decays, is corrected, is written to and is read, token by token.

    S_t = (I - e_t r_t^T) Diag(a_t) S_(t-1) + k_t v_t^T,   o_t = S_t^T q_t

with k = e in a delta rule, and without e and r in linear attention. Time grows linearly in T, and so does memory. Loops
over chunks of few tokens, whose numbers stay in the cache of a core, are compiled; without numba, and for all but
float32 on a CPU, the scans of :mod:`attnlab.attention.ops.scan` and :mod:`attnlab.attention.ops.delta_rule` compute the
same numbers but for their rounding.

Letters  B batch, H heads, T tokens, C channels of keys, V of values, N numbers of log a: 0, 1 or C.
"""

from __future__ import annotations

from typing import final

import numpy as np
from torch import Tensor

from attnlab.attention.ops import loops
from attnlab.attention.ops.looped import Tensors, looped
from attnlab.attention.ops.tiles import empty_like_heads

MOST_CHANNELS = 256
"""Most channels of keys of a compiled loop."""


def usable(*tensors: Tensor | None) -> bool:
    """Decide whether compiled loops compute a recurrence.

    Args:
        *tensors: The queries, all others that there are, and last the values.

    Returns:
        True for float32 on a CPU with numba, and keys of at most :data:`MOST_CHANNELS` channels.
    """
    there = [one for one in tensors if one is not None]
    return there[0].shape[-1] <= MOST_CHANNELS and there[-1].ndim == 4 and loops.usable(*there)


def recurrent_outputs(
    queries_BHTC: Tensor,
    values_BHTV: Tensor,
    *,
    keys_BHTC: Tensor | None = None,
    log_decays_BHTN: Tensor | None = None,
    removals_BHTC: Tensor | None = None,
    erasures_BHTC: Tensor | None = None,
) -> Tensor:
    """Compute o for all tokens by compiled loops.

    Args:
        queries_BHTC: q; it and all others as :func:`usable` demands, or without some of the first axes.
        values_BHTV: v, with all axes.
        keys_BHTC: k; None where it is e.
        log_decays_BHTN: log a, at most 0; N is C, or 1 where channels decay alike; None without decay.
        removals_BHTC: r; None where nothing is erased.
        erasures_BHTC: e, or with one channel the strength b where e = b r; None where nothing is erased.

    Returns:
        B x H x T x V.
    """
    tensors = (queries_BHTC, removals_BHTC, erasures_BHTC, keys_BHTC, log_decays_BHTN)
    there = [values_BHTV[..., :0] if one is None else one for one in tensors]
    shape = values_BHTV.shape[:-1]
    return looped(_ChunkLoops(), *(one.expand(*shape, one.shape[-1]) for one in there), values_BHTV)


@final
class _ChunkLoops:
    """o; of q, r, e (or b), k, log a and v, of which those of no channels are not there."""

    def forward(self, *tensors: Tensor) -> Tensor:
        """Compute o."""
        outputs = empty_like_heads(tensors[-1])
        _run(0, tensors, (outputs,))
        return outputs

    def backward(self, tensors: Tensors, result: Tensor, grad: Tensor) -> Tensors:
        """Compute the states again, and the gradients of all tensors."""
        grads = tuple(empty_like_heads(one) for one in tensors)
        _run(1, tensors, (grad, *grads))
        return grads


def _run(which: int, inputs: Tensors, others: Tensors) -> None:
    """Call the forward pass (0) or the backward pass (1) for its tensors."""
    from attnlab.attention.ops.recurrence_loops import SEGMENT, Sizes, backward, forward

    queries, removals, erasures, keys, log_decays, values = inputs
    decays = log_decays.exp()
    batch, heads, tokens, channels = queries.shape
    there = bool(removals.shape[-1]), bool(keys.shape[-1])
    strengths = 0 < erasures.shape[-1] < channels
    sizes = Sizes(heads, tokens, channels, values.shape[-1], decays.shape[-1], *there, strengths)
    memories, strides = zip(
        *(loops.memory_of(one) for one in (queries, removals, erasures, keys, decays, values, *others)), strict=True
    )
    loops.in_threads(
        (forward, backward)[which],
        [np.arange(batch * heads)[:, None]],
        4 * (1 + 3 * which) * queries.numel() * values.shape[-1],
        np.array(sizes),
        loops.segment_of(tokens, SEGMENT),
        np.array(strides),
        *memories,
    )
