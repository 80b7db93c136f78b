"""Freed memory is kept where the C library is glibc."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from attnlab.training import memory
from attnlab.training.memory import MAX_BYTES, keep_all_freed_memory, keep_freed_memory, status_field


def fake_mallopt(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Replace glibc; return the list of calls of mallopt."""
    calls: list[tuple[int, int]] = []

    def mallopt(name: int, value: int) -> int:
        calls.append((name, value))
        return 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    return calls


def test_freed_memory_is_kept_except_for_the_largest_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_mallopt(monkeypatch)
    assert keep_freed_memory()
    assert calls == [(-3, 2**25), (-4, 2**16), (-1, 2**31 - 1)]


@pytest.mark.parametrize("peak", [MAX_BYTES, MAX_BYTES + 1])
def test_the_largest_blocks_are_kept_where_little_memory_is_used(peak: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_mallopt(monkeypatch)
    monkeypatch.setattr(memory, "status_field", lambda field: peak if field == "VmHWM" else 0)
    assert keep_all_freed_memory() is (peak <= MAX_BYTES)
    assert calls == ([(-4, 0)] if peak <= MAX_BYTES else [])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has the file")
def test_the_memory_of_this_process_is_read() -> None:
    assert 10 * 2**20 < status_field("VmRSS") <= status_field("VmHWM")
    assert status_field("VmNothing") == 0


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_other_libraries_are_left_unchanged(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not keep_freed_memory()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc exists on Linux only")
def test_the_library_of_this_machine_accepts_the_options() -> None:
    assert keep_freed_memory() == hasattr(ctypes.CDLL(None), "mallopt")


FAULTS = """
import resource, statistics, sys, torch
from attnlab.training.memory import keep_all_freed_memory, keep_freed_memory
torch.set_num_threads(1)
def step():
    first = torch.ones(10 * 2**20)
    second = first * 2
    return float((first * second).sum())
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
keep_freed_memory()
step()
if sys.argv[1] == "kept":
    keep_all_freed_memory()
print(statistics.median([faults() for _ in range(7)][2:]))
"""
"""Counts the pages that the system clears in a step with three blocks of 40 MB."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_a_step_reuses_the_large_blocks_that_the_previous_one_freed() -> None:
    def count_faults(word: str) -> float:
        finished = subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True)
        return float(finished.stdout)

    assert 10 * count_faults("kept") < count_faults("returned")
