"""Fused attention of stacked runs: one call of the kernel, with the results of each run alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from attnlab.training.batched_sdpa import BatchedSDPAMode

K, B, H, T, C = 3, 2, 4, 5, 6
MASKS: list[tuple[tuple[int, ...], int | None]] = [
    ((T, T), None),
    ((H, T, T), None),
    ((1, H, T, T), None),
    ((B, H, T, T), None),
    ((K, T, T), 0),
    ((K, H, T, T), 0),
    ((K, 1, H, T, T), 0),
    ((K, B, 1, T, T), 0),
    ((K, B, H, T, T), 0),
    ((H, K, T, T), 1),
]


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check_equal(
    key_heads: int, mask: Tensor | None = None, axis: int | None = None, shared: int | None = None, **options: Any
) -> None:
    """Outputs and gradients of stacked runs equal those of each run alone."""
    tensors = [noise(K, B, heads, T, C, seed=index) for index, heads in enumerate((H, key_heads, key_heads))]
    axes: list[int | None] = [0, 0, 0]
    if shared is not None:
        tensors[shared], axes[shared] = tensors[shared][0], None
    inputs = [*tensors, *([] if mask is None else [mask])]
    for tensor in inputs:
        tensor.requires_grad_()

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, bias, **options)

    with BatchedSDPAMode():
        stacked = vmap(attend, in_dims=(*axes, *([] if mask is None else [axis])))(*inputs)
    all_axes = [*axes, axis]
    alone = torch.stack(
        [
            attend(*(one if dim is None else one.select(dim, run) for one, dim in zip(inputs, all_axes, strict=False)))
            for run in range(K)
        ]
    )
    torch.testing.assert_close(stacked, alone, rtol=1e-12, atol=1e-12)
    weight = noise(*alone.shape, seed=9)
    grads = [torch.autograd.grad((output * weight).sum(), inputs) for output in (stacked, alone)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("key_heads", [H, 2])
def test_without_a_mask_runs_are_folded_into_the_batch(causal: bool, key_heads: int) -> None:
    check_equal(key_heads, is_causal=causal, enable_gqa=key_heads < H, scale=0.3)


@pytest.mark.parametrize(("shape", "axis"), MASKS)
def test_masks_of_every_rank_belong_to_their_run(shape: tuple[int, ...], axis: int | None) -> None:
    check_equal(H, noise(*shape, seed=5), axis)


def test_fewer_key_heads_work_with_a_mask_per_run() -> None:
    check_equal(2, noise(K, 1, H, T, T, seed=5), 0, enable_gqa=True)


@pytest.mark.parametrize("shared", [0, 1, 2])
def test_a_tensor_that_all_runs_share_needs_no_axis(shared: int) -> None:
    check_equal(H, shared=shared, is_causal=True)


class Calls(TorchDispatchMode):
    """Counts calls of fused kernels."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fused = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.fused += "_scaled_dot_product" in str(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("masked", [False, True])
def test_the_kernel_is_called_once_for_all_runs(masked: bool) -> None:
    tensors = [noise(K, B, H, T, C, seed=index).float() for index in range(3)]
    masks = [noise(K, H, T, T, seed=4).float()] if masked else []
    with Calls() as calls, BatchedSDPAMode(), torch.no_grad():
        vmap(lambda *each: functional.scaled_dot_product_attention(*each))(*tensors, *masks)
    assert calls.fused == 1


def test_other_functions_are_unchanged() -> None:
    with BatchedSDPAMode():
        result = vmap(functional.softmax, in_dims=(0, None))(noise(K, T, seed=0), -1)
    torch.testing.assert_close(result, noise(K, T, seed=0).softmax(-1))
