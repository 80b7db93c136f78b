"""Memory freed by a step stays with the process for the next step.

By default glibc returns large blocks to the system as soon as they are free, and the system clears every page of them
when the next step allocates them again. That is some two thousand pages for a step of the default model, a tenth of
its time, and half of the time of a step with large score matrices.

Kept blocks fragment the memory, which costs gigabytes in a process that uses gigabytes. So the largest blocks are kept
only if the memory in use is still small after the first step.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Options of glibc's mallopt: free bytes from which memory is returned, size from which a block is mapped by itself,
and how many blocks may be mapped."""
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = 2**31 - 1, 2**25, 2**16
"""The most bytes that are kept free; the largest threshold that glibc accepts; glibc's default number."""
MAX_BYTES = 2**31
"""Peak memory, in bytes, above which the largest blocks are not kept."""


def keep_freed_memory() -> bool:
    """Keep freed memory except for blocks of more than 32 MiB; return whether the C library can."""
    return (
        _mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        and _mallopt(M_MMAP_MAX, MMAP_MAX)
        and _mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)
    )


def keep_all_freed_memory() -> bool:
    """Keep the largest blocks too, unless this process has used much memory; to be called after the first step."""
    return status_field("VmHWM") <= MAX_BYTES and _mallopt(M_MMAP_MAX, 0)


def status_field(field: str) -> int:
    """Read a field of this process's status on Linux.

    Args:
        field: ``VmRSS``, the memory in use now, or ``VmHWM``, the peak so far.

    Returns:
        Bytes; 0 on other systems and for a field that does not exist.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def forget_peak() -> None:
    """Reset ``VmHWM`` to the memory in use now, where Linux permits it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _mallopt(option: int, value: int) -> bool:
    """Set an option of glibc's malloc; return whether it was accepted."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # another C library than glibc
    return bool(mallopt(option, value))
