"""The norm with a gain for each vector, against torch's own of single operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional

from attnlab.attention.ops import loops
from attnlab.attention.ops.rms_norm import rms_norm
from attnlab.training.environment import torch_threads

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


HEADS = (3, 2, 7, 5)
LOOPS = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")


def looped(x_BHTC: Tensor, gain_H11: Tensor | None, upstream: Tensor) -> list[Tensor]:
    """The norm in float32, by loops where they can be used, and its gradients."""
    leaves = [one.float().requires_grad_() for one in (x_BHTC, gain_H11) if one is not None]
    y = rms_norm(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream.float())]


def formula(x_BHTC: Tensor, gain_H11: Tensor | None, upstream: Tensor) -> list[Tensor]:
    """The same in float64 by torch's operations, with the eps of float32."""
    leaves = [one.clone().requires_grad_() for one in (x_BHTC, gain_H11) if one is not None]
    normed = functional.rms_norm(leaves[0], x_BHTC.shape[-1:], eps=torch.finfo(torch.float32).eps)
    y = normed * leaves[1] if len(leaves) == 2 else normed
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream)]


@LOOPS
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e6])
@pytest.mark.parametrize("shape", [HEADS, (1, 1, 1, 2), (2, 3, 33, 32)])
@pytest.mark.parametrize("gained", [True, False])
def test_loops_compute_the_formula(gained: bool, shape: tuple[int, ...], scale: float) -> None:
    x, upstream = drawn(*shape, scale=scale).float().double(), drawn(*shape, seed=2).float().double()
    gain = drawn(shape[1], 1, 1, seed=1).float().double() if gained else None
    for one, other in zip(looped(x, gain, upstream), formula(x, gain, upstream), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=2e-6 * float(other.abs().max()))


@LOOPS
@pytest.mark.parametrize("gained", [True, False])
def test_loops_take_memory_of_any_layout_and_any_number_of_threads(
    gained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, gain, upstream = drawn(*HEADS), drawn(2, 1, 1, seed=1) if gained else None, drawn(*HEADS, seed=2)
    expected = looped(x, gain, upstream)
    turned = x.transpose(1, 2).contiguous().transpose(1, 2)
    monkeypatch.setattr(loops, "SHARE", 1)
    for threads in (1, 3):
        with torch_threads(threads):
            for one, other in zip(looped(turned, gain, upstream), expected, strict=True):
                assert torch.equal(one, other)


@LOOPS
def test_loops_give_stacked_runs_the_digits_of_each() -> None:
    x, gain, upstream = drawn(4, *HEADS).float(), drawn(4, 2, 1, 1, seed=1).float(), drawn(*HEADS, seed=2).float()

    def loss(x_BHTC: Tensor, gain_H11: Tensor) -> Tensor:
        return (rms_norm(x_BHTC, gain_H11) * upstream).sum() + (rms_norm(x_BHTC) * upstream).sum()

    stacked = vmap(grad(loss, argnums=(0, 1)))(x, gain)
    for run in range(4):
        for all_runs, alone in zip(stacked, grad(loss, argnums=(0, 1))(x[run], gain[run]), strict=True):
            torch.testing.assert_close(all_runs[run], alone, rtol=1e-6, atol=1e-7)
