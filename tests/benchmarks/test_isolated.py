"""Programs in processes of their own: they take turns, measure their own seconds, and their failure is an error."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.timing.bench import batches_program, product, rows_program, step_and_batch
from benchmarks.timing.isolated import time_isolated
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
    result = time_isolated(builds, 2, times=2)
    assert [len(seconds) for seconds in result.values()] == [2, 2]
    assert all(0.04 <= seconds < 0.4 for seconds in result["a"])
    assert all(seconds >= 0.4 for seconds in result["b"])
    lines = [line.split() for line in path.read_text().splitlines()]
    assert [name for name, _ in lines] == [*"bbaa", *"aabb", *"bbaa"]
    assert len({pid for _, pid in lines} | {str(os.getpid())}) == 3


def test_processor_time_does_not_include_sleep(tmp_path: Path) -> None:
    result = time_isolated({"a": partial(sleeping, 0.2, tmp_path / "turns", "a")}, 1, processor=True)
    assert result["a"][0] < 0.1


def test_a_program_that_cannot_be_made_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ChildProcessError, match="has failed"):
        time_isolated({"a": failing}, 1)
    assert "cannot be made" in capfd.readouterr().err


def test_the_programs_of_the_benchmark_run() -> None:
    import torch

    cpu = torch.device("cpu")
    for program in (product(8, 2, cpu), batches_program(2), rows_program(), step_and_batch(cpu)):
        program()
