"""The start of a worker, before anything large is imported: from then on it never outlives its driver for long.

A driver that is killed cannot tell its workers. On Linux the system ends them with it; elsewhere, and where the driver
started them from a thread that ends sooner, a thread of the worker watches the driver. Neither waits for the operation
that torch is in. Nothing is half-written by this: workers write no files.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnlab.execution.worker_parts import WorkerParts

WATCH_SECONDS = 0.5
"""Seconds between two looks at the parent of this process."""
DIE_WITH_PARENT = 1
"""``PR_SET_PDEATHSIG`` of prctl(2)."""


def start(connection: Connection, by_main_thread: bool, settings: bytes) -> None:
    """Begin a worker of :class:`attnlab.execution.processes.Processes`.

    Args:
        connection: The connection to the driver.
        by_main_thread: Whether the driver's main thread starts it.
        settings: How jobs are run, pickled: reading them imports torch.
    """
    end_with_driver(by_main_thread)
    from attnlab.execution.serving import serve

    serve(connection, pickle.loads(settings))


def start_in_pool(by_main_thread: bool, parts: bytes) -> None:
    """Begin a process of a pool: one thread, the user's parts; Ctrl-C or the death of its driver ends it silently.

    Args:
        by_main_thread: Whether the driver's main thread starts it.
        parts: What the driver sent, pickled: :class:`attnlab.execution.worker_parts.WorkerParts`.

    Raises:
        PluginError: A file or module cannot be loaded, or a class cannot be read.
    """
    end_with_driver(by_main_thread)
    import torch

    from attnlab.execution.worker_parts import load_worker_parts

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    torch.set_num_threads(1)
    load_worker_parts(pickle.loads(parts))


def pool_arguments(parts: WorkerParts) -> tuple[bool, bytes]:
    """The arguments of :func:`start_in_pool`.

    Args:
        parts: The user's parts.

    Returns:
        The arguments, for processes that this thread starts.
    """
    return threading.current_thread() is threading.main_thread(), pickle.dumps(parts)


def end_with_driver(by_main_thread: bool) -> None:
    """End this process once its driver has died, even if it was killed.

    Args:
        by_main_thread: Whether the driver's main thread started this process: Linux tells of the death of the thread.
    """
    if sys.platform == "linux" and by_main_thread:
        import ctypes

        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True, name="watches the driver").start()


def _watch(parent_id: int) -> None:
    parent = multiprocessing.parent_process()
    sentinels = [parent.sentinel] if parent is not None else []
    while os.getppid() == parent_id and not wait(sentinels, timeout=WATCH_SECONDS):
        pass
    os._exit(1)
