"""Device, versions and machine of a run: recorded beside its numbers, never part of its id."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from attnlab.attention.ops import loops
from attnlab.errors import DeviceError
from attnlab.sizes import check_count
from attnlab.version import __version__


def device(name: str = "auto") -> torch.device:
    """Get the device of a name.

    Args:
        name: One of :data:`attnlab.choices.DeviceName`, or a device with an index, such as ``cuda:1``. The default,
            ``auto``, takes the fastest device of this machine.

    Returns:
        The device.

    Raises:
        DeviceError: This machine has no such device; lists those it has.
    """
    present = ["cpu"]
    if torch.cuda.is_available():
        present.insert(0, "cuda")
    elif torch.backends.mps.is_available():
        present.insert(0, "mps")
    chosen = present[0] if name == "auto" else name
    if chosen.split(":")[0] not in present:
        hint = f"This machine has: {', '.join(present)}. Leave the option out to take the first."
        raise DeviceError(f"There is no device '{name}' here.", hint, where="--device")
    return torch.device(chosen)


MAX_THREADS = 1024
"""The most threads of torch: it starts as many as it is told, whatever the machine has."""


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Within this context, torch computes with a number of threads.

    Args:
        count: How many; None leaves the number as it is.

    Yields:
        Nothing.

    Raises:
        InvalidValueError: There are more than ``MAX_THREADS``.
    """
    if count:
        check_count(count, MAX_THREADS, what="threads", where="--threads")
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def environment(device: torch.device) -> dict[str, Any]:
    """Collect versions and machine, for a record.

    Args:
        device: Where the run is trained.

    Returns:
        Plain data, by name.
    """
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "attnlab": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        **({"numba": importlib.metadata.version("numba")} if loops.installed() else {}),
        "system": platform.system(),
        "device": device.type,
        "processor": gpu or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
