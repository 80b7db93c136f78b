"""Memory is kept where glibc is, and asked for once."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest

from attnlab.training.memory import keep


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    keep.cache_clear()


def test_free_memory_is_kept_by_two_settings_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, int]] = []

    def mallopt(name: int, value: int) -> int:
        said.append((name, value))
        return 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert keep()
    assert keep()
    assert said == [(-3, 2**25), (-1, 2**31 - 1)]


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_other_libraries_are_left_alone(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not keep()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_the_library_here_takes_them() -> None:
    assert keep() == hasattr(ctypes.CDLL(None), "mallopt")
