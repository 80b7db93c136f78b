"""Files are written whole or not at all, with the mode that the umask gives, or by a block that says why not."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnlab.errors import InvalidFileError
from attnlab.files import check_output, write_output, write_whole


@pytest.fixture
def umask() -> Iterator[None]:
    """The umask is what it was after the test."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


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


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path, umask: None, mask: int, expected: int) -> None:
    os.umask(mask)
    write_whole(tmp_path / "a", b"new")
    write_output(tmp_path / "b", b"new")
    assert (mode(tmp_path / "a"), mode(tmp_path / "b")) == (expected, expected)


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o666])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, umask: None, kept: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(kept)
    os.umask(0o077)
    write_whole(tmp_path / "a", b"new")
    assert mode(tmp_path / "a") == kept


def test_a_name_of_the_longest_kind_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / ("é" * 127), b"new")
    assert (tmp_path / ("é" * 127)).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        ("folder", "Is a directory", "Give the name of a file."),
        ("file/a.csv", "File exists", "A part of its path is a file; give another folder."),
        ("file/b/a.csv", "Not a directory", "A part of its path is a file; give another folder."),
        ("n" * 256, "File name too long", "Give a shorter name; most systems allow 255 bytes."),
        ("loop", "Too many levels of symbolic links", "Give another file, in a folder that you may write."),
        ("a\0b", "embedded null byte", "Give another file, in a folder that you may write."),
    ],
)
def test_a_file_that_cannot_be_written_is_told_in_one_block(tmp_path: Path, name: str, reason: str, hint: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(InvalidFileError) as caught:
        write_output(tmp_path / name, b"new")
    assert (caught.value.problem, caught.value.hint) == (f"It cannot be written: {reason}.", hint)
    with pytest.raises(InvalidFileError) as beforehand:
        check_output(tmp_path / name)
    assert (beforehand.value.hint, beforehand.value.where) == (hint, caught.value.where)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_device_is_told() -> None:
    with pytest.raises(InvalidFileError, match=r"No space left on device\.\n  Make room, then run it again"):
        write_output(Path("/dev/full"), b"new")


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, who may write everything
    with pytest.raises(InvalidFileError, match=r"Permission denied\.\n  Give another file, in a folder"):
        write_output(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_what_can_be_written_is_not_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for name in ("file", "new", "folder/below/new", "n" * 255):
        check_output(tmp_path / name)
    for special in ("/dev/stdout", "/dev/fd/1", "/dev/null"):
        check_output(Path(special))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_the_file_that_a_link_of_the_user_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    write_output(tmp_path / "link", b"new")
    write_output(tmp_path / "link", b"newer")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"newer"


def test_a_pipe_stays_a_pipe_and_carries_the_content(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_output(pipe, b"new")
    reader.join(10)
    assert read == [b"new"]
    assert pipe.is_fifo()


def test_an_open_descriptor_and_the_standard_output_are_written_to(tmp_path: Path, capfd: object) -> None:
    with (tmp_path / "a").open("ab") as file:
        file.write(b"before ")
        file.flush()
        write_output(Path(f"/dev/fd/{file.fileno()}"), b"new")
        file.write(b" after")
    assert (tmp_path / "a").read_bytes() == b"before new after"
    write_output(Path("/dev/stdout"), b"to the output\n")
    assert capfd.readouterr().out == "to the output\n"  # type: ignore[attr-defined]
