"""Denormal numbers, those below the smallest normal one, are flushed to zero while steps are taken on a CPU.

Keys that score 87 nats or more below the best key have denormal weights, and sharp heads give such weights to most
keys. They do not change the result, but a processor computes each one separately: products of denormal numbers take
fifty times as long, and whole steps were measured to take four times as long.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Flush denormals to zero within this context, and restore the setting of the calling thread afterwards.

    Each thread has a setting of its own and passes it on to the threads that it starts. Torch starts its threads at the
    first large operation and keeps them: threads started before this context was first entered keep their setting.
    """
    if flushes_denormals():
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def flushes_denormals() -> bool:
    """Whether the calling thread flushes denormals to zero."""
    smallest = sys.float_info.min
    return smallest / 2 == 0
