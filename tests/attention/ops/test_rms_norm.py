"""The norm with a gain for each vector, against torch's own of single operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional

from attnlab.attention.ops.rms_norm import rms_norm

SHAPE = (3, 2, 5, 4)


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, dtype=torch.float64, generator=generator)


def composed(x_NC: Tensor, gain_N1: Tensor) -> Tensor:
    return gain_N1 * functional.rms_norm(x_NC, x_NC.shape[-1:], eps=torch.finfo(x_NC.dtype).eps)


@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e6])
@pytest.mark.parametrize("gain_shape", [(2, 1, 1), (), (3, 2, 5, 1)])
def test_values_and_gradients_are_those_of_torch(gain_shape: tuple[int, ...], scale: float) -> None:
    x, gain, upstream = drawn(*SHAPE, scale=scale), drawn(*gain_shape, seed=1), drawn(*SHAPE, seed=2)
    found = [tensor.clone().requires_grad_() for tensor in (x, gain)]
    wanted = [tensor.clone().requires_grad_() for tensor in (x, gain)]
    for function, inputs in ((rms_norm, found), (composed, wanted)):
        function(*inputs).backward(upstream)
    torch.testing.assert_close(rms_norm(x, gain), composed(x, gain), rtol=1e-12, atol=1e-12)
    for one, other in zip(found, wanted, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-12 * float(other.grad.abs().max()))


def test_gradients_are_those_of_small_changes() -> None:
    x, gain = drawn(2, 3, 4).requires_grad_(), drawn(3, 1, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(rms_norm, (x, gain), eps=1e-6, atol=1e-7)


def test_stacked_vectors_and_gains_give_what_each_gives_alone() -> None:
    x, gain, upstream = drawn(6, *SHAPE), drawn(6, 2, 1, 1, seed=1), drawn(*SHAPE, seed=2)

    def loss(x_NC: Tensor, gain_N1: Tensor) -> Tensor:
        return (rms_norm(x_NC, gain_N1) * upstream).sum()

    stacked = vmap(grad(loss, argnums=(0, 1)))(x, gain)
    for run in range(6):
        for all_runs, alone in zip(stacked, grad(loss, argnums=(0, 1))(x[run], gain[run]), strict=True):
            torch.testing.assert_close(all_runs[run], alone, rtol=1e-12, atol=1e-12)


def test_zeros_stay_zeros_with_a_finite_gradient() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    rms_norm(x).sum().backward()
    assert rms_norm(x).tolist() == [[0.0] * 4] * 2
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_bf16_is_normalized_in_float32() -> None:
    x = drawn(64, 32).to(torch.bfloat16)
    wanted = functional.rms_norm(x.float(), (32,), eps=torch.finfo(torch.bfloat16).eps)
    assert rms_norm(x).dtype == torch.bfloat16
    assert torch.equal(rms_norm(x), wanted.to(torch.bfloat16))
