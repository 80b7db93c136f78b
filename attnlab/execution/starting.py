"""Start processes: with Ctrl-C blocked, and with nothing imported that the user has not named."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import ModuleType


@contextmanager
def children_started(blocked: frozenset[signal.Signals] = frozenset()) -> Iterator[None]:
    """Start processes of Python within this block.

    They start with Ctrl-C blocked, and import neither the main module nor what lies in the current folder. The same is
    true of the resource tracker, a process that Python starts for the first of them, or for the first lock that
    processes share.

    Args:
        blocked: Signals that are blocked as well; a worker unblocks Ctrl-C alone.

    Yields:
        Nothing.
    """
    with current_folder_not_imported(), sigint_blocked(blocked), main_not_imported():
        yield


@contextmanager
def sigint_blocked(more: frozenset[signal.Signals] = frozenset()) -> Iterator[None]:
    """Block Ctrl-C in this process; a process that is started within the block starts with Ctrl-C blocked.

    Args:
        more: Signals that are blocked as well; a worker unblocks Ctrl-C alone.

    Yields:
        Nothing.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    with current_folder_not_imported():
        resource_tracker.ensure_running()  # starting it, which the first process would do, unblocks Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *more})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def main_not_imported() -> Iterator[None]:
    """Keep processes that are started within this block from importing the main module.

    Python has a spawned process import the main module of its parent. A script read from standard input cannot be
    imported, and one without ``if __name__ == "__main__"`` would begin its sweep anew. Workers do not need it: classes
    of the main module are sent to them by their code.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def current_folder_not_imported() -> Iterator[None]:
    """Keep processes that are started within this block from importing what lies in the current folder.

    Python starts them with ``-c``, for which the current folder comes first on the path of imports: a ``socket.py`` or
    ``pickle.py`` there would be run in place of Python's own. They get the path of their parent afterwards.
    """
    with changed_environment((), PYTHONSAFEPATH="1"):
        yield


@contextmanager
def changed_environment(gone: Collection[str], **new: str) -> Iterator[None]:
    """Within this context, some variables of this process are gone or have other values.

    Args:
        gone: Names that are not there.
        **new: Values by name.

    Yields:
        Nothing.
    """
    before = {name: os.environ.get(name) for name in (*gone, *new)}
    try:
        for name in gone:
            os.environ.pop(name, None)
        os.environ.update(new)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
