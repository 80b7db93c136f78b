"""Interpolated and YaRN: equal to rotary at factor 1, and the formulas above 1."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.position.stretched import Yarn
from tests.builders import noise, position_of


def rotations(position: Position, length: int, channels: int) -> Tensor:
    """The complex number that multiplies each pair of channels at each position, T x W."""
    ones = torch.cat([torch.ones(length, channels // 2), torch.zeros(length, channels // 2)], -1).double()
    first, second = position.rotate(ones[None, None])[0, 0].chunk(2, -1)
    return torch.complex(first, second)


@pytest.mark.parametrize("name", ["interpolated", "yarn"])
@pytest.mark.parametrize("options", [{}, {"factor": 1.0}, {"factor": 1.0, "trained": 5}, {"trained": 400}])
def test_factor_one_is_rotary_exactly(name: str, options: dict[str, float]) -> None:
    x = noise(1, 2, 50, 8, dtype=torch.float32)
    stretched, rotary = (position_of(named, given, width=16) for named, given in ((name, options), ("rotary", {})))
    assert torch.equal(stretched.rotate(x), rotary.rotate(x))
    assert torch.equal(stretched.rotate(x[..., 7:, :], 7), rotary.rotate(x)[..., 7:, :])


def test_interpolated_positions_are_divided_by_the_factor() -> None:
    x = noise(1, 2, 25, 8)
    stretched, rotary = position_of("interpolated", {"factor": 4.0}, width=16), position_of("rotary", width=16)
    every_fourth = rotary.rotate(x.repeat_interleave(4, dim=-2))[..., ::4, :]
    stretched_once = stretched.rotate(x.repeat_interleave(16, dim=-2))[..., ::16, :]
    torch.testing.assert_close(stretched_once, every_fourth, rtol=1e-12, atol=1e-12)


def test_the_factor_follows_from_the_trained_length() -> None:
    factor, trained = (position_of("yarn", own, length=64) for own in ({"factor": 4.0, "trained": 16}, {"trained": 16}))
    x = noise(1, 2, 30, 4)
    assert torch.equal(factor.rotate(x), trained.rotate(x))
    assert not torch.equal(factor.rotate(x), position_of("rotary").rotate(x))


@pytest.mark.parametrize(("factor", "gain"), [(4.0, 1.1386), (8.0, 1.2079), (1.0, 1.0)])
def test_yarn_scales_by_the_published_gain(factor: float, gain: float) -> None:
    position = position_of("yarn", {"factor": factor, "trained": 32}, width=16)
    length = rotations(position, 9, 8).abs()
    assert length.mean().item() == pytest.approx(gain, abs=5e-5)
    torch.testing.assert_close(length, torch.full_like(length, 0.1 * math.log(factor) + 1), rtol=1e-12, atol=1e-12)


def test_yarn_keeps_high_frequencies_divides_low_ones_and_ramps_between() -> None:
    channels, factor, trained = 64, 8.0, 2048
    options = {"factor": factor, "trained": trained}
    position = position_of("yarn", options, width=2 * channels, length=16)
    angle = rotations(position, 2, channels)[1].angle()

    def dimension(count: float) -> float:
        return channels * math.log(trained / (2 * math.pi * count)) / (2 * math.log(10_000))

    low, high = math.floor(dimension(32)), math.ceil(dimension(1))
    assert (low, high) == (8, 21)
    for m in range(channels // 2):
        frequency = 10_000 ** (-2 * m / channels)
        ramp = min(1.0, max(0.0, (m - low) / (high - low)))
        assert float(angle[m]) == pytest.approx(frequency / factor * ramp + frequency * (1 - ramp), rel=1e-12)
    assert float(angle[8]) == pytest.approx(10_000 ** (-16 / channels), rel=1e-12)
    assert float(angle[21]) == pytest.approx(10_000 ** (-42 / channels) / factor, rel=1e-12)


def test_short_trained_lengths_keep_a_ramp() -> None:
    position = position_of("yarn", {"factor": 2.0, "trained": 2})
    assert isinstance(position, Yarn)
    assert position.kept_fraction(4).tolist() == [1.0, 0.0]
    assert position.rotate(noise(1, 2, 9, 4)).isfinite().all()


@pytest.mark.parametrize("name", ["interpolated", "yarn"])
def test_a_factor_below_one_and_odd_heads_are_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match=r"Option 'factor' cannot be 0\.5\."):
        position_of(name, {"factor": 0.5})
    with pytest.raises(InvalidValueError, match="even number of channels per head, not 3"):
        position_of(name, width=9, heads=3)


@pytest.mark.parametrize("name", ["interpolated", "yarn"])
def test_they_have_no_parameters(name: str) -> None:
    assert position_of(name, {"factor": 4.0}).state_dict() == {}
