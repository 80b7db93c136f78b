"""The command line: every command parses its options, calls the library and prints the result."""

from __future__ import annotations

import errno
import io
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from attnlab.cli.app import app
from attnlab.cli.faults import check_words, memory_error, system_error
from attnlab.cli.messages import tell
from attnlab.cli.renamed import renamed_options
from attnlab.errors import (
    AttnlabError,
    InterruptedTraining,
    NewerRecordWarning,
    PartWarning,
    RenamedWarning,
    StoreWarning,
)
from attnlab.stop_signals import exit_status, signal_name, signal_of, stop_requests

PRINTED = (RenamedWarning, PartWarning, NewerRecordWarning, StoreWarning)
"""Warnings that are printed as one line each."""


def main() -> None:
    """Run the command line; a user's mistake ends in one block on the standard error, never in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an output that is not UTF-8 shows ? for what it cannot hold
    status: int | str | None = 0
    try:
        _run()
    except SystemExit as exit:
        status = exit.code
    except KeyboardInterrupt as stop:  # before a command has begun, or after it has ended
        tell(f"attnlab: Stopped by {signal_name(signal_of(stop))}.")
        status = exit_status(signal_of(stop))
    sys.exit(_flushed(status))


def _run() -> None:
    """Run the command of the arguments."""
    command, *rest = sys.argv[1:] or [""]
    words, notes = renamed_options(command, rest)
    sys.argv[2:] = words
    for note in notes:
        tell(f"attnlab: {note}")
    try:
        check_words(sys.argv[1:])
        with stop_requests(), _one_line_for_each_warning():
            app(prog_name="attnlab")
    except InterruptedTraining as error:
        _exit(error, f"  {shlex.join(['attnlab', *_resuming(sys.argv[1:])])}" if "--resume" in error.hint else "")
    except AttnlabError as error:
        _exit(error)
    except OSError as error:
        if (known := system_error(error)) is None:
            raise
        _exit(known)
    except (MemoryError, RuntimeError) as error:
        if (known := memory_error(error)) is None:
            raise
        _exit(known)


def _flushed(status: int | str | None) -> int | str | None:
    """Write what is left of the output; the status tells where that failed, unless the reader has gone away."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # What the interpreter writes at its end goes nowhere, and raises no second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            tell(f"attnlab: {str(system_error(error) or error).strip()}")
            return status or 1
    return status


@contextmanager
def _one_line_for_each_warning() -> Iterator[None]:
    """Print each warning of attnlab's own once, as one line; other warnings are shown as before."""
    with warnings.catch_warnings():
        show_other = warnings.showwarning
        printed: set[str] = set()

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            text = str(message)
            if not issubclass(category, PRINTED):
                show_other(message, category, filename, lineno, file, line)
            elif text not in printed:
                printed.add(text)
                tell(f"attnlab: {text}")

        warnings.showwarning = show
        for printed_always in PRINTED:
            warnings.simplefilter("always", printed_always)
        yield


def _exit(error: AttnlabError, command: str = "") -> None:
    """Print an error, and the command that continues where there is one; exit with the status of the error."""
    lines = f"attnlab: {str(error).strip()}" + (f"\n{command}" if command else "")
    tell(lines)
    sys.exit(error.status)


def _resuming(words: list[str]) -> list[str]:
    """Add ``--resume`` to the words of a command."""
    return words if "--resume" in words else [*words, "--resume"]
