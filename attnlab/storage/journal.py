"""The journal: one line of JSON per finished run, appended, flushed and fsynced.

A torn last line (the machine died while it was written) is tolerated when reading and cut off before the next append.
Any other line that is no record, blank, foreign or damaged, is left out with a warning that has its number and what is
wrong, and stays as it is. A line of a newer attnlab is read, unless its spec has a field or a word that this one does
not know: such a run is left out likewise. In a store of format 1, which is rewritten, such a line is an error.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import from_json

from attnlab.errors import NewerRecordWarning, StoreError, StoreWarning, plain_reason
from attnlab.records import Record, newer_fields
from attnlab.specs import ModelSpec, RunSpec, Section, TaskSpec, TrainSpec
from attnlab.storage._migration import migrated_record
from attnlab.storage.files import unwritable, write_whole
from attnlab.user_code import user_stacklevel

if TYPE_CHECKING:
    from attnlab.storage.journal_index import JournalIndex
    from attnlab.storage.stored_record import LineReader

OLD_JOURNAL = "records.format-1.jsonl"
"""Where a migrated store keeps its lines of format 1."""
LISTED = 5
"""Lines that a warning names at most."""
LINE_BYTES = 2**26
"""Bytes of a line that is read; that of a run with all its diagnostics has thousands."""
REASON = 200
"""Characters of a reason at most: it may quote what is read."""
LOCK_SECONDS = 30.0
"""Seconds to wait for another writer to finish its line."""
SPEC, SEED, STATUS, HISTORY = b'"spec":{"task":', b',"seed":', b'},"status":', b'"history":['
MODEL, TRAIN = b',"model":{', b',"train":{'
"""These occur outside of JSON strings only: within a string, a quotation mark follows a backslash."""

LARGE = 2**21
"""Bytes from which on a journal is scanned: below, whole records are read as quickly."""

Sections = dict[bytes, Any]


class Journal:
    """The records of a store, in the order in which they were finished.

    Args:
        path: The file, which need not exist yet.
        migrate: Whether the lines are of format 1 and are translated as they are read.
    """

    def __init__(self, path: Path, *, migrate: bool = False) -> None:
        self.path, self.migrate = path, migrate
        self._latest: tuple[tuple[int, ...], list[Record]] | None = None
        """The state of the file when it was last scanned, and its records."""

    def append(self, records: Iterable[Record]) -> None:
        """Add finished runs, durably.

        Args:
            records: Their records.

        Raises:
            StoreError: The file cannot be written, or another writer holds it for too long.
        """
        lines = "".join(f"{record.model_dump_json()}\n" for record in records).encode()
        with self._locked(), self.path.open("ab+") as file:
            file.truncate(_whole(file.seek(0, os.SEEK_END), self.path))
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def take(self, runs: Collection[str], keep: Callable[[bytes], None]) -> None:
        """Remove the lines of some runs; all other bytes stay as they are.

        Args:
            runs: Ids of the runs.
            keep: Receives the lines before they are removed; if it raises, nothing is removed.

        Raises:
            StoreError: The file cannot be written, or another writer holds it for too long.
        """
        with self._locked():
            lines = self.path.read_bytes().splitlines(keepends=True)
            taken = [line_id(line) in runs for line in lines]
            keep(b"".join(line for line, own in zip(lines, taken, strict=True) if own))
            write_whole(self.path, b"".join(line for line, own in zip(lines, taken, strict=True) if not own))

    def put_back(self, lines: bytes) -> None:
        """Add lines that were removed, at the end; those that are there already stay where they are.

        Args:
            lines: What :meth:`take` gave.

        Raises:
            StoreError: A run was run again since; or the file cannot be written.
        """
        with self._locked(), self.path.open("ab+") as file:
            file.truncate(_whole(file.seek(0, os.SEEK_END), self.path))
            present = self.path.read_bytes().splitlines(keepends=True)
            new = [line for line in lines.splitlines(keepends=True) if line not in present]
            again = {line_id(line) for line in present} & {line_id(line) for line in new}
            if again:
                hint = "Remove the new one first, or keep it and leave the old one in the trash."
                raise StoreError(f"Run {min(again)} was run again since it was removed.", hint, where=str(self.path))
            file.write(b"".join(new))
            file.flush()
            os.fsync(file.fileno())

    def rewrite(self) -> list[Record]:
        """Replace the lines of format 1 by lines of format 2; the old file is kept beside it.

        Returns:
            All records.

        Raises:
            StoreError: A line is no record, or the file cannot be written.
        """
        with self._locked():
            records = self.read()
            if self.path.exists():
                old = self.path.with_name(OLD_JOURNAL)
                if not old.exists():
                    write_whole(old, self.path.read_bytes())
                write_whole(self.path, "".join(f"{record.model_dump_json()}\n" for record in records).encode())
        self.migrate = False
        return records

    def read(self, *, history: bool = True) -> list[Record]:
        """Read all records; of two with one id the later one counts.

        Args:
            history: Whether all points of the histories are read, or only the last, which takes a third of the time.

        Returns:
            The records.

        Raises:
            StoreError: The file cannot be read; or a line of a store of format 1 is no record.

        Warns:
            StoreWarning: Lines that are no records are left out; each is named with what is wrong with it.
            NewerRecordWarning: Runs of a newer attnlab are left out, because their specs have fields or words that this
                one does not know.
        """
        if not self.path.exists():
            return []
        result: dict[str, Record] = {}
        sections: Sections = {}
        newer: dict[int, list[str]] = {}
        damaged: dict[int, str] = {}
        try:
            *lines, _torn = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise StoreError(f"It cannot be read: {error.strerror}.", where=str(self.path)) from None
        with uncollected():
            for number, line in enumerate(lines, 1):
                try:
                    record = self._record(line, sections, history)
                except ValueError as error:
                    self._leave_out(line, error, number, newer, damaged)
                    continue
                result.pop(record.id, None)
                result[record.id] = record
        self._warn(newer, damaged)
        return list(result.values())

    def scan(self, *, history: bool = True) -> list[Record]:
        """Read all records as listings and reports need them; of two with one id the later one counts.

        Args:
            history: Whether all points of the histories are needed where whole records are read.

        Returns:
            The records. Those of a large journal read some of their fields when they are used; see
            :mod:`attnlab.storage.stored_record`. What was read of it before is in its index; see
            :mod:`attnlab.storage.journal_index`.

        Raises:
            StoreError: As :meth:`read`.

        Warns:
            StoreWarning: As :meth:`read`.
            NewerRecordWarning: As :meth:`read`.
        """
        try:
            if self.migrate or self.path.stat().st_size < LARGE:
                return self.read(history=history)
            if self._latest and self._latest[0] == _state(self.path.stat()):
                return list(self._latest[1])
            with uncollected():
                found, state = self._scanned()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"It cannot be read: {error.strerror}.", where=str(self.path)) from None
        self._warn(found.newer, found.damaged)
        records = list(found.records.values())
        self._latest = state, records
        return list(records)

    def _scanned(self) -> tuple[JournalIndex, tuple[int, ...]]:
        """The index of the journal with the lines that it did not have yet, and the state of the file before."""
        from attnlab.storage.journal_index import SHARE, load_index, save_index
        from attnlab.storage.stored_record import LineReader, Lines

        sections: Sections = {}
        lines = Lines(self.path, lambda line, history: self._record(line, sections, history))
        state = _state(lines.stat())
        index = load_index(self.path, lines, lambda kind, text: _section(kind, text, sections))
        reader, before = LineReader(lines), index.end
        with lines.opened() as file:
            file.seek(before)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # torn
                start, index.end, index.lines = index.end, index.end + len(line), index.lines + 1
                index.digest.update(line)
                record = _scanned_line(line, start, sections, reader)
                if record is None:
                    try:
                        record = self._record(line[:-1], sections, False)
                    except ValueError as error:
                        self._leave_out(line[:-1], error, index.lines, index.newer, index.damaged)
                        continue
                    index.places[record.id] = start, len(line)
                else:
                    index.places.pop(record.id, None)
                index.records.pop(record.id, None)
                index.records[record.id] = record
        if index.end - before > max(LARGE - 1, before // SHARE):
            save_index(self.path, index, {id(section): text for text, section in sections.items()})
        return index, state

    def _leave_out(
        self, line: bytes, error: ValueError, number: int, newer: dict[int, list[str]], damaged: dict[int, str]
    ) -> None:
        """Note a line that is no record, and why."""
        if not self.migrate and isinstance(error, ValidationError) and (fields := newer_fields(error)):
            newer[number] = fields
            return
        if self.migrate:
            hint = "The line was changed or damaged; move it away to go on without that run."
            raise StoreError("This line is no record.", hint, where=f"{self.path}:{number}") from None
        damaged[number] = _reason(line, error)

    def _warn(self, newer: Mapping[int, Sequence[str]], damaged: Mapping[int, str]) -> None:
        """Tell of lines that are left out."""
        if newer:
            warnings.warn(_left_out(self.path, newer), NewerRecordWarning, stacklevel=user_stacklevel())
        for text in _damaged(self.path, damaged):
            warnings.warn(text, StoreWarning, stacklevel=user_stacklevel())

    def _record(self, line: bytes, sections: Sections, history: bool) -> Record:
        if len(line) > LINE_BYTES:
            raise ValueError(f"it has {len(line):,} bytes; up to {LINE_BYTES:,} are read")
        if self.migrate:
            try:
                return migrated_record(from_json(line))
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(str(error)) from None
        try:
            return _quick(line, sections, history)
        except (ValueError, TypeError):
            return Record.from_line(line.decode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.path.with_suffix(".lock"), timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise StoreError("Another run has been writing here for too long.", where=str(self.path)) from None
        except OSError as error:
            raise unwritable(error, self.path) from None


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector: records hold no cycles, and looking for them takes as long as reading."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _state(found: os.stat_result) -> tuple[int, ...]:
    """What differs where a file was written to, or replaced."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def line_id(line: bytes) -> str:
    """Read the id of a line.

    Args:
        line: A line of a journal, which may be torn.

    Returns:
        The id; empty where the line is torn.
    """
    try:
        return str(from_json(line)["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def _left_out(path: Path, newer: Mapping[int, Sequence[str]]) -> str:
    """Say which lines are left out, and why."""
    fields = ", ".join(dict.fromkeys(field for own in newer.values() for field in own))
    lines = ", ".join(map(str, [*newer][:LISTED])) + (f" and {len(newer) - LISTED} more" if len(newer) > LISTED else "")
    runs = "1 run is left out" if len(newer) == 1 else f"{len(newer)} runs are left out"
    return (
        f"{path}: {runs}, line {lines}. This attnlab does not know {fields}. "
        "A newer one may have written it: update attnlab to read such runs; their lines are kept."
    )


def _reason(line: bytes, error: ValueError) -> str:
    """Say why a line is no record."""
    if not line.strip():
        return "it is blank"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return "it is no JSON" if "recursion" not in first["msg"] else "it is nested too deeply"
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {plain_reason(first['msg'])}"[:REASON].removeprefix(": ")


def _damaged(path: Path, damaged: Mapping[int, str]) -> Iterator[str]:
    """Say which lines are no records: the first few one by one."""
    for number in [*damaged][:LISTED]:
        yield f"{path}:{number}: this line is left out: {damaged[number]}. The line stays as it is."
    if len(damaged) > LISTED:
        yield f"{path}: {len(damaged) - LISTED} more lines are left out, the last of them line {[*damaged][-1]}."


def _seed(text: bytes) -> int:
    """Read the seed of a line; what is no plain number is left to the slow reader."""
    if not text.isdigit():
        raise ValueError(text)
    return int(text)


def _scanned_line(line: bytes, start: int, sections: Sections, reader: LineReader) -> Record | None:
    """Read what is needed of a line as attnlab writes it; None if it is another one."""
    from attnlab.storage.stored_record import bare_spec

    try:
        cut = _cut(line, sections, history=False)
        if cut is None:
            return None
        spec, text, rest = cut
        return reader.record(text + rest, bare_spec(spec), start, len(line))
    except (ValueError, TypeError, KeyError):
        return None


def _quick(line: bytes, sections: Sections, history: bool) -> Record:
    """Read a line as attnlab writes it; sections of the spec that were read before are shared.

    Most of a line is the spec, which many runs share except for the seed, and the history. Both are cut out of the
    text: a section that is known is not parsed again, and of the history the last point alone, if that suffices.
    """
    cut = _cut(line, sections, history)
    if cut is None:
        return Record.from_line(line.decode())
    spec, text, rest = cut
    data: dict[str, Any] = from_json(text + rest, cache_strings="all")
    data["spec"] = RunSpec.model_construct(**spec)
    return Record.model_validate(data)


def _cut(line: bytes, sections: Sections, history: bool) -> tuple[dict[str, Any], bytes, bytes] | None:
    """The fields of the spec, and the text without it, in two parts; None if the line is written in another way."""
    start, stop = line.find(SPEC), line.find(STATUS)
    seed, points = line.rfind(SEED, start, stop), line.find(HISTORY, stop)
    train = line.rfind(TRAIN, start, seed)
    model = line.rfind(MODEL, start, train)
    if min(start, stop, seed, points, train, model) < 0:
        return None
    spec = {
        "task": _section(TaskSpec, line[start + len(SPEC) : model], sections),
        "model": _section(ModelSpec, line[model + len(MODEL) - 1 : train], sections),
        "train": _section(TrainSpec, line[train + len(TRAIN) - 1 : seed], sections),
        "seed": _seed(line[seed + len(SEED) : stop]),
    }
    points += len(HISTORY)
    last = points if history else max(points, line.rfind(b"{", points, line.find(b"]", points)))
    return spec, line[:start] + line[stop + 2 : points], line[last:]


def _section(kind: type[Section], text: bytes, sections: Sections) -> Any:
    section = sections.get(text)
    if section is None:
        section = sections[text] = kind.model_validate_json(text)
    return section


def _whole(size: int, path: Path) -> int:
    """Count the bytes of the file up to the end of its last complete line."""
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - 65_536)
            file.seek(start)
            if (newline := file.read(end - start).rfind(b"\n")) >= 0:
                return start + newline + 1
            end = start
    return 0
