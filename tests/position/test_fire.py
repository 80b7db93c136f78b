"""FIRE against an explicit loop; positions count from the start of the sequence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from attnlab.position import Position
from attnlab.position.fire import DistanceMlp
from attnlab.specs import Part
from tests.builders import model_of, noise, position_of
from tests.position.biases import bias_of, chunked, random_qkv, randomize


def expected(position: Position, i: int, j: int, threshold: float) -> list[float]:
    rate, reach = (float(position.get_parameter(f"curves.0.{name}")) for name in ("rate", "reach"))
    weights = ("rise_W", "rise_bias_W", "fall_HW", "fall_bias_H")
    up, up_bias, down, down_bias = (position.get_parameter(f"curves.0.{name}").tolist() for name in weights)
    normalizer = math.log(abs(rate) * max(i, abs(reach) * threshold) + 1) + 1e-6
    relative = math.log(abs(rate) * (i - j) + 1) / normalizer
    hidden = [max(0.0, w * relative + b) for w, b in zip(up, up_bias, strict=True)]
    return [sum(w * h for w, h in zip(row, hidden, strict=True)) + b for row, b in zip(down, down_bias, strict=True)]


@pytest.mark.parametrize("threshold", [3.0, 512.0])
@torch.no_grad()
def test_the_bias_is_the_formula(threshold: float) -> None:
    position, qkv = randomize(position_of("fire", {"threshold": threshold}).double()), random_qkv()
    bias = bias_of(position, qkv)
    assert bias.shape == (2, 9, 9)
    for i in range(9):
        for j in range(i + 1):
            assert bias[:, i, j].tolist() == pytest.approx(expected(position, i, j, threshold), abs=1e-12)


def test_the_bias_of_a_chunk_is_that_of_its_rows() -> None:
    position, qkv = randomize(position_of("fire", {"threshold": 2.0}).double()), random_qkv()
    torch.testing.assert_close(chunked(position, qkv, 5), bias_of(position, qkv)[:, 5:], rtol=1e-13, atol=1e-13)


def test_relative_distances_lie_between_zero_and_one_at_every_length() -> None:
    mlp = position_of("fire", {"threshold": 16.0}).double().get_submodule("curves.0")
    assert isinstance(mlp, DistanceMlp)
    for length in (1, 7, 300):
        distances = (torch.arange(length)[:, None] - torch.arange(length)).clamp_min(0).double()
        relative = mlp.relative_distance(distances, 0).detach()
        assert relative.min() == 0
        assert relative.max() <= 1
        if length == 300:
            assert float(relative[-1, 0]) == pytest.approx(1.0, abs=1e-6)


@torch.no_grad()
def test_it_is_initialized_as_pytorchs_linear_layers() -> None:
    position = position_of("fire", {"width": 400}, width=800, heads=400)
    mlp = position.get_submodule("curves.0")
    assert [float(mlp.get_parameter(name)) for name in ("rate", "reach")] == pytest.approx([0.1, 1.0])
    for names, layer in (
        (("rise_W", "rise_bias_W"), nn.Linear(1, 400)),
        (("fall_HW", "fall_bias_H"), nn.Linear(400, 400)),
    ):
        for name, reference in zip(names, layer.parameters(), strict=True):
            assert mlp.get_parameter(name).std().item() == pytest.approx(reference.std().item(), rel=0.1)
            assert mlp.get_parameter(name).abs().max().item() == pytest.approx(reference.abs().max().item(), rel=0.05)


def test_each_layer_has_its_own_mlp_and_every_parameter_has_a_gradient() -> None:
    position = model_of(position=Part(name="fire"), layers=3).position
    assert sum(weight.numel() for weight in position.parameters()) == 3 * (32 + 32 + 2 * 32 + 2 + 2)
    qkv = random_qkv()
    assert not torch.equal(bias_of(position, qkv, 0), bias_of(position, qkv, 2))
    (bias_of(position, qkv, 1) * noise(9, 9)).sum().backward()
    changed = {name for name, weight in position.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert changed == {name for name, _ in position.named_parameters() if name.startswith("curves.1.")}
