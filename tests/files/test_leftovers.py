"""Temporary files of dead processes are removed; those of living ones, and what is not attnlab's, stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnlab.files import remove_leftovers, replacing, write_output
from attnlab.files.leftovers import OLD_SECONDS, machine, temporary_beside
from attnlab.storage import Store

ELSEWHERE = "0" * 8


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def living() -> Iterator[int]:
    """The id of a process that lives."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


def leave(path: Path, process: int, host: str, age: float = 0.0) -> Path:
    """Leave a temporary file behind."""
    left = path.with_name(f".{path.name}.{host}-{process}-0123abcd.attnlab")
    left.write_bytes(b"half")
    os.utime(left, (time.time() - age, time.time() - age))
    return left


def test_what_a_dead_process_of_this_machine_left_is_removed(tmp_path: Path, dead: int, living: int) -> None:
    left, written = leave(tmp_path / "a.csv", dead, machine()), leave(tmp_path / "a.csv", living, machine(), 1e9)
    assert remove_leftovers([tmp_path]) == [left]
    assert list(tmp_path.iterdir()) == [written]


def test_on_another_machine_the_age_decides_alone(tmp_path: Path, dead: int, living: int) -> None:
    old = leave(tmp_path / "old", living, ELSEWHERE, OLD_SECONDS + 60)
    new = leave(tmp_path / "new", dead, ELSEWHERE, OLD_SECONDS - 60)
    assert remove_leftovers([tmp_path]) == [old]
    assert list(tmp_path.iterdir()) == [new]


def test_what_an_earlier_process_of_the_same_id_left_is_removed(tmp_path: Path) -> None:
    left = leave(tmp_path / "a", os.getpid(), machine())
    with replacing(tmp_path / "b") as file:
        file.write(b"new")
        assert remove_leftovers([tmp_path]) == [left]
    assert (tmp_path / "b").read_bytes() == b"new"


@pytest.mark.parametrize(
    "name",
    [
        ".bashrc", ".a.attnlab", "a.0123abcd-1-0123abcd.attnlab", ".a.csv.swp", ".x.0123abcd-1-0123abcd.attnlab~",
        ".0123456789ab.safetensors.x", ".notes.safetensors.0123abcd", "0123456789ab.safetensors.0123abcd",
    ],
)  # fmt: skip
def test_what_is_not_ours_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"theirs")
    os.utime(tmp_path / name, (0, 0))
    assert remove_leftovers([tmp_path]) == []


def test_a_folder_of_the_same_name_and_a_folder_that_is_missing_are_passed_over(tmp_path: Path, dead: int) -> None:
    folder = tmp_path / f".a.{machine()}-{dead}-0123abcd.attnlab"
    folder.mkdir()
    assert remove_leftovers([tmp_path / "absent", tmp_path]) == []
    assert folder.is_dir()


def test_temporary_files_of_earlier_versions_are_removed_when_they_are_old(tmp_path: Path) -> None:
    old, new = tmp_path / ".0123456789ab.safetensors.ab_d1234", tmp_path / ".ba9876543210.safetensors.ab_d1234"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert remove_leftovers([tmp_path]) == [old]


def test_a_store_that_is_opened_and_a_file_that_is_written_remove_leftovers(tmp_path: Path, dead: int) -> None:
    store = Store(tmp_path / "store")
    store.open()
    places = ["store.json", "checkpoints/a", "weights/a", "optimizer/a", "trash/0001/tags.json"]
    for place in places:
        (store.path / place).parent.mkdir(parents=True, exist_ok=True)
    left = [leave(store.path / place, dead, machine()) for place in places] + [leave(tmp_path / "a", dead, machine())]
    Store(store.path).open()
    assert [path.exists() for path in left] == [False] * len(places) + [True]
    write_output(tmp_path / "b", b"new")
    assert not left[-1].exists()


def test_the_name_tells_who_writes(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "a.csv") as path:
        assert path.name.startswith(f".a.csv.{machine()}-{os.getpid()}-")
