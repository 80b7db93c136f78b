"""What every test stands on: one thread for each worker, and registries without strangers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# Several workers with several threads each would fight for the cores; this stands before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
# What a shell starts in the background ignores Ctrl-C, and what nohup starts the end of a terminal; tests of these
# signals must hold there too, and in the commands that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# An example that takes long on a busy machine is no fault; hypothesis 6 fails one that takes 0.2 s.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _no_stranger_stays() -> Iterator[None]:
    """What a user's file registers in a test is forgotten after it, in whatever order tests run."""
    from attnlab.attention import ATTENTIONS
    from attnlab.block import BLOCKS
    from attnlab.mlp import MLPS
    from attnlab.norm import NORMS
    from attnlab.position import POSITIONS
    from attnlab.registry import Registry
    from attnlab.residual_stream import RESIDUAL_STREAMS
    from attnlab.tasks import TASKS

    registries: tuple[Registry[Any], ...] = (ATTENTIONS, POSITIONS, NORMS, MLPS, BLOCKS, RESIDUAL_STREAMS, TASKS)
    for registry in registries:
        registry.discover()
    before = [dict(registry._entries) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry._entries.clear()
        registry._entries.update(entries)
    for name in [name for name in sys.modules if name.startswith("attnlab_plugin_")]:
        del sys.modules[name]
