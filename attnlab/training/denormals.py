"""Denormal numbers, those below the smallest normal one, are flushed to zero while steps are taken on a CPU.

Keys that score 87 nats or more below the best key have denormal weights, and sharp heads give such weights to most
keys. They do not change the result, but a processor computes each one separately: products of denormal numbers take
fifty times as long, and whole steps were measured to take four times as long.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_REACHED = threading.local()
"""Of each calling thread, to how many threads of torch it has given the setting."""


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Flush denormals to zero within this context, and restore the setting of the calling thread afterwards.

    Each thread has a setting of its own and passes it on to the threads that it starts. Torch starts its threads at the
    first large operation and keeps them. Threads that it has started before are given the setting at the first step,
    and keep it; not where torch was built with another OpenMP than GNU's, as on macOS and Windows.
    """
    if flushes_denormals():
        yield
        return
    if torch.set_flush_denormal(True):
        _flush_in_threads()
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _flush_in_threads() -> None:
    """Give the setting to the threads that torch has started for the calling thread, once."""
    threads = torch.get_num_threads()
    if threads <= getattr(_REACHED, "threads", 1) or (openmp := _loaded_openmp()) is None:
        return
    reached = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: torch.set_flush_denormal(True) and None)
    openmp.GOMP_parallel(reached, None, threads, 0)  # calls it once in each thread, as a large operation would be
    _REACHED.threads = threads


def _loaded_openmp() -> ctypes.CDLL | None:
    """GNU's OpenMP, if it has been loaded into this process."""
    try:
        return ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD)
    except (OSError, AttributeError):  # there is none, or no such mode
        return None


def flushes_denormals() -> bool:
    """Whether the calling thread flushes denormals to zero."""
    smallest = sys.float_info.min
    return smallest / 2 == 0
