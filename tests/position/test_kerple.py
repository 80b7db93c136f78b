"""KERPLE: both penalties against an explicit loop, the published initialization, gradients at distance zero."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.position import POSITIONS
from attnlab.position.kerple import bounded, positive
from attnlab.specs import Part
from tests.builders import layer_context, model_of, position_of, seeded
from tests.position.biases import bias_of, chunked, random_qkv, randomize


def expected_values(kind: str, layer: int, heads: int = 2) -> tuple[list[float], list[float]]:
    """p and a of the position with random parameters."""
    position = randomize(position_of("kerple", {"kind": kind}, heads=heads).double())
    p, a = (position.get_parameter(f"{name}_LH.{layer}").tolist() for name in "pa")
    soft = [0.01 + math.log1p(math.exp(free)) for free in a]
    if kind == "log":
        return [0.01 + math.log1p(math.exp(free)) for free in p], soft
    return [0.01 + 1.99 / (1 + math.exp(-free)) for free in p], soft


@pytest.mark.parametrize("kind", ["log", "power"])
@torch.no_grad()
def test_the_penalty_is_the_formula(kind: str) -> None:
    position, qkv = randomize(position_of("kerple", {"kind": kind}).double()), random_qkv()
    p, a = expected_values(kind, 0)
    bias = bias_of(position, qkv)
    for head in range(2):
        for i in range(9):
            for j in range(i + 1):
                log = -p[head] * math.log(1 + a[head] * (i - j))
                power = -a[head] * (i - j) ** p[head]
                assert float(bias[head, i, j]) == pytest.approx(log if kind == "log" else power, rel=1e-12)
    assert torch.equal(chunked(position, qkv, 4), bias[:, 4:])


@pytest.mark.parametrize("kind", ["log", "power"])
def test_initial_values_are_uniform(kind: str) -> None:
    position = position_of("kerple", {"kind": kind}, width=2000, heads=1000)
    p = (positive if kind == "log" else bounded)(position.get_parameter("p_LH.0").detach())
    a = positive(position.get_parameter("a_LH.0").detach())
    quarters = torch.tensor([0.25, 0.5, 0.75])
    torch.testing.assert_close(p.quantile(quarters), 2 * quarters, rtol=0, atol=0.1)
    torch.testing.assert_close(a.quantile(quarters), quarters, rtol=0, atol=0.05)
    assert 0.01 < p.min() < p.max() < 2
    assert 0.01 < a.min() < a.max() < 1.0001


@pytest.mark.parametrize("kind", ["log", "power"])
def test_gradients_are_finite_at_distance_zero_and_at_large_distances(kind: str) -> None:
    position = position_of("kerple", {"kind": kind})
    bias_of(position, random_qkv(300, batch=1)).sum().backward()
    for weight in position.parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all()
        assert weight.grad.all()


def test_each_layer_has_its_own_vectors() -> None:
    model = model_of(position=Part(name="kerple"), layers=3)
    shapes = {name: tuple(weight.shape) for name, weight in model.position.named_parameters()}
    assert shapes == {f"{name}_LH.{layer}": (2,) for name in "pa" for layer in range(3)}
    qkv = random_qkv()
    assert not torch.equal(bias_of(model.position, qkv, 0), bias_of(model.position, qkv, 2))


def test_initial_values_depend_on_the_contexts_generator_alone() -> None:
    before = torch.get_rng_state()
    cls = POSITIONS.entry("kerple").cls
    one, two = (cls(layer_context(seed=3)).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)
    assert seeded(3).initial_seed() == 3
