"""The memory of the machine that is available to new processes."""

from __future__ import annotations

import psutil


def available_memory() -> int:
    """Memory that new processes can take without swapping: free pages and the caches that the system can give up.

    Returns:
        Bytes.
    """
    return int(psutil.virtual_memory().available)
