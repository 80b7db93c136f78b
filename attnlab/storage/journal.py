"""The journal: one line of JSON per finished run, appended, flushed and fsynced.

A torn last line (the machine died in the middle of writing it) is tolerated when reading and cut off before the next
append; a broken line anywhere else is an error, never skipped.
"""

from __future__ import annotations

import errno
import gc
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from attnlab.errors import StoreError
from attnlab.records import Record
from attnlab.specs import ModelSpec, RunSpec, Section, TaskSpec, TrainSpec

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that takes no more."""
OWN = re.compile(
    rb'\{"id":"([0-9a-f]+)","spec":\{"task":(\{.*\}),"model":(\{.*\}),"train":(\{.*\}),"seed":([0-9]+)\},(".*\})',
    re.DOTALL,
)
"""A line as we write it: id, the sections of its spec, seed, and what the run showed."""
SECTIONS: tuple[type[Section], ...] = (TaskSpec, ModelSpec, TrainSpec)
LOCK_SECONDS = 30.0
"""Seconds to wait for another writer to finish its line."""


class Journal:
    """The records of a store, in the order they were finished.

    Args:
        path: The file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, records: Iterable[Record]) -> None:
        """Add finished runs, durably.

        Raises:
            StoreError: the file cannot be written, or another writer holds it for too long.
        """
        from filelock import FileLock, Timeout

        lines = "".join(f"{record.model_dump_json()}\n" for record in records).encode()
        try:
            with FileLock(self.path.with_suffix(".lock"), timeout=LOCK_SECONDS), self.path.open("ab+") as file:
                file.truncate(_whole(file.seek(0, os.SEEK_END), self.path))
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except Timeout:
            raise StoreError("Another run has been writing here for too long.", where=str(self.path)) from None
        except OSError as error:
            hint = "What was written before still reads; make room, then run it again." if error.errno in FULL else ""
            raise StoreError(f"It cannot be written: {error.strerror}.", hint, where=str(self.path)) from None

    def read(self) -> list[Record]:
        """All records; the later of two with one id stands.

        Raises:
            StoreError: a line other than a torn last one is no record.
        """
        if not self.path.exists():
            return []
        result: dict[str, Record] = {}
        known: dict[bytes, Any] = {}
        with uncollected(), self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = _record(line, known)
                except ValueError:
                    hint = "The line was changed or damaged; move it away to go on without that run."
                    raise StoreError("This line is no record.", hint, where=f"{self.path}:{number}") from None
                result.pop(record.id, None)
                result[record.id] = record
        return list(result.values())


@contextmanager
def uncollected() -> Iterator[None]:
    """Within it nobody looks for cycles: records hold none, and to look takes as long as to read them all."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _record(line: bytes, known: dict[bytes, Any]) -> Record:
    """The record of a line; runs that share their sections share them here too, as that is most of each line."""
    parts = OWN.match(line)
    if not parts:
        return Record.from_line(line.decode())
    run, *sections, seed, rest = parts.groups()
    try:
        for kind, section in zip(SECTIONS, sections, strict=True):
            if section not in known:
                known[section] = kind.model_validate_json(section)
        task, model, train = (known[section] for section in sections)
        spec = RunSpec.model_construct(task=task, model=model, train=train, seed=int(seed))
        return Record.model_validate({"id": run.decode(), "spec": spec, **from_json(b"{%s" % rest)})
    except (ValidationError, ValueError, TypeError):
        return Record.from_line(line.decode())


def _whole(size: int, path: Path) -> int:
    """Bytes of the file up to the end of its last whole line."""
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - 65_536)
            file.seek(start)
            if (result := file.read(end - start).rfind(b"\n")) >= 0:
                return start + result + 1
            end = start
    return 0
