"""The locks of a store, which are released when their holder dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnlab.errors import StoreError
from attnlab.storage.files import unwritable

WAIT_FOR_IT = "Wait for it with --wait, or choose another folder with --store."


@contextmanager
def sweep_lock(store: Path, wait: bool, hint: str = WAIT_FOR_IT) -> Iterator[None]:
    """Hold the lock of a store's sweeps.

    Args:
        store: The store.
        wait: Whether to wait while another process holds it.
        hint: What to do where another process holds it.

    Yields:
        Nothing.

    Raises:
        StoreError: Another process holds it, or the store cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(store / "sweep.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError("Another sweep is running here.", hint, where=str(store)) from None
    except OSError as error:
        raise unwritable(error, store) from None
    try:
        yield
    finally:
        lock.release()
