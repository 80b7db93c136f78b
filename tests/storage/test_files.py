from __future__ import annotations

import os
from pathlib import Path

import pytest

from attnlab.storage.files import write_whole


def test_a_file_and_its_folders_are_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b" / "c", b"new")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"new"


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"something longer")
    write_whole(tmp_path / "c", b"new")
    assert (tmp_path / "c").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "c"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fails(descriptor: int) -> None:
        raise error

    (tmp_path / "c").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(type(error)):
        write_whole(tmp_path / "c", b"new")
    assert (tmp_path / "c").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "c"]
