"""Memory that a step lets go stays with the process for the next one.

Left to itself, glibc hands large blocks back to the system as soon as they are free, and the system clears every page
of them when the next step asks again: some two thousand pages for a step of the default model, a tenth of its time;
half of the time of a step with large maps of scores.

Blocks that are kept leave gaps between them, which come to gigabytes where a process holds gigabytes. So the largest
blocks are kept only once a first step has shown that it does not.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

TRIM, MAP, MAPPED = -1, -3, -4
"""Names of glibc's settings: from how much free memory on some is handed back, from what size on a block is mapped
apart, and how many may be."""
FREE, LARGE, MANY = 2**31 - 1, 2**25, 2**16
"""The most that is kept free; the largest such size that glibc takes; as many as it maps if left to itself."""
MUCH = 2**31
"""Bytes held from which on the largest blocks are not kept."""


def keep_freed_memory() -> bool:
    """Keep free memory, but for blocks of more than 32 MiB; whether the system's library knows how."""
    return _set(MAP, LARGE) and _set(MAPPED, MANY) and _set(TRIM, FREE)


def keep_all_freed_memory() -> bool:
    """Keep the largest blocks too, unless this process has held much; to be called after the first step."""
    return status_field("VmHWM") <= MUCH and _set(MAPPED, 0)


def status_field(field: str) -> int:
    """Bytes that Linux tells of this process: ``VmRSS``, held now; ``VmHWM``, held at most so far. Elsewhere 0."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def forget_peak() -> None:
    """Let ``VmHWM`` count from what is held now, where Linux allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _set(name: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # another library than glibc
    return bool(mallopt(name, value))
