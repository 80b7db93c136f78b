"""Sequences in files, read and checked: .npz, .jsonl and .parquet, by anyone who writes the formats of ``generate``.

Letters  N rows of the file, T tokens of the longest.

Arrays that stand in their archive without compression are mapped, not read: a file may be larger than the memory.
"""

from __future__ import annotations

import json
import zipfile
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.errors import AttnlabError, InvalidFileError
from attnlab.tasks.base import IGNORE
from attnlab.tasks.io.formats import pyarrow
from attnlab.tasks.io.sidecar import PADDING, Stamp, stamp

Whole = NDArray[np.integer[Any]]
Where = Callable[[int], str]
"""The place of a row, as a person finds it."""

MAX_TOKEN = 2**20
"""Most tokens that a vocabulary may have: beyond it, numbers are no tokens."""
ARRAYS = (
    "Accepted: arrays 'inputs' and 'targets' of integers, both rows x tokens, -100 in targets where nothing is asked."
)
RECORDS = 'Accepted: {"inputs": [3, 1, 4], "targets": [null, null, 2]}, null or -100 where nothing is asked.'
ENDINGS = (".npz", ".jsonl", ".parquet")
BLOCK = 2**20
"""Tokens that are checked at once."""


class Table(NamedTuple):
    """The rows of a file, checked."""

    inputs_NT: Whole
    targets_NT: Whole
    highest: int
    """The largest token or answer."""
    favorite: float
    """Share of the most frequent answer."""


def table(path: Path) -> Table:
    """The rows of a file; read once for as long as the file does not change.

    Raises:
        InvalidFileError: it is not there, or is not what its ending says; carries the first row that is wrong.
    """
    return _table(path, stamp(path))


@lru_cache(maxsize=4)
def _table(path: Path, stamped: Stamp) -> Table:
    readers = {".npz": _npz, ".jsonl": _jsonl, ".parquet": _parquet}
    if path.suffix not in readers:
        hint = f"Accepted: {', '.join(readers)}, as attnlab generate writes them."
        raise InvalidFileError(f"The ending '{path.suffix}' is none that is read back.", hint, where=str(path))
    inputs_NT, targets_NT, where = readers[path.suffix](path)
    hint = ARRAYS if path.suffix == ".npz" else RECORDS
    highest, counts = 0, np.zeros(MAX_TOKEN, dtype=np.int64)
    size = max(1, BLOCK // max(1, inputs_NT.shape[1]))
    for start in range(0, len(inputs_NT), size):
        inputs, targets = (whole[start : start + size].astype(np.int64) for whole in (inputs_NT, targets_NT))
        _refuse_strangers(inputs, targets, start, where, hint)
        answers = targets[targets != IGNORE]
        highest = max(highest, int(inputs.max()), int(answers.max()))
        counts += np.bincount(answers, minlength=MAX_TOKEN)
    asked = int(counts.sum())
    return Table(inputs_NT, targets_NT, highest, int(counts.max()) / asked if asked else 0.0)


def _refuse_strangers(inputs: Whole, targets: Whole, start: int, where: Where, hint: str) -> None:
    """Refuse the first row with a number that is no token, or without a question."""
    foreign = (inputs < 0) | (inputs >= MAX_TOKEN)
    wrong = ((targets < 0) & (targets != IGNORE)) | (targets >= MAX_TOKEN)
    silent = ~(targets != IGNORE).any(axis=1)
    bad = np.flatnonzero(foreign.any(axis=1) | wrong.any(axis=1) | silent)
    if not len(bad):
        return
    row = int(bad[0])
    if silent[row]:
        raise InvalidFileError("Nothing is asked in this row.", hint, where=where(start + row))
    name, whole, which = ("inputs", inputs, foreign) if foreign[row].any() else ("targets", targets, wrong)
    place = int(np.flatnonzero(which[row])[0])
    words = f"{name}[{place}] is {whole[row, place]}; tokens are 0 to {MAX_TOKEN - 1:,}."
    raise InvalidFileError(words, hint, where=where(start + row))


def _npz(path: Path) -> tuple[Whole, Whole, Where]:
    """Two arrays of an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            stored = {name.removesuffix(".npy") for name in archive.namelist()}
            for name in ("inputs", "targets"):
                if name not in stored:
                    words = f"It holds no '{name}', but {', '.join(sorted(stored)) or 'nothing'}."
                    raise InvalidFileError(words, ARRAYS, where=str(path))
            inputs_NT, targets_NT = (_member(path, archive, f"{name}.npy") for name in ("inputs", "targets"))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise InvalidFileError(f"It is no sound npz file: {error}.", ARRAYS, where=str(path)) from None
    for name, whole in (("inputs", inputs_NT), ("targets", targets_NT)):
        if whole.ndim != 2 or whole.dtype.kind not in "iu":
            words = f"The array '{name}' holds {whole.dtype} in {whole.ndim} dimensions."
            raise InvalidFileError(words, ARRAYS, where=str(path))
    if inputs_NT.shape != targets_NT.shape:
        words = f"'inputs' is {_by(inputs_NT)}, but 'targets' is {_by(targets_NT)}."
        raise InvalidFileError(words, ARRAYS, where=str(path))
    return inputs_NT, targets_NT, lambda row: f"{path}: row {row}"


def _by(whole: Whole) -> str:
    return " x ".join(map(str, whole.shape))


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Whole:
    """One array: mapped where it stands as it is, else read.

    Raises:
        ValueError: it is no array of numbers, or a part of it is missing.
    """
    member = archive.getinfo(name)
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        heads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in heads:
            raise ValueError(f"{name} is of version {version}")
        shape, columns_first, dtype = heads[version](file)
        begun = file.tell()
    if member.compress_type != zipfile.ZIP_STORED or columns_first or dtype.hasobject or 0 in shape:
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    with path.open("rb") as raw:
        raw.seek(member.header_offset + 26)
        named, extra = (int.from_bytes(raw.read(2), "little") for _ in range(2))
    start = member.header_offset + 30 + named + extra + begun
    return np.memmap(path, dtype, "r", offset=start, shape=shape)


def _jsonl(path: Path) -> tuple[Whole, Whole, Where]:
    """One record on each line."""

    def records() -> Iterator[tuple[Any, str]]:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield json.loads(line), f"{path}:{number}"
                except (ValueError, RecursionError) as error:
                    words = f"It is no JSON: {error}."
                    raise InvalidFileError(words, RECORDS, where=f"{path}:{number}") from None

    return *_stacked(records()), lambda row: f"{path}:{row + 1}"


def _parquet(path: Path) -> tuple[Whole, Whole, Where]:
    """One record in each row."""
    try:
        parquet = pyarrow("pyarrow.parquet")
    except AttnlabError as error:
        raise error.at(str(path)) from None

    def records() -> Iterator[tuple[Any, str]]:
        row = 0
        try:
            with parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=["inputs", "targets"]):
                    for record in batch.to_pylist():
                        yield record, f"{path}: row {row}"
                        row += 1
        except (ValueError, OSError) as error:
            raise InvalidFileError(f"It is no sound Parquet file: {error}.", RECORDS, where=str(path)) from None

    return *_stacked(records()), lambda row: f"{path}: row {row}"


def _stacked(records: Iterator[tuple[Any, str]]) -> tuple[Whole, Whole]:
    """Records of several lengths as two arrays, padded at the end."""
    flat, lengths = (array("i"), array("i")), array("i")
    for record, where in records:
        for name, numbers, into in zip(("inputs", "targets"), _lists(record, where), flat, strict=True):
            try:
                into.extend(numbers)
            except OverflowError:
                raise InvalidFileError(
                    f"'{name}' holds {max(numbers, key=abs)}, which is no token.", RECORDS, where=where
                ) from None
        lengths.append(len(record["inputs"]))
    widths = np.asarray(lengths)
    shape = (len(widths), int(widths.max(initial=0)))
    within = np.arange(shape[1]) < widths[:, None]
    padded = np.full(shape, PADDING, dtype=np.int32), np.full(shape, IGNORE, dtype=np.int32)
    for whole, laid in zip(padded, flat, strict=True):
        whole[within] = np.asarray(laid)
    return padded


def _lists(record: Any, where: str) -> tuple[list[int], list[int]]:
    """Inputs and targets of one record."""
    if not isinstance(record, Mapping) or set(record) != {"inputs", "targets"}:
        stored = f"the keys {', '.join(map(str, record))}" if isinstance(record, Mapping) else type(record).__name__
        raise InvalidFileError(f"The record is not of the keys inputs and targets, but {stored}.", RECORDS, where=where)
    inputs, targets = record["inputs"], record["targets"]
    for name, numbers in (("inputs", inputs), ("targets", targets)):
        if not isinstance(numbers, list) or not numbers:
            raise InvalidFileError(f"'{name}' is {numbers!r:.40}, not a list of numbers.", RECORDS, where=where)
        for place, number in enumerate(numbers):
            if type(number) is not int and not (number is None and name == "targets"):
                raise InvalidFileError(f"{name}[{place}] is {json.dumps(number):.40}.", RECORDS, where=where)
    if len(inputs) != len(targets):
        words = f"There are {len(inputs)} inputs, but {len(targets)} targets."
        raise InvalidFileError(words, RECORDS, where=where)
    return inputs, [IGNORE if target is None else target for target in targets]
