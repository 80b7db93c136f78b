"""Memory that a step lets go stays with the process for the next one.

Left to itself, glibc hands large blocks back to the system as soon as they are free, and the system clears every page
of them when the next step asks again: some two thousand pages for a step of the default model, a tenth of its time.
"""

from __future__ import annotations

import ctypes
import functools
import sys

TRIM, MAP = -1, -3
"""Names of glibc's settings: from how much free memory on some is handed back, from what size on a block is mapped."""
NEVER, LARGEST = 2**31 - 1, 2**25
"""Never hand back; map only blocks larger than the largest that glibc lets be kept, 32 MiB."""


@functools.cache
def keep() -> bool:
    """Keep free memory, once and for all; whether the system's library knows how."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # another library than glibc
    return bool(mallopt(MAP, LARGEST)) and bool(mallopt(TRIM, NEVER))
