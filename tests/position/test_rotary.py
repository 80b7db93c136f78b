"""Rotary positions: norms are kept, and products depend on the distance alone."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.errors import InvalidValueError
from attnlab.position import POSITIONS
from tests.builders import noise, position_of


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_norms_are_kept(channels: int) -> None:
    position, x = position_of("rotary", width=2 * channels).double(), noise(2, 2, 50, channels)
    rotated = position.rotate(x)
    torch.testing.assert_close(rotated.norm(dim=-1), x.norm(dim=-1), rtol=1e-12, atol=1e-12)
    assert torch.equal(rotated[..., 0, :], x[..., 0, :])
    assert (rotated[..., 1:, :] - x[..., 1:, :]).abs().amax(-1).min() > 1e-3


def test_products_depend_on_the_distance_alone() -> None:
    position = position_of("rotary").double()
    query, key = noise(4), noise(4, seed=1)
    products = position.rotate(query.expand(1, 1, 30, 4)) @ position.rotate(key.expand(1, 1, 30, 4)).mT
    for distance in range(-20, 21):
        diagonal = products[0, 0].diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-11, atol=1e-11)
    assert products[0, 0, :, 0].std() > 0.01


@pytest.mark.parametrize("base", [10_000.0, 10.0])
def test_each_pair_is_rotated_by_its_angle(base: float) -> None:
    position, x = position_of("rotary", {"base": base}).double(), noise(1, 1, 9, 4)
    rotated = position.rotate(x)
    for t in range(9):
        for m in range(2):
            angle = t * base ** (-2 * m / 4)
            first, second = float(x[0, 0, t, m]), float(x[0, 0, t, m + 2])
            expected = complex(first, second) * complex(math.cos(angle), math.sin(angle))
            assert float(rotated[0, 0, t, m]) == pytest.approx(expected.real, abs=1e-12)
            assert float(rotated[0, 0, t, m + 2]) == pytest.approx(expected.imag, abs=1e-12)


def test_a_chunk_of_queries_is_rotated_from_its_start() -> None:
    position, x = position_of("rotary").double(), noise(1, 2, 9, 4)
    assert torch.equal(position.rotate(x[..., 5:, :], 5), position.rotate(x)[..., 5:, :])


def test_angles_are_exact_in_half_precision() -> None:
    position, x = position_of("rotary"), noise(1, 1, 500, 4, dtype=torch.bfloat16)
    exact = position.rotate(x.float())
    halved = position.bfloat16().rotate(x)
    assert halved.dtype == torch.bfloat16
    assert (halved.float() - exact).abs().max() < 0.05


def test_it_has_no_parameters_and_the_alias_rope() -> None:
    position = position_of("rope")
    assert POSITIONS.entry("rope") is POSITIONS.entry("rotary")
    assert list(position.parameters()) == []
    assert position.state_dict() == {}


def test_an_odd_number_of_channels_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        position_of("rotary", width=9, heads=3)
    assert str(caught.value) == (
        "  Rotary positions need an even number of channels per head, not 3.\n"
        "  With 3 heads, use a width that is a multiple of 6."
    )


def test_a_base_of_one_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"Option 'base' cannot be 1\.0\."):
        position_of("rotary", {"base": 1.0})


def test_xpos_products_decay_with_the_distance_alone() -> None:
    position, plain = (position_of("rotary", options).double() for options in ({"xpos": 8.0}, {}))
    query, key = noise(1, 1, 30, 4), noise(1, 1, 30, 4, seed=1)
    products = position.rotate(query) @ position.rotate_keys(key).mT
    for i in range(30):
        for j in range(i + 1):
            expected = 0.0
            for m in range(2):
                turned = [one.rotate(x)[0, 0, t, [m, m + 2]] for one, x, t in ((plain, query, i), (plain, key, j))]
                expected += ((2 * m / 4 + 0.4) / 1.4) ** ((i - j) / 8.0) * float(turned[0] @ turned[1])
            assert float(products[0, 0, i, j]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
