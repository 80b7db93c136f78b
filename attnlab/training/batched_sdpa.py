"""Fused attention under vmap: the runs are folded into the batch, or into the heads, and the kernel is called once.

    K x B x H x T x C   ->   (K B) x H x T x C     without a bias, or with one per sequence
                        ->   B x (K H) x T x C     with a bias per run that all of its sequences share

Torch's own vmap rule calls the fused kernel once per run. This rule replaces it for every caller while runs are
stacked, so that no attention needs code for vmapped runs.

Letters  K vmapped runs, B batch, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


@final
class BatchedSDPAMode(TorchFunctionMode):
    """A context in which fused attention of stacked runs is one call of the kernel."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace fused attention; leave every other call of torch unchanged."""
        if func is functional.scaled_dot_product_attention:
            return _batched_sdpa(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batched_sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Pass the arguments of torch's fused attention on by position, as an autograd function takes them."""
    if dropout_p > 0:  # torch's own rule draws for each run; the fused kernels draw inside of themselves
        with sdpa_kernel(SDPBackend.MATH):
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
    return _BatchedSDPA.apply(query, key, value, attn_mask, is_causal, scale, enable_gqa)  # type: ignore[no-untyped-call]


class _BatchedSDPA(torch.autograd.Function):
    """Fused attention with a vmap rule of its own. It is called under vmap only."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        """Refuse a call without stacked runs."""
        raise AssertionError("batched fused attention is for stacked runs")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save nothing: torch requires this method, and the kernel below saves what its backward pass needs."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        """Compute the attention of all runs in one call of the kernel."""
        *tensors, is_causal, scale, enable_gqa = args
        runs = info.batch_size
        query, key, value = (
            _runs_first(tensor, dim, runs) for tensor, dim in zip(tensors[:3], in_dims[:3], strict=True)
        )
        options = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        mask, mask_dim = tensors[3], in_dims[3]
        attend: Callable[..., Tensor] = functional.scaled_dot_product_attention
        if mask is None or (mask_dim is None and _shared_by_sequences(mask)):
            output = attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), mask, **options)
            return output.unflatten(0, (runs, -1)), 0
        bias = _align_axes(_runs_first(mask, mask_dim, runs), query.ndim)
        if bias.shape[1] == 1 and query.ndim == 5:
            heads = [tensor.transpose(0, 1).flatten(1, 2) for tensor in (query, key, value)]
            expanded = bias.expand(-1, -1, query.shape[2], -1, -1).transpose(0, 1).flatten(1, 2)
            output = attend(*heads, expanded, **options)
            return output.unflatten(1, (runs, -1)).transpose(0, 1), 0
        expanded = bias.expand(-1, query.shape[1], *bias.shape[2:]).flatten(0, 1)
        output = attend(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), expanded, **options)
        return output.unflatten(0, (runs, -1)), 0


def _runs_first(tensor: Tensor, dim: int | None, runs: int) -> Tensor:
    """Make the runs the leading axis, also where all runs share one tensor."""
    return tensor.expand(runs, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _shared_by_sequences(mask: Tensor) -> bool:
    """Whether a mask is the same for all sequences."""
    return mask.ndim < 4 or mask.shape[0] == 1


def _align_axes(mask: Tensor, axes: int) -> Tensor:
    """Give a mask, runs leading, as many axes as the queries have."""
    return mask.reshape(mask.shape[0], *[1] * (axes - mask.ndim), *mask.shape[1:])
