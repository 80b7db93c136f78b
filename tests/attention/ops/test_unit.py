"""Vectors of unit length and heads of unit size: the compiled loops against torch's operations in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attnlab.attention.ops import loops
from attnlab.attention.ops.unit import head_norm, unit_length
from attnlab.training.environment import torch_threads
from tests.builders import noise

SHAPE = (3, 2, 7, 5)
FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "unit_length": lambda x, _: unit_length(x),
    "head_norm": head_norm,
}
LOOPS = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")


def drawn(*shape: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Vectors and a gain, in float32."""
    x = scale * noise(*shape, dtype=torch.float32)
    return x.requires_grad_(), noise(shape[-1], seed=1, dtype=torch.float32).requires_grad_()


def differentiated(name: str, x: Tensor, gain: Tensor) -> list[Tensor]:
    y = FUNCTIONS[name](x, gain)
    used = [x, gain] if name == "head_norm" else [x]
    return [y.detach(), *torch.autograd.grad(y, used, noise(*y.shape, seed=2).to(y.dtype))]


def exact(name: str, x: Tensor, gain: Tensor) -> list[Tensor]:
    """By torch's operations, since no loop computes float64."""
    return differentiated(name, *(one.detach().double().requires_grad_() for one in (x, gain)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vectors_have_the_length_of_the_formula(name: str) -> None:
    x, gain = noise(*SHAPE), noise(5, seed=1)
    squares = x.square().sum(-1, keepdim=True)
    expected = x / (squares + 1e-6).sqrt() if name == "unit_length" else gain * x / (squares / 5 + 1e-5).sqrt()
    torch.testing.assert_close(FUNCTIONS[name](x, gain), expected, rtol=1e-12, atol=1e-12)


@LOOPS
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e6])
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 1, 2), (2, 3, 33, 32)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_those_in_float64(name: str, shape: tuple[int, ...], scale: float) -> None:
    x, gain = drawn(*shape, scale=scale)
    for one, other in zip(differentiated(name, x, gain), exact(name, x, gain), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=2e-6 * float(other.abs().max()))


@LOOPS
@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_may_be_laid_out_in_any_way(name: str) -> None:
    x, gain = drawn(*SHAPE)
    expected = differentiated(name, x, gain)
    for turned in (x.detach().transpose(1, 2).contiguous().transpose(1, 2), x.detach().mT.contiguous().mT):
        results = differentiated(name, turned.requires_grad_(), gain)
        assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))


@LOOPS
@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmapped_runs_have_the_digits_of_single_ones(name: str) -> None:
    leaves = [noise(4, *SHAPE).float().requires_grad_(), noise(4, 5, seed=1).float().requires_grad_()]
    used, upstream = leaves[: 1 + (name == "head_norm")], noise(4, *SHAPE, seed=2).float()
    together = torch.func.vmap(FUNCTIONS[name])(*leaves)
    alone = torch.stack([FUNCTIONS[name](*(one[run] for one in leaves)) for run in range(4)])
    assert torch.equal(together, alone)
    grads = [torch.autograd.grad(outputs, used, upstream) for outputs in (together, alone)]
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


@LOOPS
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_way_back_within_stacked_runs_is_that_of_each(name: str) -> None:
    """Blocks of queries that are computed again take a derivative inside of a vmapped backward pass."""
    x, gain, upstream = noise(4, *SHAPE).float(), noise(4, 5, seed=1).float(), noise(*SHAPE, seed=2).float()

    def pulled(one: Tensor, own: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.func.vjp(FUNCTIONS[name], one, own)[1](upstream))

    stacked = torch.func.vmap(pulled)(x, gain)
    for run in range(4):
        for together, alone in zip(stacked, pulled(x[run], gain[run]), strict=True):
            assert torch.equal(together[run], alone)


@LOOPS
def test_digits_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SHARE", 1)
    results = []
    for threads in (1, 3):
        with torch_threads(threads):
            results.append(differentiated("head_norm", *drawn(*SHAPE)))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_zeros_stay_zeros_with_a_finite_gradient(name: str) -> None:
    x, gain = torch.zeros(1, 1, 2, 4, requires_grad=True), torch.ones(4, requires_grad=True)
    y, *grads = differentiated(name, x, gain)
    assert not y.any()
    assert all(grad.isfinite().all() for grad in grads)


@LOOPS
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_not_a_number_stays_so(name: str) -> None:
    x, gain = torch.full((1, 1, 1, 3), torch.nan), torch.ones(3)
    assert FUNCTIONS[name](x, gain).isnan().all()
