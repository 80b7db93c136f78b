"""Second derivatives of fast paths: refused by every route of torch that asks for one, and right where they are not."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS
from attnlab.differentiation import differentiable_once
from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.builders import noise, pair_of


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x**3

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)  # type: ignore[attr-defined]

    @staticmethod
    @differentiable_once
    def backward(ctx: object, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad * 3 * x**2

    @staticmethod
    def vmap(info: object, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        return cube(x), in_dims[0]


def cube(x: Tensor) -> Tensor:
    result: Tensor = Cube.apply(x)  # type: ignore[no-untyped-call]
    return result


def test_first_derivatives_are_those_of_the_function() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for graph in (False, True):
        (grad,) = torch.autograd.grad(cube(x).sum(), x, create_graph=graph)
        assert grad.tolist() == [3.0, 12.0]
        assert grad.requires_grad == graph
    assert torch.func.grad(lambda x: cube(x).sum())(x.detach()).tolist() == [3.0, 12.0]
    assert torch.func.vmap(torch.func.grad(cube))(x.detach()).tolist() == [3.0, 12.0]


def test_second_derivatives_are_refused_by_every_route() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (grad,) = torch.autograd.grad(cube(x).sum(), x, create_graph=True)  # a gradient that is constant arrives
    with pytest.raises(RuntimeError, match=r"first derivatives alone.*fast = False"):
        torch.autograd.grad(grad.sum(), x)
    (grad,) = torch.autograd.grad(cube(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"first derivatives alone"):
        grad.sum().backward()
    one = torch.tensor(2.0)
    for twice in (torch.func.grad(torch.func.grad(cube)), torch.func.jacrev(torch.func.jacrev(cube))):
        with pytest.raises(RuntimeError, match=r"first derivatives alone"):
            twice(one)
    with pytest.raises(RuntimeError, match=r"first derivatives alone"):
        torch.func.vmap(torch.func.grad(torch.func.grad(cube)))(x.detach())


def second_derivative(name: str, position_name: str, *, fast: bool, dtype: torch.dtype) -> Tensor:
    attention, position = pair_of(Part(name=name), Part(name=position_name), length=70)
    attention, position = attention.to(dtype), position.to(dtype)
    attention.fast = fast
    x_BTD = noise(1, 70, 8).to(dtype).requires_grad_()
    out = attention(x_BTD, position, LayerInputs()).output_BTD
    (grad,) = torch.autograd.grad(out.sum(), x_BTD, create_graph=True)
    return torch.autograd.grad(grad.square().sum(), x_BTD)[0].double()


@pytest.mark.parametrize("position_name", ["none", "kerple"])
@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_second_derivatives_of_an_attention_are_right_or_refused(name: str, position_name: str) -> None:
    """By the fast path in float32, whose loops and blocks have first derivatives alone, and plain in float64."""
    if position_name == "kerple" and not ATTENTIONS.entry(name).cls.has_scores:
        return
    by_fast_path = None
    with suppress(RuntimeError):
        by_fast_path = second_derivative(name, position_name, fast=True, dtype=torch.float32)
    if by_fast_path is not None:
        plain = second_derivative(name, position_name, fast=False, dtype=torch.float64)
        assert float((plain - by_fast_path).norm()) <= 1e-2 * float(plain.norm()) + 1e-4


@pytest.mark.parametrize("name", ["softmax", "expressive", "delta", "dape"])
def test_the_refusal_of_an_attention_tells_what_to_do(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"first derivatives alone.*With `fast = False`"):
        second_derivative(name, "kerple" if name == "softmax" else "none", fast=True, dtype=torch.float32)
