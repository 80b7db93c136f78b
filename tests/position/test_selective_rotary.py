"""Selective rotary positions: angles are sums over tokens; constant ones are those of rotary."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from attnlab.position import Position
from attnlab.position.selective_rotary import AngleSteps, SelectiveRotary
from attnlab.rotation import rotate_heads, running_angles
from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.builders import model_of, noise, pair_of, position_of, tokens

EVERY = {"rank": 3, "base": 50.0, "gate": True, "bias": True}


def maps_of(position: Position, layer: int = 0) -> AngleSteps:
    """The maps of one layer."""
    assert isinstance(position, SelectiveRotary)
    maps = position.maps[layer]
    assert isinstance(maps, AngleSteps)
    return maps


@torch.no_grad()
def slow_angles(position: Position, x: Tensor) -> Tensor:
    """The angles of the first sequence, head by head, token by token, B = 1."""
    maps = maps_of(position)
    assert maps.bias_HW is not None
    assert maps.gate is not None
    assert maps.tap_D1K is not None
    length, heads, pairs = x.shape[1], maps.heads, maps.bias_HW.shape[1]
    unit = [x[0, t] / (x[0, t].square().sum() + 1e-6).sqrt() for t in range(length)]
    projected = [maps.widen.weight @ (maps.narrow.weight @ one) for one in unit]
    angles = torch.zeros(1, heads, length, pairs, dtype=x.dtype)
    for head in range(heads):
        for pair in range(pairs):
            channel, total = head * pairs + pair, 0.0
            for t in range(length):
                taps = range(min(4, t + 1))
                step = sum(float(maps.tap_D1K[channel, 0, 3 - back] * projected[t - back][channel]) for back in taps)
                step = step + math.exp(float(maps.bias_HW[head, pair]))
                step *= float((maps.gate.weight @ unit[t] + maps.gate.bias)[head].sigmoid())
                total += step * maps.base ** (-2 * pair / (2 * pairs))
                angles[0, head, t, pair] = total
    return angles


def rotated(tensor: Tensor, angles: Tensor) -> Tensor:
    """Pairs as complex numbers, times those of the angles."""
    first, second = tensor.chunk(2, -1)
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], -1)


def test_queries_and_keys_are_rotated_by_sums_of_their_tokens() -> None:
    position, x, queries = position_of("selective-rotary", EVERY).double(), noise(1, 7, 8), noise(1, 2, 7, 4, seed=1)
    with torch.no_grad():
        for weight in position.parameters():
            weight.copy_(noise(*weight.shape, seed=2))
    rotation = position.for_input(x, 0)
    expected = rotated(queries, slow_angles(position, x))
    torch.testing.assert_close(rotation.rotate(queries), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rotation.rotate_keys(queries), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rotation.rotate(queries[..., 3:5, :], 3), expected[..., 3:5, :], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("attention", ["softmax", "retention", "delta"])
def test_constant_steps_are_rotary(attention: str) -> None:
    options = {"bias": True, "base": 100.0}
    built, position = pair_of(Part(name=attention), Part(name="selective-rotary", options=options))
    nn.init.zeros_(maps_of(position).widen.weight)
    same, rotary = pair_of(Part(name=attention), Part(name="rotary", options={"base": 100.0}))
    x = noise(2, 80, 8)
    ours, theirs = built.prepare(x, position, LayerInputs()), same.prepare(x, rotary, LayerInputs())
    # Products depend on differences: rotary counts from 0, the sum from 1.
    product, expected = (qkv.queries_BHTC @ qkv.keys_BHSC.mT for qkv in (ours, theirs))
    torch.testing.assert_close(product, expected, rtol=1e-10, atol=1e-10)
    mixed = built.attend(ours, position)
    torch.testing.assert_close(mixed, same.attend(theirs, rotary), rtol=1e-9, atol=1e-9)


def test_products_depend_on_the_tokens_between_alone() -> None:
    position = position_of("selective-rotary", {"conv": False}).double()
    with torch.no_grad():
        maps_of(position).widen.weight.copy_(3 * noise(*maps_of(position).widen.weight.shape))
    x, vector = noise(1, 20, 8), noise(1, 2, 1, 4).expand(1, 2, 20, 4)
    rotation, shifted = position.for_input(x, 0), position.for_input(torch.cat([noise(1, 5, 8, seed=3), x], 1), 0)
    products = rotation.rotate(vector) @ rotation.rotate_keys(vector).mT
    longer = vector[:, :, :1].expand(1, 2, 25, 4)
    later = (shifted.rotate(longer) @ shifted.rotate_keys(longer).mT)[..., 5:, 5:]
    torch.testing.assert_close(products, later, rtol=1e-10, atol=1e-10)
    assert products.std() > 0.01


def test_long_sums_keep_their_digits_in_single_precision() -> None:
    steps = 1 + 0.5 * noise(1, 1, 5000, 2)
    exact, single = steps.float().double().cumsum(-2), running_angles(steps.float())
    assert single.max() < 80
    error = (single.double() - exact + math.pi) % (2 * math.pi) - math.pi
    assert error.abs().max() < 4e-5
    assert (steps.float().cumsum(-2).double() - exact).abs().max() > 1e-4
    torch.testing.assert_close(running_angles(steps).cos(), steps.cumsum(-2).cos(), rtol=0, atol=1e-9)


def test_shared_and_several_heads_have_the_angles_of_their_head() -> None:
    angles, shared, several = noise(2, 3, 5, 2), noise(2, 1, 5, 6), noise(2, 6, 5, 4, seed=1)
    turned = rotate_heads(shared, angles)
    for head in range(3):
        assert torch.equal(turned[:, head : head + 1], rotate_heads(shared, angles[:, head : head + 1]))
    assert torch.equal(turned[..., 4:], shared[..., 4:].expand(2, 3, 5, 2))
    turned = rotate_heads(several, angles)
    for head in range(6):
        own = angles[:, head // 2 : head // 2 + 1]
        assert torch.equal(turned[:, head : head + 1], rotate_heads(several[:, head : head + 1], own))
    branches = noise(2, 4, 3, 5, 4, seed=2)
    turned = rotate_heads(branches, angles)
    for branch in range(4):
        assert torch.equal(turned[:, branch], rotate_heads(branches[:, branch], angles))


def test_a_step_in_bf16_computes_angles_in_single_precision() -> None:
    position, x = position_of("selective-rotary", EVERY), noise(1, 9, 8, dtype=torch.float32)
    expected = position.for_input(x, 0).rotate(noise(1, 2, 9, 4, dtype=torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        turned = position.for_input(x, 0).rotate(noise(1, 2, 9, 4, dtype=torch.float32))
    assert torch.equal(turned, expected)


def test_every_layer_has_maps_of_its_own() -> None:
    model, inputs = model_of(position=Part(name="selective-rotary")), tokens(2, 6)
    before = model(inputs, None, trace=True).trace[0].scores_BHTS
    with torch.no_grad():
        maps_of(model.position, 1).widen.weight.mul_(-2.0)
    after = model(inputs, None, trace=True).trace[0].scores_BHTS
    assert torch.equal(before[0][0], after[0][0])
    assert (before[1][0] - after[1][0]).abs().max() > 1e-3
