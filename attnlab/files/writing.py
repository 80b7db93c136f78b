"""One way to write a file: beside its target first, then in its place; one error that says why it cannot be written."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from attnlab.errors import AttnlabError, InvalidFileError
from attnlab.files.leftovers import remove_leftovers, temporary_beside
from attnlab.formatting import printable

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that is full."""
HINTS = {
    **dict.fromkeys(FULL, "Make room, then run it again; what was there before is unchanged."),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Give another file, in a folder that you may write."),
    errno.EROFS: "This file system is read-only; give another place.",
    errno.ENAMETOOLONG: "Give a shorter name; most systems allow 255 bytes.",
    errno.EISDIR: "Give the name of a file.",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "A part of its path is a file; give another folder."),
}
"""What to do next, by the reason."""
OTHER_HINT = "Give another file, in a folder that you may write."
DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
"""Names of what is open already, such as the shell's ``>(command)``."""
STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file so that, whatever happens, it has either the old or the new content.

    A new file has the mode that the umask gives it; one that is replaced keeps its mode.

    Args:
        path: The file; its folder is made where it is missing.

    Yields:
        An open file beside it, which takes its place at the end of the block; after an exception it is removed.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.lstat() if os.path.lexists(path) else None
    if before and stat.S_ISDIR(before.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with temporary_beside(path) as temporary:
        with temporary.open("xb") as file:
            if before and stat.S_ISREG(before.st_mode):
                with suppress(OSError):  # not every file system has modes
                    temporary.chmod(stat.S_IMODE(before.st_mode) & 0o777)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as :func:`replacing` does; a link is replaced, and what it points to stays.

    Args:
        path: The file; its folder is made where it is missing.
        content: The new content.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path) as file:
        file.write(content)


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user named: whole or not at all, or into a pipe, a device or ``/dev/stdout``.

    The file that a link points to is written. What dead processes left in the folder is removed.

    Args:
        path: The file.
        content: The new content.

    Raises:
        InvalidFileError: It cannot be written; whatever was there is unchanged.
    """
    name = str(path)
    try:
        opened = DESCRIPTOR.fullmatch(name)
        if opened or name in STREAMS:
            with os.fdopen(os.dup(int(opened[1]) if opened else STREAMS[name]), "wb") as stream:
                stream.write(content)
        elif path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as special:
                special.write(content)
        else:
            target = Path(os.path.realpath(path))
            _check_target(target)
            remove_leftovers([target.parent])
            write_whole(target, content)
    except (OSError, ValueError) as error:
        raise unwritable(error, path) from None


def check_output(path: Path) -> None:
    """Refuse a file that could not be written, before what is to be written is computed; nothing is left.

    Args:
        path: The file; its folder may be missing.

    Raises:
        InvalidFileError: It cannot be written.
    """
    try:
        if DESCRIPTOR.fullmatch(str(path)) or str(path) in STREAMS:
            return
        target = Path(os.path.realpath(path))
        if os.path.lexists(target) and not target.is_file() and not target.is_dir() and not target.is_symlink():
            return  # a pipe or a device
        _check_target(target)
        if target.is_dir():
            folder_error = OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            raise folder_error
        folder = target.parent
        while not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        with temporary_beside(folder / target.name) as temporary:
            temporary.open("xb").close()
    except (OSError, ValueError) as error:
        raise unwritable(error, path) from None


def _check_target(target: Path) -> None:
    """Refuse a link that leads round in a circle, and a file that may not be written: renaming would replace both."""
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))
    if target.exists() and not os.access(target, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(target))


def unwritable(
    error: OSError | ValueError, path: Path, kind: type[AttnlabError] = InvalidFileError, hint: str = ""
) -> AttnlabError:
    """Make the error of a file or folder that cannot be written.

    Args:
        error: What the system said.
        path: The file or folder.
        kind: The kind of the error.
        hint: What to do next; left out, what the reason suggests. A full disk has a hint of its own.

    Returns:
        The error, to be raised.
    """
    number = error.errno if isinstance(error, OSError) else None
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    own = hint if hint and number not in FULL else HINTS.get(number or 0, OTHER_HINT)
    return kind(f"It cannot be written: {reason}.", own, where=printable(str(path)))
