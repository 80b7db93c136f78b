"""Records of a large journal: what listings and reports need of each is read at once, the rest when it is asked for.

A record takes about 5 KB, most of it things that few commands look at: the environment, diagnostics, scores on other
levels, the learning curve. A stored record holds the rest of it (2 KB) and the place of its line. The first use of
anything else reads that line again and makes it whole: it is a record like any other, only slower at that moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, final

from pydantic import BaseModel, PrivateAttr, TypeAdapter

from attnlab.errors import StoreError
from attnlab.records import Record, Score, SequenceSums
from attnlab.specs import RunSpec
from attnlab.storage._plain_data import plain_data

LARGE_FIELDS = ("exact_match", "evaluations", "diagnostics", "history", "diagnostics_history")
"""Fields that are not kept, unless they are empty; neither is the environment."""
CODE, OLD_ID = b'"code":', b'"format_1_id":'
"""What few environments have, and listings look for: such an environment is kept."""


@final
class Lines:
    """The lines of a journal as it was when it was read, even if it is replaced meanwhile.

    Args:
        path: The journal.
        decode: Reads a line, with its history or the last point of it; raises a ValueError if it is no record.

    Raises:
        OSError: It cannot be read.
    """

    def __init__(self, path: Path, decode: Callable[[bytes, bool], Record]) -> None:
        self.path, self._decode = path, decode
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def stat(self) -> os.stat_result:
        """The state of the file."""
        return os.fstat(self._file)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Read the file from its beginning; nothing else may be read of it meanwhile.

        Yields:
            The file.
        """
        os.lseek(self._file, 0, os.SEEK_SET)
        with open(os.dup(self._file), "rb", buffering=1 << 20) as file:
            yield file

    def at(self, start: int, size: int, run: str, *, history: bool = True) -> Record:
        """Read one line again.

        Args:
            start: Where it begins, in bytes.
            size: How long it is.
            run: The id of the run that it had.
            history: Whether all points of the history are read.

        Returns:
            The whole record.

        Raises:
            StoreError: The file was changed in its midst.
        """
        record = None
        with suppress(OSError, ValueError):
            os.lseek(self._file, start, os.SEEK_SET)
            record = self._decode(os.read(self._file, size).removesuffix(b"\n"), history)
        if record is None or record.id != run:
            raise StoreError("It was changed while it was read.", "Run the command again.", where=str(self.path))
        return record


class IndexRows(Protocol):
    """Rows of an index, from which stored records are filled when they are used."""

    lines: Lines

    def place(self, row: int) -> tuple[int, int]:
        """Find the line of a row.

        Args:
            row: The number of the row.

        Returns:
            Where it begins, and how long it is, in bytes.
        """
        ...

    def last(self, row: int) -> float | None:
        """Tell the accuracy of its last validation.

        Args:
            row: The number of the row.

        Returns:
            The accuracy; None without a validation.
        """
        ...

    def field(self, row: int, name: str) -> Any:
        """Read one of its fields that are kept.

        Args:
            row: The number of the row.
            name: The field.

        Returns:
            The value.

        Raises:
            KeyError: The field is not kept.
        """
        ...

    def others(self, row: int) -> dict[str, Any]:
        """Read all its other fields that are kept.

        Args:
            row: The number of the row.

        Returns:
            Field -> value.
        """
        ...

    def environment(self, row: int) -> Mapping[str, Any]:
        """Read its environment.

        Args:
            row: The number of the row.

        Returns:
            The environment if it is kept; empty elsewhere.
        """
        ...

    def fill(self, row: int, own: dict[str, Any]) -> None:
        """Add its spec, its accuracy and, if it has none, its evaluations.

        Args:
            row: The number of the row.
            own: The fields of its record.
        """
        ...

    def common(self, row: int) -> Mapping[str, Any]:
        """Read its fields that many rows share.

        Args:
            row: The number of the row.

        Returns:
            The same mapping for all of these.
        """
        ...


class StoredRecord(Record):
    """A record of which some fields are read from its line, or its row in the index, when they are first used."""

    _place: tuple[Lines, int, int] | None = PrivateAttr(default=None)
    """Its line: the file, where it begins, how long it is; None once the record is whole."""
    _last: float | None = PrivateAttr(default=None)
    """Accuracy at its last validation."""
    _row: tuple[IndexRows, int] | None = PrivateAttr(default=None)
    """Its row in the index, in place of these two; None once everything that is kept has been filled in."""

    def whole(self) -> Self:
        """Read everything.

        Returns:
            The record itself.

        Raises:
            StoreError: The journal was changed in its midst.
        """
        self.kept()
        private = self.__pydantic_private__
        if private and (place := private["_place"]):
            lines, start, size = place
            record = lines.at(start, size, self.__dict__["id"])
            spec = self.__dict__["spec"]
            object.__setattr__(self, "__pydantic_fields_set__", record.__pydantic_fields_set__)
            object.__setattr__(self, "__pydantic_extra__", record.__pydantic_extra__)
            object.__setattr__(self, "__dict__", {**record.__dict__, "spec": spec})
            private["_place"] = None
        return self

    def kept(self) -> Self:
        """Fill in everything that the index has.

        Returns:
            The record itself.
        """
        private = self.__pydantic_private__
        if private and (found := private["_row"]):
            rows, row = found
            own = self.__dict__
            own |= {**rows.others(row), **own}
            for name in ("spec", "accuracy"):
                if name not in own:
                    own[name] = rows.field(row, name)
            private |= {"_row": None, "_place": (rows.lines, *rows.place(row)), "_last": rows.last(row)}
        return self

    @property
    def last_validation(self) -> float | None:
        """Accuracy at the last validation, without reading the line."""
        found = self._row
        return found[0].last(found[1]) if found else self._last

    @property
    def rare_environment(self) -> Mapping[str, Any]:
        """The environment where it has what few runs have (:data:`RARE`); empty elsewhere, without reading the line."""
        private = self.__pydantic_private__
        if private and (found := private["_row"]):
            return found[0].environment(found[1])
        return self.__dict__.get("environment", {})

    def __getattr__(self, name: str) -> Any:
        """Fields that were not read yet."""
        private = self.__pydantic_private__
        if private and name in _RECORD_FIELDS:
            own = self.__dict__
            if found := private["_row"]:
                with suppress(KeyError):
                    value = found[0].field(found[1], name)
                    if name == "spec" or name == "accuracy":
                        own[name] = value
                    return value
            return self.whole().__dict__[name]
        return super().__getattr__(name)  # type: ignore[misc]

    def __eq__(self, other: object) -> bool:
        """Equal to any record with the same values, wherever it was read."""
        if not isinstance(other, Record):
            return NotImplemented
        if isinstance(other, StoredRecord):
            other.whole()
        self.whole()
        return self.__dict__ == other.__dict__ and self.__pydantic_extra__ == other.__pydantic_extra__

    __hash__ = None  # type: ignore[assignment]  # as any record, whose environment is a mapping

    def __iter__(self) -> Generator[tuple[str, Any], None, None]:
        return super(StoredRecord, self.whole()).__iter__()

    def __repr_args__(self) -> Any:
        return super(StoredRecord, self.whole()).__repr_args__()

    def __getstate__(self) -> dict[Any, Any]:
        return super(StoredRecord, self.whole()).__getstate__()

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """As plain data; see pydantic."""
        return super(StoredRecord, self.whole()).model_dump(**options)

    def model_dump_json(self, **options: Any) -> str:
        """As JSON; see pydantic."""
        return super(StoredRecord, self.whole()).model_dump_json(**options)

    def __copy__(self) -> Self:
        return super(StoredRecord, self.whole()).__copy__()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return super(StoredRecord, self.whole()).__deepcopy__(memo)


def rare_environment(record: Record) -> Mapping[str, Any]:
    """The environment of a record as far as it has what few runs have: own code, an id of format 1.

    Args:
        record: Any record.

    Returns:
        Its environment, or nothing where a stored record has none of them.
    """
    return record.rare_environment if isinstance(record, StoredRecord) else record.environment


def fill(records: Iterable[Record]) -> None:
    """Fill in what every report looks at, which is faster for all records at once than for one after the other.

    Args:
        records: Any records; those that are no rows of an index stay as they are.
    """
    for record in records:
        if type(record) is StoredRecord:
            private = record.__pydantic_private__
            if private and (found := private["_row"]):
                found[0].fill(found[1], record.__dict__)


def one_of_each_kind(records: Iterable[Record]) -> list[Record]:
    """Choose records such that for every record one is listed that has the same fields beside those of its scores.

    Args:
        records: Any records.

    Returns:
        The last of each kind, in order. Records that are no rows of an index are all listed.
    """
    kinds: dict[int, Record] = {}
    for record in records:
        key = id(record)
        if type(record) is StoredRecord:
            private = record.__pydantic_private__
            if private and (found := private["_row"]):
                key = id(found[0].common(found[1]))
        kinds.pop(key, None)
        kinds[key] = record
    return list(kinds.values())


class LineReader:
    """Reads lines as stored records; what it accepts, :class:`attnlab.records.Record` accepts too.

    Args:
        lines: The journal.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._validate = TypeAdapter(plain_data(Record, without=("spec",))).validator.validate_json

    def record(self, text: bytes, spec: RunSpec, start: int, size: int) -> StoredRecord:
        """Make the record of a line.

        Args:
            text: The line without its spec, and with the last point of its history alone.
            spec: Its spec.
            start: Where the line begins in the journal.
            size: How long it is.

        Returns:
            The record.

        Raises:
            ValueError: A field is missing or has another type.
        """
        data = self._validate(text)
        data["spec"], data["accuracy"] = spec, _score(data["accuracy"])
        points = data.get("history")
        for name in LARGE_FIELDS:
            if data.get(name):  # the defaults of these fields are empty
                del data[name]
        if CODE not in text and OLD_ID not in text:
            data.pop("environment", None)
        last = points[-1]["accuracy"] if points else None
        return stored(data, {"_place": (self._lines, start, size), "_last": last, "_row": None})


def stored(data: dict[str, Any], private: dict[str, Any]) -> StoredRecord:
    """Make a stored record of fields that are checked.

    Args:
        data: The fields that are known.
        private: Where the others are: its place, last validation and row.

    Returns:
        The record.
    """
    made: Any = _new(StoredRecord)
    _set_values(made, "__dict__", data)
    _set_fields(made, _RECORD_FIELDS)
    _set_extra(made, {})
    _set_private(made, private)
    record: StoredRecord = made
    return record


def bare_score(correct: int, total: int, chance: float, sums: Sequence[int] | None) -> Score:
    """Make a score of numbers that are checked.

    Args:
        correct: Correct answers.
        total: Questions.
        chance: The chance accuracy.
        sums: The sums over the sequences; None where they are unknown.

    Returns:
        The score.
    """
    values = {"correct": correct, "total": total, "chance": chance, "sequences": None}
    if sums is not None:
        values["sequences"] = _bare(SequenceSums, dict(zip(_SUMS, sums, strict=True)), _NAMES[SequenceSums])
    score: Score = _bare(Score, values, _NAMES[Score])
    return score


def bare_spec(values: dict[str, Any]) -> RunSpec:
    """Make a spec of sections that are checked.

    Args:
        values: Its fields.

    Returns:
        The spec.
    """
    values["continue_from"] = ""
    return _bare(RunSpec, values, _NAMES[RunSpec])


def _score(data: Any) -> Score:
    if isinstance(data, Score):
        return data
    sums = data.setdefault("sequences", None)
    if isinstance(sums, dict):
        data["sequences"] = _bare(SequenceSums, sums, _NAMES[SequenceSums])
    return _bare(Score, data, _NAMES[Score])


_set_fields = BaseModel.__pydantic_fields_set__.__set__  # type: ignore[attr-defined]  # the slots of every value
_set_extra = BaseModel.__pydantic_extra__.__set__  # type: ignore[union-attr]
_set_private = BaseModel.__pydantic_private__.__set__  # type: ignore[union-attr]
_set_values = object.__setattr__
_NAMES: Mapping[type, set[str]] = {kind: set(kind.model_fields) for kind in (RunSpec, Score, SequenceSums, Record)}
"""The names of the fields that were set; all values of a kind share them."""
_RECORD_FIELDS = _NAMES[Record]
_SUMS = tuple(SequenceSums.model_fields)
_new = object.__new__


def _bare(kind: type[Any], values: dict[str, Any], names: set[str], extra: Any = None, private: Any = None) -> Any:
    """A value of checked fields, without checking them again."""
    made: Any = object.__new__(kind)
    _set_values(made, "__dict__", values)
    _set_fields(made, names)
    _set_extra(made, extra)
    _set_private(made, private)
    return made
