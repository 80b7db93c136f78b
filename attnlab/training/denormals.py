"""Numbers below the smallest normal one count as zero while steps are taken on a CPU.

Keys that score 87 nats or more below the best one have such weights, and sharp heads give them to most keys. They mean
nothing, but a processor works on each by itself: products that are full of them take fifty times as long, and whole
steps were seen to take four.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flush_denormals() -> Iterator[None]:
    """While it is open; then the thread that opened it is as it was.

    A processor's threads each have a setting of their own, and hand it on to those they start. Torch starts its threads
    at the first large operation and keeps them: where that came before this was first opened, they go on as they are.
    """
    if tiny_is_zero():
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def tiny_is_zero() -> bool:
    """Whether this thread takes numbers below the smallest normal one for zero."""
    smallest = sys.float_info.min
    return smallest / 2 == 0
