"""Temporary files, whose names tell who writes them, and the removal of those whose writer is dead.

.NAME.MACHINE-PID-TOKEN.attnlab     what becomes NAME once it is complete

MACHINE stands for the host, its boot and its space of process ids: a process id means nothing elsewhere. There the age
decides, because a store may lie on a file system that several hosts share.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

NAME_BYTES = 180
"""Bytes of the file's own name that are kept; with the rest, a name stays below the 255 bytes of most systems."""
OLD_SECONDS = 86_400.0
"""A temporary file that another machine has not changed for so long is taken for a leftover."""
TEMPORARY = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,10})-[0-9a-f]{8}\.attnlab", re.DOTALL)
EARLIER = re.compile(r"\.[0-9a-f]{12}\.safetensors\.[a-z0-9_]{8}")
"""Temporary files of the arrays of a run, as attnlab 0.2 named them; only their age tells that they are leftovers."""

_writing: set[str] = set()
"""Names of the temporary files that this process is writing."""


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Reserve the name of a temporary file in the folder of a file; it is removed at the end unless it was renamed.

    Args:
        path: The file that it will become.

    Yields:
        A path at which nothing is.
    """
    start = os.fsencode(path.name)[:NAME_BYTES].decode(errors="ignore")
    name = f".{start}.{machine()}-{os.getpid()}-{secrets.token_hex(4)}.attnlab"
    _writing.add(name)
    try:
        yield path.with_name(name)
    finally:
        with suppress(OSError):
            path.with_name(name).unlink(missing_ok=True)
        _writing.discard(name)


def remove_leftovers(folders: Iterable[Path]) -> list[Path]:
    """Remove temporary files whose writer is dead, or unknown here and their last change long ago.

    Args:
        folders: Where to look; what is no folder, or cannot be read, is left out.

    Returns:
        The files that were removed.
    """
    removed = []
    for folder in folders:
        with suppress(OSError):
            for name in [entry.name for entry in os.scandir(folder) if entry.name.startswith(".")]:
                path = folder / name
                with suppress(OSError):
                    if _is_leftover(path):
                        path.unlink()
                        removed.append(path)
    return removed


@cache
def machine() -> str:
    """What process ids on this machine belong to, as eight hexadecimal digits."""
    import platform

    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()[:8]


def _is_leftover(path: Path) -> bool:
    found = TEMPORARY.fullmatch(path.name)
    if not found and not EARLIER.fullmatch(path.name):
        return False
    if found and found["machine"] == machine() and hasattr(os, "getuid"):
        return path.name not in _writing and not _is_other_living_process(int(found["process"]))
    return path.name not in _writing and time.time() - path.lstat().st_mtime > OLD_SECONDS


def _is_other_living_process(process: int) -> bool:
    """Whether a process other than this one lives; on Windows this question would end it."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
