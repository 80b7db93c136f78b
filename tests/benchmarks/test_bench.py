"""The arithmetic of the benchmark: given seconds result in the right ratios."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from benchmarks.timing import bench
from benchmarks.timing.isolated import Build
from benchmarks.timing.pairs import Measured, Seconds

CPU = torch.device("cpu")
PYTHON_NAME = str.maketrans({" ": "_", "-": "_", ",": ""})


class FakeTimer:
    """Every program takes the given seconds each time it runs."""

    def __init__(self, **seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, builds: Mapping[str, Build], *, times: int = 1) -> Seconds:
        return {name: [times * self.seconds[name.translate(PYTHON_NAME)]] * 3 for name in builds}


def medians(lines: list[Measured]) -> dict[str, float]:
    return {line.name: line.median for line in lines}


def test_baselines_are_divided_by_ours() -> None:
    lines, missing = bench.textbook(CPU, FakeTimer(ours=2.0, hand_written_loop_fused_attention=3.0), peers=False)
    assert medians(lines) == {"hand-written loop, fused attention / ours": 1.5}
    assert missing == []


def test_the_share_of_the_matrix_products_is_that_of_their_operations() -> None:
    rate = 1e9
    one = 2 * bench.PRODUCT**3 / rate
    bound = bench.WIDE.operations / rate
    result = medians(list(bench.matmul_share(CPU, FakeTimer(product=8 * one, ours=2 * bound, hand_written=4 * bound))))
    assert result["matrix products alone / ours, width 128, T 128"] == pytest.approx(0.5)
    assert result["matrix products alone / hand-written loop, the same"] == pytest.approx(0.25)


def test_drawing_is_compared_batch_by_batch() -> None:
    result = medians(list(bench.recall(CPU, FakeTimer(every=9.0, ours=1.0, rows=5.0))))
    assert result["every position, rows one by one / ours"] == 9.0
    assert result["drawing rows one by one / ours"] == 5.0 * bench.DRAWS
    assert result["share of a step that draws its batch"] == 1 / bench.DRAWS


def test_vmapped_runs_are_compared_by_tokens_per_second() -> None:
    timer = FakeTimer(single=1.0, compiled=0.25, vmap_1=2.0, vmap_8=2.2, vmap_32=1.0)
    measured = {line.name: line for line in bench.vmap(CPU, timer)}
    assert measured["tokens/s, compiled / one eager run"].median == 4.0
    assert measured["tokens/s, 32 vmapped / one eager run"].median == 32.0
    assert measured["step of 8 vmapped runs / of 1"].median == pytest.approx(1.1)
    assert measured["step of 8 vmapped runs / of 1"].reached
