"""Programs in processes of their own: they take turns, tell their own seconds, and fail where they are told."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.timing.bench import asked_only, drawn, product, rows
from benchmarks.timing.isolated import raced
from benchmarks.timing.pairs import Program


def sleeping(seconds: float, path: Path, name: str) -> Program:
    def run() -> None:
        time.sleep(seconds)
        with path.open("a") as file:
            file.write(f"{name} {os.getpid()}\n")

    return run


def failing() -> Program:
    raise ArithmeticError("cannot be made")


def test_they_take_turns_in_processes_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "turns"
    builds = {name: partial(sleeping, seconds, path, name) for name, seconds in (("a", 0.02), ("b", 0.2))}
    result = raced(builds, 2, times=2)
    assert [len(seconds) for seconds in result.values()] == [2, 2]
    assert all(0.04 <= seconds < 0.4 for seconds in result["a"])
    assert all(seconds >= 0.4 for seconds in result["b"])
    lines = [line.split() for line in path.read_text().splitlines()]
    assert [name for name, _ in lines] == [*"bbaa", *"aabb", *"bbaa"]
    assert len({pid for _, pid in lines} | {str(os.getpid())}) == 3


def test_the_time_of_the_processor_leaves_out_sleep(tmp_path: Path) -> None:
    result = raced({"a": partial(sleeping, 0.2, tmp_path / "turns", "a")}, 1, processor=True)
    assert result["a"][0] < 0.1


def test_what_cannot_be_made_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ChildProcessError, match="has failed"):
        raced({"a": failing}, 1)
    assert "cannot be made" in capfd.readouterr().err


def test_what_the_bench_races_runs() -> None:
    import torch

    cpu = torch.device("cpu")
    for program in (product(8, 2, cpu), drawn(2), rows(), asked_only(cpu)):
        program()
