"""Fused attention under vmap: lanes are folded into the batch, or into the heads, and the kernel runs once for all.

    K x B x H x T x C   ->   (K B) x H x T x C     no bias, or one for each sequence
                        ->   B x (K H) x T x C     a bias for each lane that all of its sequences share

Torch's own rule for its fused attention runs the kernel lane by lane; this one is put in its place for as long as
lanes are stacked, whoever calls it, so that no attention has to know of lanes.

Letters  K lanes, B batch, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@final
class BatchedSDPAMode(TorchFunctionMode):
    """Within it, fused attention of stacked lanes is one call of the kernel."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Every call of torch passes here; all but one pass through."""
        if func is functional.scaled_dot_product_attention:
            return _folded(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _folded(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """The arguments of torch's fused attention, in an order that can be told apart by number."""
    assert dropout_p == 0.0, "models hold no dropout"
    return _Fold.apply(query, key, value, attn_mask, is_causal, scale, enable_gqa)  # type: ignore[no-untyped-call]


class _Fold(torch.autograd.Function):
    """Fused attention whose rule for stacked lanes is written here; alone it is never called."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        """Without lanes there is nothing to fold."""
        raise AssertionError("folding is for stacked lanes")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Torch asks for one where there is a rule; the kernel below keeps what it needs."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        """One call for all lanes."""
        *tensors, is_causal, scale, enable_gqa = args
        runs = info.batch_size
        query, key, value = (_first(one, dim, runs) for one, dim in zip(tensors[:3], in_dims[:3], strict=True))
        how = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        mask, mask_dim = tensors[3], in_dims[3]
        attend: Callable[..., Tensor] = functional.scaled_dot_product_attention
        if mask is None or (mask_dim is None and _shared(mask)):
            folded = attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), mask, **how)
            return folded.unflatten(0, (runs, -1)), 0
        bias = _aligned(_first(mask, mask_dim, runs), query.ndim)
        if bias.shape[1] == 1 and query.ndim == 5:
            heads = [one.transpose(0, 1).flatten(1, 2) for one in (query, key, value)]
            wide = bias.expand(-1, -1, query.shape[2], -1, -1).transpose(0, 1).flatten(1, 2)
            folded = attend(*heads, wide, **how)
            return folded.unflatten(1, (runs, -1)).transpose(0, 1), 0
        wide = bias.expand(-1, query.shape[1], *bias.shape[2:]).flatten(0, 1)
        folded = attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), wide, **how)
        return folded.unflatten(0, (runs, -1)), 0


def _first(tensor: Tensor, dim: int | None, runs: int) -> Tensor:
    """The lanes as the leading axis, also where all share one tensor."""
    return tensor.expand(runs, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _shared(mask: Tensor) -> bool:
    """Whether a mask says the same of all sequences."""
    return mask.ndim < 4 or mask.shape[0] == 1


def _aligned(mask: Tensor, axes: int) -> Tensor:
    """A mask with the lanes leading and as many axes as what it masks."""
    return mask.reshape(mask.shape[0], *[1] * (axes - mask.ndim), *mask.shape[1:])
