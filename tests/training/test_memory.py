"""Memory is kept where glibc is, and asked for once."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from attnlab.training import memory
from attnlab.training.memory import MUCH, keep_all_freed_memory, keep_freed_memory, status_field


def settings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is said to glibc from now on."""
    predictions: list[tuple[int, int]] = []

    def mallopt(name: int, value: int) -> int:
        predictions.append((name, value))
        return 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    return predictions


def test_free_memory_is_kept_but_for_the_largest_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = settings(monkeypatch)
    assert keep_freed_memory()
    assert predictions == [(-3, 2**25), (-4, 2**16), (-1, 2**31 - 1)]


@pytest.mark.parametrize("stored", [MUCH, MUCH + 1])
def test_the_largest_blocks_are_kept_where_little_is_held(stored: int, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = settings(monkeypatch)
    monkeypatch.setattr(memory, "told", lambda field: stored if field == "VmHWM" else 0)
    assert keep_all_freed_memory() is (stored <= MUCH)
    assert predictions == ([(-4, 0)] if stored <= MUCH else [])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_a_process_knows_what_it_holds() -> None:
    assert 10 * 2**20 < status_field("VmRSS") <= status_field("VmHWM")
    assert status_field("VmNothing") == 0


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_other_libraries_are_left_alone(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not keep_freed_memory()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_the_library_here_takes_them() -> None:
    assert keep_freed_memory() == hasattr(ctypes.CDLL(None), "mallopt")


FAULTS = """
import resource, statistics, sys, torch
from benchmarks.timing.growth import program
from attnlab.training import stepper
if sys.argv[1] == "let go":
    stepper.keep_all = lambda: False
torch.set_num_threads(1)
step = program("expressive", "length", 1024, torch.device("cpu"))
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(statistics.median([faults() for _ in range(7)][2:]))
"""
"""Pages that the system clears in a step whose maps of scores are of 33 MB each."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc knows how")
def test_a_step_finds_the_large_blocks_that_the_last_one_let_go() -> None:
    def counted(word: str) -> float:
        done = subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True)
        return float(done.stdout)

    assert 10 * counted("kept") < counted("let go")
