"""T5's buckets: the first distance of each, against a table and against the logarithm."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.errors import InvalidValueError
from attnlab.position.t5 import bucket_starts
from tests.builders import position_of
from tests.position.biases import bias_of, chunked, random_qkv


def bucket(distance: int, buckets: int = 32, reach: int = 128) -> int:
    half = buckets // 2
    if distance < half:
        return distance
    return min(buckets - 1, half + math.floor(half * math.log(distance / half) / math.log(reach / half)))


def test_the_first_distance_of_each_bucket_is_the_tabulated_one() -> None:
    tabulated = [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
    assert bucket_starts(32, 128) == [*range(1, 16), *tabulated]
    for distance in range(300):
        assert sum(first <= distance for first in bucket_starts(32, 128)) == bucket(distance)


def test_a_distance_on_a_bound_is_in_the_upper_bucket() -> None:
    assert bucket_starts(8, 64) == [1, 2, 3, 4, 8, 16, 32]
    assert bucket_starts(2, 5) == [1]


@pytest.mark.parametrize("scaled", [False, True])
@torch.no_grad()
def test_the_bias_is_that_of_the_bucket(scaled: bool) -> None:
    position = position_of("t5", {"buckets": 8, "reach": 20, "scaled": scaled}).double()
    table, qkv = position.get_parameter("table_NH"), random_qkv(40)
    bias = bias_of(position, qkv)
    assert bias.shape == (2, 40, 40)
    for head in range(2):
        for i in range(40):
            for j in range(i + 1):
                expected = float(table[bucket(i - j, 8, 20), head]) * (2.0 if scaled else 1.0)
                assert float(bias[head, i, j]) == pytest.approx(expected, abs=1e-15)


def test_all_layers_share_one_table() -> None:
    position, qkv = position_of("t5").double(), random_qkv()
    assert [tuple(weight.shape) for weight in position.parameters()] == [(32, 2)]
    assert torch.equal(bias_of(position, qkv, 0), bias_of(position, qkv, 5))
    assert torch.equal(chunked(position, qkv, 4), bias_of(position, qkv)[:, 4:])


def test_the_table_has_xaviers_initialization() -> None:
    table = position_of("t5", {"buckets": 64}, width=64, heads=32).get_parameter("table_NH")
    assert table.std().item() == pytest.approx(math.sqrt(2 / 96), rel=0.1)


def test_a_reach_within_the_first_half_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        position_of("t5", {"reach": 16})
    assert str(caught.value) == (
        "  With 32 buckets, the first 16 contain one distance each; a reach of 16 leaves no distance for the others.\n"
        "  Use a reach above 16, or fewer buckets."
    )
    with pytest.raises(InvalidValueError, match=r"Option 'buckets' cannot be 7\."):
        position_of("t5", {"buckets": 7})
