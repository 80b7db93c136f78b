"""Products and transposes of small matrices by compiled loops, held to numpy in float64."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest

from attnlab.attention.ops import small_products
from attnlab.attention.ops.loop_math import ONE, ZERO, product
from attnlab.attention.ops.loop_memory import row_of
from attnlab.attention.ops.loops import Numbers, compiled, works
from attnlab.attention.ops.small_transposes import transpose

pytestmark = pytest.mark.skipif(not works(), reason="needs numba")

SIZES = [
    (1, 1, 1),
    (3, 5, 1),
    (1, 2, 3),
    (4, 16, 16),
    (5, 17, 31),
    (16, 32, 16),
    (7, 300, 29),
    (33, 513, 15),
    (16, 7, 255),
    (2, 600, 2),
]
"""R, S and C: with and without whole micro-tiles, below and above the depth that is summed at a time."""


@compiled
def multiplied(left: Numbers, right: Numbers, factor: np.float32, kept: np.float32, out: Numbers) -> None:
    """Call the product, which only compiled functions can."""
    product(left, right, factor, kept, out)


@compiled
def exchanged(matrix: Numbers, out: Numbers) -> None:
    """Call the transpose."""
    transpose(matrix, out)


@compiled
def second_row(matrix: Numbers) -> np.float32:
    """Add the numbers of a row that is viewed."""
    row, total = row_of(matrix, 1), ZERO
    for place in range(len(row)):
        total += np.float32(place + 1) * row[place]
    return total


def spread(random: np.random.Generator, rows: int, columns: int) -> Numbers:
    """Draw a matrix whose rows do not lie side by side with each other."""
    return random.standard_normal((rows, columns + 3), np.float32)[:, 1 : columns + 1]


@pytest.mark.parametrize(("rows", "inner", "columns"), SIZES)
@pytest.mark.parametrize("left_of", [np.asarray, np.transpose], ids=["rows", "columns"])
@pytest.mark.parametrize("right_of", [np.asarray, np.transpose], ids=["rows", "columns"])
def test_a_product_is_that_of_numpy(
    rows: int,
    inner: int,
    columns: int,
    left_of: Callable[[Numbers], Numbers],
    right_of: Callable[[Numbers], Numbers],
) -> None:
    random = np.random.default_rng(rows + inner + columns)
    left = left_of(spread(random, *((rows, inner) if left_of is np.asarray else (inner, rows))))
    right = right_of(spread(random, *((inner, columns) if right_of is np.asarray else (columns, inner))))
    whole = np.full((rows + 2, columns + 5), np.nan, np.float32)
    out = whole[1 : rows + 1, 2 : columns + 2]
    multiplied(left, right, np.float32(-0.5), ZERO, out)  # what is there is NaN, and not read
    wanted = -0.5 * left.astype(float) @ right.astype(float)
    bound = 1e-6 * (np.abs(left) @ np.abs(right) + 1)
    assert np.all(np.abs(out - wanted) <= bound)
    multiplied(left, right, ONE, np.float32(2), out)
    assert np.all(np.abs(out) <= 4 * bound)
    assert np.isnan(whole).sum() == whole.size - rows * columns  # nothing beside the result is written


def test_rows_of_micro_tiles_of_every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    from llvmlite import binding

    for features, heights in (({"avx512f": True}, (8, 4, 2, 1)), ({"avx2": True}, (6, 4, 2, 1)), ({}, (6, 4, 2, 1))):
        monkeypatch.setattr(binding, "get_host_cpu_features", lambda features=features: features)
        assert small_products.heights.__wrapped__() == heights

    def unknown() -> None:
        raise RuntimeError("failed to get host cpu features.")

    monkeypatch.setattr(binding, "get_host_cpu_features", unknown)
    assert small_products.heights.__wrapped__() == (6, 4, 2, 1)


def test_micro_tiles_of_another_processor_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight rows are of AVX-512; without it the compiler keeps some of the sums in memory."""
    from llvmlite import binding
    from numba.core.caching import CacheImpl

    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: {"avx512f": small_products.heights()[0] == 6})
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])  # code that is kept is of this processor
    spec = importlib.util.spec_from_file_location("another_processor", small_products.__file__)
    assert spec is not None
    assert spec.loader is not None
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    assert other.heights() != small_products.heights()
    random = np.random.default_rng(0)
    for rows, inner, columns in SIZES:
        left = random.standard_normal((rows, inner), np.float32)
        right, out = random.standard_normal((inner, columns), np.float32), np.empty((rows, columns), np.float32)
        addresses = (left.ctypes.data, *left.strides, right.ctypes.data, right.strides[0], out.ctypes.data)
        other.fill(*addresses, out.strides[0], rows, columns, inner, ONE, ZERO)
        wanted = np.empty_like(out)
        multiplied(left, right, ONE, ZERO, wanted)
        assert np.all(np.abs(out - wanted) <= 1e-6 * (np.abs(left) @ np.abs(right) + 1))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 4), (3, 9), (8, 3), (13, 22), (32, 64)])
def test_a_transpose_is_exact(rows: int, columns: int) -> None:
    matrix = spread(np.random.default_rng(0), rows, columns)
    whole = np.full((columns + 1, rows + 4), np.nan, np.float32)
    exchanged(matrix, whole[:columns, 2 : rows + 2])
    np.testing.assert_array_equal(whole[:columns, 2 : rows + 2], matrix.T)
    assert np.isnan(whole).sum() == whole.size - rows * columns


def test_a_row_is_viewed_where_it_is() -> None:
    matrix = spread(np.random.default_rng(0), 3, 5)
    assert second_row(matrix) == pytest.approx(float(matrix[1] @ np.arange(1, 6)), rel=1e-6)
