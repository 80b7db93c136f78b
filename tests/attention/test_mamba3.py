"""Mamba-3: the trapezoidal step, the rotation, their special cases, and the initialization."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.mamba3 import Clock, Mamba3, Writes, trapezoidal_scan
from attnlab.attention.ops.scan import scan
from attnlab.position import Position
from attnlab.rotation import rotate_heads
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, layer_context, noise, pair_of


def built(tokens: int, options: dict[str, Any] | None = None) -> tuple[Mamba3, Position, QKV, Tensor]:
    """With noise in everything that starts constant."""
    attention, position = pair_of(Part(name="mamba3", options={"state": 6, **(options or {})}), Part(name="none"))
    assert isinstance(attention, Mamba3)
    with torch.no_grad():
        for seed, weight in enumerate(attention.parameters()):
            if weight.ndim == 1 or weight.shape == (2, 6):
                weight.add_(0.3 * noise(*weight.shape, seed=seed))
    x_BTD = noise(1, tokens, 8)
    return attention, position, attention.prepare(x_BTD, position, LayerInputs()), x_BTD[0]


@torch.no_grad()
def recurrence(attention: Mamba3, x_TD: Tensor) -> Tensor:
    """The outputs of a loop over tokens and heads, H x T x V, with pairs of channels as complex numbers."""
    clock, heads, turned = attention.clock, 2, attention.clock.angle.out_features
    outputs = []
    for head in range(heads):
        state, last = torch.zeros(6, 8, dtype=torch.float64), torch.zeros(6, 8, dtype=torch.float64)
        angle, rows = torch.zeros(turned, dtype=torch.float64), []
        for x_D in x_TD:
            step = math.log1p(math.exp(float(clock.step.weight[head] @ x_D + clock.start_H[head])))
            rate = max(math.log1p(math.exp(float(clock.rate.weight[head] @ x_D))), 1e-4)
            share = 1 / (1 + math.exp(-float(clock.share.weight[head] @ x_D)))
            angle = angle + step * math.pi * torch.tanh(clock.angle.weight @ x_D)
            vectors = []
            for map_ND, gain_N, bias_HN in (
                (attention.query.weight, attention.query_gain_N, attention.query_bias_HN),
                (attention.key.weight, attention.key_gain_N, attention.key_bias_HN),
            ):
                raw = map_ND @ x_D
                vector = raw / raw.square().mean().sqrt() * gain_N + bias_HN[head]
                pair = torch.complex(vector[:turned], vector[turned : 2 * turned])
                pair = pair * torch.polar(torch.ones_like(angle), angle)
                vectors.append(torch.cat([pair.real, pair.imag, vector[2 * turned :]]))
            query, key = vectors
            value = (attention.value.weight @ x_D)[8 * head : 8 * head + 8]
            remaining, now = math.exp(-step * rate), torch.outer(key, value)
            state = remaining * state + (1 - share) * step * remaining * last + share * step * now
            last = now
            rows.append(query @ state + attention.skip_H[head] * value)
        outputs.append(torch.stack(rows))
    return torch.stack(outputs)


@pytest.mark.parametrize("options", [{}, {"rotated": 1}, {"state": 6, "expand": 2}])
@pytest.mark.parametrize("tokens", [1, 9, 150])
def test_the_output_is_that_of_a_loop(tokens: int, options: dict[str, Any]) -> None:
    attention, position, qkv, x_TD = built(tokens, options)
    expected = recurrence(attention, x_TD)
    torch.testing.assert_close(attention.attend(qkv, position)[0], expected, rtol=1e-10, atol=1e-10)
    attention.fast = False
    torch.testing.assert_close(attention.attend(qkv, position)[0], expected, rtol=1e-10, atol=1e-10)


def test_with_a_share_of_one_and_no_angles_it_is_the_step_of_mamba2() -> None:
    tensors = [noise(2, 3, 150, size, seed=size) for size in (4, 5)]
    queries, keys, values = tensors[0], noise(2, 3, 150, 4, seed=9), tensors[1]
    step, decay = noise(2, 3, 150, 1, seed=2).exp(), -noise(2, 3, 150, 1, seed=3).square()
    ours = trapezoidal_scan(queries, keys, decay, Writes(step, step), values)
    torch.testing.assert_close(ours, scan(queries, keys * step, decay, values), rtol=1e-10, atol=1e-10)


def test_with_angles_alone_it_is_a_selective_rotation_of_a_sum() -> None:
    attention, position, qkv, x_TD = built(20)
    ones = torch.ones_like(qkv.extra[0])
    plain = qkv._replace(extra=(ones, 0 * ones, 0 * ones))
    with torch.no_grad():
        attention.skip_H.zero_()
    angles, _ = attention.clock(x_TD[None])
    unrotated = [rotate_heads(part, -angles) for part in (qkv.queries_BHTC, qkv.keys_BHSC)]
    total = torch.zeros(1, 2, 6, 8, dtype=torch.float64)
    for t in range(20):
        between = angles[:, :, t : t + 1] - angles[:, :, : t + 1]
        turned = rotate_heads(unrotated[1][:, :, : t + 1], -between)
        total = turned.mT @ qkv.values_BHSC[:, :, : t + 1]
        expected = unrotated[0][:, :, t : t + 1] @ total
        torch.testing.assert_close(attention.attend(plain, position)[:, :, t : t + 1], expected, rtol=1e-9, atol=1e-9)


def test_long_sequences_in_single_precision_are_those_in_double() -> None:
    attention = attention_of("mamba3", {"state": 8}, width=16)
    assert isinstance(attention, Mamba3)
    x, no_position = noise(1, 600, 16), pair_of(Part(name="softmax"), Part(name="none"))[1]
    with torch.no_grad():
        attention.clock.start_H.fill_(1.0)  # steps of more than a radian
        single = attention(x.float(), no_position, LayerInputs()).output_BTD
        double = attention.double()(x, no_position, LayerInputs()).output_BTD
    assert (single.double() - double).abs().max() < 1e-3


def test_steps_start_as_in_public_code_and_biases_at_one() -> None:
    step_H = functional.softplus(Clock(layer_context(1024, 512), 2).start_H).detach()
    assert 0.001 <= step_H.min() < 0.0011
    assert 0.09 < step_H.max() <= 0.1 + 1e-6
    assert float(step_H.log().mean()) == pytest.approx(math.log(0.01), abs=0.15)
    attention = attention_of("mamba3")
    assert isinstance(attention, Mamba3)
    for started in (attention.query_bias_HN, attention.key_bias_HN, attention.skip_H, attention.key_gain_N):
        assert torch.equal(started, torch.ones_like(started))


@pytest.mark.parametrize(("state", "rotated", "expected"), [(64, 0.5, 16), (64, 1, 32), (6, 0.5, 1), (10, 0.5, 2)])
def test_pairs_are_those_of_whole_channels(state: int, rotated: float, expected: int) -> None:
    attention = attention_of("mamba3", {"state": state, "rotated": rotated})
    assert isinstance(attention, Mamba3)
    assert attention.clock.angle.out_features == expected
    assert attention.state_size(7) == 2 * (state * 8 + state + 8 + expected)
