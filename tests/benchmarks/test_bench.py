"""The arithmetic of the bench: seconds that are made up give the ratios that they should."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from benchmarks.timing import bench
from benchmarks.timing.isolated import Build
from benchmarks.timing.pairs import Measured, Seconds

CPU = torch.device("cpu")


class Race:
    """Every program takes the seconds it is said to, for each time it is run."""

    def __init__(self, **seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, builds: Mapping[str, Build], *, times: int = 1) -> Seconds:
        return {name: [times * self.seconds[name.replace(" ", "_").replace(",", "")]] * 3 for name in builds}


def medians(lines: list[Measured]) -> dict[str, float]:
    return {line.name: line.median for line in lines}


def test_rivals_are_told_over_ours() -> None:
    lines, missing = bench.textbook(CPU, Race(ours=2.0, hand=3.0), peers=False)
    assert medians(lines) == {"a fused loop written by hand / ours": 1.5}
    assert missing == []


def test_the_share_of_the_rate_is_that_of_the_operations() -> None:
    rate = 1e9
    one = 2 * bench.PRODUCT**3 / rate
    taken = bench.WIDE.operations / rate
    result = medians(list(bench.rate(CPU, Race(product=8 * one, ours=2 * taken, hand=4 * taken))))
    assert result["matmul floor / ours, width 128, T 128"] == pytest.approx(0.5)
    assert result["matmul floor / hand-written, the same"] == pytest.approx(0.25)


def test_drawing_is_told_batch_by_batch() -> None:
    result = medians(list(bench.recall(CPU, Race(every=9.0, ours=1.0, rows=5.0))))
    assert result["every position, rows one by one / ours"] == 9.0
    assert result["drawing rows one by one / ours"] == 5.0 * bench.DRAWS
    assert result["share of a step that draws its batch"] == 1 / bench.DRAWS


def test_lanes_are_told_in_tokens_of_one_run() -> None:
    race = Race(solo=1.0, compiled=0.25, **{"1_lanes": 2.0, "8_lanes": 2.2, "32_lanes": 1.0})
    measured = {line.name: line for line in bench.stacked(CPU, race)}
    assert measured["tokens/s, compiled / solo eager"].median == 4.0
    assert measured["tokens/s, 32 lanes / solo eager"].median == 32.0
    assert measured["step of 8 lanes / of 1"].median == pytest.approx(1.1)
    assert measured["step of 8 lanes / of 1"].holds
