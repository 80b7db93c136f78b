"""How costs grow: exponents of known laws, the end of a series, and a real size in a process of its own."""

from __future__ import annotations

import math
from subprocess import CalledProcessError

import pytest
import torch

from benchmarks.timing.bench import growth
from benchmarks.timing.growth import (
    AXES,
    LENGTHS,
    LONG,
    Cost,
    cost_here,
    exponent,
    isolated,
    measure_growth,
    program,
    scoring,
    sequences,
    shape_of,
)

CPU = torch.device("cpu")


def law(name: str, axis: str, size: int) -> Cost:
    """Time with the square, memory with the size."""
    return Cost(1e-9 * size**2, 1000.0 * size)


def test_an_exponent_is_that_of_the_larger_sizes() -> None:
    assert abs(exponent([1, 2, 4, 8, 16, 32], [50, 50, 50, 64, 256, 1024]) - 2) < 1e-9
    assert math.isnan(exponent([1], [1.0]))
    assert math.isnan(exponent([1, 2], [0.0, 1.0]))


def test_growth_is_that_of_the_law() -> None:
    measured = measure_growth("softmax", "length", AXES["length"], law)
    assert measured.sizes == AXES["length"]
    assert measured.exponent("seconds") == pytest.approx(2)
    assert measured.exponent("bytes") == pytest.approx(1)


def test_growth_ends_with_the_first_size_beyond_the_budget() -> None:
    def slow(name: str, axis: str, size: int) -> Cost:
        return Cost(size / sequences(axis, size), 1.0)

    assert measure_growth("softmax", "vmap", (1, 2, 4, 8), slow, budget=3.0).sizes == (1, 2, 4)


def test_a_size_that_does_not_fit_ends_the_series() -> None:
    def full(name: str, axis: str, size: int) -> Cost:
        if size > 2:
            raise CalledProcessError(-9, "python")
        return law(name, axis, size)

    assert measure_growth("softmax", "vmap", (1, 2, 4, 8), full).sizes == (1, 2)
    with pytest.raises(CalledProcessError):
        measure_growth("softmax", "vmap", (4, 8), full)


def test_batches_of_long_sequences_are_smaller_and_vmapped_runs_have_batches_of_their_own() -> None:
    assert [shape_of("length", size).batch for size in (64, 512, 8192)] == [16, 8, 1]
    assert [sequences("vmap", size) for size in (1, 4)] == [16, 64]
    assert shape_of("width", 32).width == 32


@pytest.mark.parametrize("axis", AXES)
def test_every_axis_has_a_step_that_runs(axis: str) -> None:
    size = AXES[axis][1]
    program("softmax", axis, size, CPU)()
    measured = cost_here("linear", axis, AXES[axis][0], CPU)
    assert measured.seconds > 0
    assert measured.bytes >= 0


def test_a_size_is_measured_in_a_process_of_its_own() -> None:
    measured = isolated(CPU)("softmax", "length", 64)
    assert 1e-6 < measured.seconds < 10
    assert 1e4 < measured.bytes < 1e9


def test_linear_variants_have_a_goal_for_their_exponent() -> None:
    lines = {line.name: line for line in growth(law)}
    assert lines["linear: time of a sequence grows with length^"].reached is False
    assert lines["delta: memory of a sequence grows with length^"].reached is True
    assert lines["softmax: time of a sequence grows with length^"].reached is None
    assert len(lines) == 2 * (5 + 3)


def test_every_mechanism_that_forms_scores_is_fitted_over_all_long_lengths() -> None:
    assert {"softmax", "path", "sea", "multi-token", "selective"} <= set(scoring())
    assert "delta" not in scoring()
    assert [shape_of(LONG, length).batch for length in LENGTHS] == [1, 1, 1, 1]

    def late(name: str, axis: str, size: int) -> Cost:
        return Cost(1.0, 1.0 if size < 2048 else size / 1024)

    assert measure_growth("path", LONG, LENGTHS, late).exponent("bytes") == pytest.approx(0.7)
    program("path", LONG, 64, CPU)()
