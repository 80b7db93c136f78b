"""Read and check files of sequences: .npz, .jsonl, .parquet and .txt, in the formats that ``generate`` writes.

Letters  N rows of the file, T tokens of the longest row.

Arrays that are not compressed in their archive are mapped, not read, so a file may be larger than the memory.
"""

from __future__ import annotations

import itertools
import zipfile
import zlib
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from attnlab.errors import AttnlabError, InvalidFileError
from attnlab.tasks.base import IGNORE
from attnlab.tasks.io.aligned import aligned_records
from attnlab.tasks.io.formats import pyarrow
from attnlab.tasks.io.integers import integers
from attnlab.tasks.io.sidecar import PADDING, Stamp, read_sidecar, stamp
from attnlab.tasks.io.table import IntArray, Table, equal_where_set, shifted
from attnlab.tasks.io.wrapped import SIGNED, refuse_wrapped, wrapped_hint

RowLocation = Callable[[int], str]
"""Describes the location of a row for an error."""

LINE_BYTES = 2**26
"""Bytes of a line of JSON that is read."""
MAX_TOKEN = 2**20
"""Largest size of a vocabulary: numbers from here on are not tokens."""
ARRAYS = "Accepted: arrays 'inputs' and 'targets' of integers, both rows x tokens, -100 where not supervised."
RECORDS = 'Accepted: {"inputs": [3, 1, 4], "targets": [-100, -100, 2]}, -100 or null where not supervised.'
"""Other keys are passed over, as other columns and arrays are."""
NAMES = (("inputs", "targets"), ("input_ids", "labels"))
"""What the two arrays, columns or keys may be called; the second pair is that of Hugging Face."""
TWICE = "Each target is the next input already, so that shift=true would move it to the position before."
SPLIT_LABELS = ("train", "validation", "test")
"""What a column that names splits may hold."""
LIST_TYPES = ("list", "large_list", "fixed_size_list")
"""How pyarrow writes the types of lists: those of pandas and duckdb, of polars, and of datasets."""
BLOCK_TOKENS = 2**20
"""Tokens that are checked at once."""


def read_table(path: Path, column: str = "", shift: bool = False) -> Table:
    """Read the rows of a file; it is read again only if it changes.

    Args:
        path: The file.
        column: The column, array or key that names the split of each row; empty, the default, where none does.
        shift: Whether each target stands at its own token, and is moved to the position before it.

    Returns:
        The rows.

    Raises:
        InvalidFileError: The file does not exist or does not match its suffix, or has no such column; the error
            names the first wrong row.
    """
    return _read_table(path, column, shift, stamp(path))


@lru_cache(maxsize=4)
def _read_table(path: Path, column: str, shift: bool, stamped: Stamp) -> Table:
    """Read and check the rows block by block; the stamp is part of the key of the cache."""
    readers = {".npz": _npz, ".jsonl": _jsonl, ".parquet": _parquet, ".txt": _txt}
    if path.suffix not in readers:
        hint = f"Accepted: {', '.join(readers)}, as attnlab generate writes them."
        raise InvalidFileError(f"Files with the suffix '{path.suffix}' cannot be read.", hint, where=str(path))
    inputs_NT, targets_NT, where, labels = readers[path.suffix](path, column)
    hint = ARRAYS if path.suffix == ".npz" else RECORDS
    if shift:
        hint = f"{hint} With shift=true the first target of a row is left out, and each other one moves to the left."
    max_token, counts, echoes = 0, np.zeros(MAX_TOKEN, dtype=np.int64), True
    leads, compared = shift, False
    inputs_seen = np.zeros(MAX_TOKEN, dtype=bool)
    lengths: list[NDArray[np.int64]] = []
    size = max(1, BLOCK_TOKENS // max(1, inputs_NT.shape[1]))
    for start in range(0, len(inputs_NT), size):
        inputs, targets = (rows[start : start + size].astype(np.int64) for rows in (inputs_NT, targets_NT))
        if shift:
            leads = leads and equal_where_set(targets[:, :-1], inputs[:, 1:])
            compared = compared or bool((targets[:, :-1] != IGNORE).any())
            targets = shifted(targets)
        _check_rows(inputs, targets, start, where, hint)
        supervised = targets[targets != IGNORE]
        max_token = max(max_token, int(inputs.max()), int(supervised.max()))
        counts += np.bincount(supervised, minlength=MAX_TOKEN)
        echoes = echoes and equal_where_set(targets, inputs)
        inputs_seen[np.unique(inputs)] = True
        ends = ((inputs != PADDING) | (targets != IGNORE))[:, ::-1].argmax(axis=1)
        lengths.append(inputs.shape[1] - ends)
    refuse_wrapped(targets_NT.dtype, counts, inputs_seen, str(path))
    total = int(counts.sum())
    share = int(counts.max()) / total if total else 0.0
    lengths_N = np.concatenate([*lengths, np.zeros(0, np.int64)])
    splits_N = _splits(labels, column, where, str(path))
    several = np.count_nonzero(counts) > 1
    if leads and compared and several:
        raise InvalidFileError(TWICE, "Leave shift out.", where=str(path))
    echoed = total if echoes and several else 0
    return Table(inputs_NT, targets_NT, max_token, share, lengths_N, splits_N, shift, echoed)


def _splits(labels: Sequence[Any] | None, column: str, where: RowLocation, file: str) -> NDArray[np.str_] | None:
    """Check the column that names the split of each row."""
    if labels is None:
        return None
    for row, label in enumerate(labels):
        if label not in SPLIT_LABELS:
            problem = f"'{column}' is {label!r:.40}, which is no split."
            raise InvalidFileError(problem, f"Accepted: {', '.join(SPLIT_LABELS)}.", where=where(row))
    for label in SPLIT_LABELS:
        if label not in labels:
            hint = "Each of the three splits needs a row, or leave task.split out to have them drawn."
            raise InvalidFileError(f"No row has '{label}' in its column '{column}'.", hint, where=file)
    return np.array(labels, dtype=np.str_)


def _check_rows(inputs: IntArray, targets: IntArray, start: int, where: RowLocation, hint: str) -> None:
    """Refuse the first row that has a number that is not a token, or no supervised position."""
    bad_inputs = (inputs < 0) | (inputs >= MAX_TOKEN)
    bad_targets = ((targets < 0) & (targets != IGNORE)) | (targets >= MAX_TOKEN)
    unsupervised = ~(targets != IGNORE).any(axis=1)
    bad_rows = np.flatnonzero(bad_inputs.any(axis=1) | bad_targets.any(axis=1) | unsupervised)
    if not len(bad_rows):
        return
    row = int(bad_rows[0])
    if unsupervised[row]:
        raise InvalidFileError("No position of this row is supervised.", hint, where=where(start + row))
    name, numbers, bad = ("inputs", inputs, bad_inputs) if bad_inputs[row].any() else ("targets", targets, bad_targets)
    position = int(np.flatnonzero(bad[row])[0])
    value = int(numbers[row, position])
    problem = f"{name}[{position}] is {value}; tokens are 0 to {MAX_TOKEN - 1:,}."
    if name == "targets" and (wrapped := wrapped_hint(value)):
        problem, hint = f"{problem} {wrapped}", SIGNED
    raise InvalidFileError(problem, hint, where=where(start + row))


Read = tuple[IntArray, IntArray, RowLocation, Sequence[Any] | None]
"""Inputs, targets, the location of a row, and the split of each row where a column names it."""


def _npz(path: Path, column: str) -> Read:
    """Read the two arrays of an archive, and the array of splits."""
    labels: Sequence[Any] | None = None
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            pair = _pair(names, "array", ARRAYS, str(path))
            if column:
                _check_column(column, names, "array", str(path))
                with archive.open(f"{column}.npy") as file:
                    labels = np.lib.format.read_array(file, allow_pickle=False).tolist()
            inputs_NT, targets_NT = (_archived_array(path, archive, f"{name}.npy") for name in pair)
    except AttnlabError:
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise InvalidFileError(f"This is not a valid npz file: {error}.", ARRAYS, where=str(path)) from None
    for name, numbers in (("inputs", inputs_NT), ("targets", targets_NT)):
        if numbers.ndim != 2 or numbers.dtype.kind not in "iu":
            problem = f"The array '{name}' has the type {numbers.dtype} and {numbers.ndim} dimensions."
            raise InvalidFileError(problem, ARRAYS, where=str(path))
    if inputs_NT.shape != targets_NT.shape:
        problem = f"'inputs' is {_shape_text(inputs_NT)}, but 'targets' is {_shape_text(targets_NT)}."
        raise InvalidFileError(problem, ARRAYS, where=str(path))
    if labels is not None and (not isinstance(labels, list) or len(labels) != len(inputs_NT)):
        problem = f"The array '{column}' does not have one value for each of the {len(inputs_NT)} rows."
        raise InvalidFileError(problem, f"Accepted: one of {', '.join(SPLIT_LABELS)} for each row.", where=str(path))
    return inputs_NT, targets_NT, lambda row: f"{path}: row {row}", labels


def _check_column(column: str, names: Collection[str], kind: str, where: str) -> None:
    """Refuse a column of splits that is not there."""
    if column not in names:
        hint = f"Accepted for task.split: shuffled, ordered, or the name of {'an' if kind == 'array' else 'a'} {kind}."
        problem = f"There is no {kind} '{column}'; there is {', '.join(sorted(map(str, names))) or 'none'}."
        raise InvalidFileError(problem, hint, where=where)


def _pair(
    names: Collection[str], kind: str, hint: str, where: str, lists: Collection[str] | None = None
) -> tuple[str, str]:
    """Find the two arrays, columns or keys among the names of a file; rather a pair of lists than one of text."""
    pairs = [pair for pair in NAMES if set(pair) <= set(names)]
    if pairs:
        return next((pair for pair in pairs if lists is None or set(pair) <= set(lists)), pairs[0])
    missing = next((name for pair in NAMES if set(pair) & set(names) for name in pair if name not in names), "inputs")
    problem = f"There is no {kind} '{missing}'; there is {', '.join(sorted(map(str, names))) or 'none'}."
    raise InvalidFileError(problem, hint, where=where)


def _shape_text(numbers: IntArray) -> str:
    """Write a shape as ``20 x 3``."""
    return " x ".join(map(str, numbers.shape))


def _archived_array(path: Path, archive: zipfile.ZipFile, name: str) -> IntArray:
    """Return one array of an archive: mapped where it is not compressed, otherwise read.

    Raises:
        ValueError: It is not an array of numbers, or a part of it is missing.
    """
    info = archive.getinfo(name)
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in headers:
            raise ValueError(f"{name} has version {version}")
        shape, columns_first, dtype = headers[version](file)
        header_size = file.tell()
    if info.compress_type != zipfile.ZIP_STORED or columns_first or dtype.hasobject or 0 in shape:
        with archive.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    with path.open("rb") as raw:
        raw.seek(info.header_offset + 26)
        name_size, extra_size = (int.from_bytes(raw.read(2), "little") for _ in range(2))
    start = info.header_offset + 30 + name_size + extra_size + header_size
    return np.memmap(path, dtype, "r", offset=start, shape=shape)


def _jsonl(path: Path, column: str) -> Read:
    """Read one record from each line."""
    lines = array("q")

    def records() -> Iterator[tuple[Any, str]]:
        with path.open("rb") as file:
            for number in itertools.count(1):
                line = file.readline(LINE_BYTES + 1)
                if not line:
                    break
                if len(line) > LINE_BYTES:
                    problem = f"This line has over {LINE_BYTES:,} bytes."
                    raise InvalidFileError(problem, RECORDS, where=f"{path}:{number}")
                if not line.strip():
                    continue
                lines.append(number)
                try:
                    yield from_json(line), f"{path}:{number}"
                except ValueError as error:
                    problem = f"This line is not JSON: {error}."
                    raise InvalidFileError(problem, RECORDS, where=f"{path}:{number}") from None

    inputs_NT, targets_NT, labels = _padded(records(), column)
    return inputs_NT, targets_NT, lambda row: f"{path}:{lines[row]}", labels


def _parquet(path: Path, column: str) -> Read:
    """Read one record from each row."""
    try:
        parquet, arrow_error = pyarrow("pyarrow.parquet"), pyarrow("pyarrow").ArrowException
    except AttnlabError as error:
        raise error.at(str(path)) from None

    def records() -> Iterator[tuple[Any, str]]:
        row = 0
        try:
            with parquet.ParquetFile(path) as file:
                schema = file.schema_arrow
                lists = [field.name for field in schema if str(field.type).startswith(LIST_TYPES)]
                pair = _pair(schema.names, "column", RECORDS, str(path), lists)
                if column:
                    _check_column(column, schema.names, "column", str(path))
                for batch in file.iter_batches(columns=[*pair, *([column] if column else [])]):
                    for record in batch.to_pylist():
                        yield record, f"{path}: row {row}"
                        row += 1
        except AttnlabError:
            raise
        except (ValueError, OSError, arrow_error) as error:
            raise InvalidFileError(f"This is not a valid Parquet file: {error}.", RECORDS, where=str(path)) from None

    inputs_NT, targets_NT, labels = _padded(records(), column)
    return inputs_NT, targets_NT, lambda row: f"{path}: row {row}", labels


def _txt(path: Path, column: str) -> Read:
    """Read one record from each two lines."""
    if column:
        _check_column(column, ["inputs", "targets"], "column", str(path))
    sidecar, places = read_sidecar(path), array("q")

    def records() -> Iterator[tuple[Any, str]]:
        for record, where in aligned_records(path, sidecar.token_strings if sidecar else ()):
            places.append(int(where.rpartition(":")[2]))
            yield record, where

    inputs_NT, targets_NT, _ = _padded(records(), "")
    return inputs_NT, targets_NT, lambda row: f"{path}:{places[row]}", None


def _padded(records: Iterator[tuple[Any, str]], column: str) -> tuple[IntArray, IntArray, list[Any] | None]:
    """Join records of several lengths into two arrays, padded at the end; and list their splits."""
    flat, lengths = (array("i"), array("i")), array("i")
    labels: list[Any] = []
    for record, where in records:
        if column and isinstance(record, Mapping):
            _check_column(column, list(record), "key", where)
            labels.append(record[column])
        for name, numbers, joined in zip(("inputs", "targets"), _lists(record, where), flat, strict=True):
            try:
                joined.extend(numbers)
            except OverflowError:
                value = max(numbers, key=abs)
                problem, hint = f"'{name}' has the number {value}, which is not a token.", RECORDS
                if name == "targets" and (wrapped := wrapped_hint(value)):
                    problem, hint = f"{problem} {wrapped}", SIGNED
                raise InvalidFileError(problem, hint, where=where) from None
            size = len(numbers)
        lengths.append(size)
    widths = np.asarray(lengths)
    shape = (len(widths), int(widths.max(initial=0)))
    within = np.arange(shape[1]) < widths[:, None]
    arrays = np.full(shape, PADDING, dtype=np.int32), np.full(shape, IGNORE, dtype=np.int32)
    for padded, joined in zip(arrays, flat, strict=True):
        padded[within] = np.asarray(joined)
    return *arrays, labels if column else None


def _lists(record: Any, where: str) -> tuple[list[int], list[int]]:
    """Check one record and return its inputs and targets."""
    if not isinstance(record, Mapping):
        problem = "A record has the keys 'inputs' and 'targets', or 'input_ids' and 'labels'; this one is a"
        raise InvalidFileError(f"{problem} {type(record).__name__}.", RECORDS, where=where)
    lists = [name for name, value in record.items() if isinstance(value, list)]
    pair = _pair(record, "key", RECORDS, where, lists)
    for name in pair:
        if name not in lists or not record[name]:
            raise InvalidFileError(f"'{name}' is {record[name]!r:.40}, not a list of numbers.", RECORDS, where=where)
    inputs = integers(pair[0], record[pair[0]], RECORDS, where, nulls=False)
    targets = integers(pair[1], record[pair[1]], RECORDS, where, nulls=True)
    if len(inputs) != len(targets):
        problem = f"The record has {len(inputs)} inputs, but {len(targets)} targets."
        raise InvalidFileError(problem, RECORDS, where=where)
    return inputs, targets
