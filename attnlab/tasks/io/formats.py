"""File formats of sequences, written batch by batch in constant memory.

    .npz      arrays inputs and targets, rows x length, 32-bit integers, little-endian, not compressed
    .jsonl    {"inputs":[3,1,4],"targets":[-100,-100,2]} on each line
    .parquet  columns inputs and targets, lists of 32-bit integers; needs pyarrow
    .txt      two aligned lines for each sequence, see :mod:`attnlab.tasks.io.aligned`

At positions that are not supervised, targets are -100, or null in jsonl and parquet where that is asked for: readers
such as pandas and datasets turn lists of integers with nulls into floats. Rows may differ in length; npz pads them at
the end, inputs with token 0 and targets with -100. Equal sequences give equal bytes: there are no dates, one byte order
and one way to write a number (parquet: with the same version of pyarrow, which writes its version into its files).
"""

from __future__ import annotations

import importlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from attnlab.choices import IgnoreIndex
from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task
from attnlab.tasks.io.aligned import dots
from attnlab.tasks.io.sidecar import PADDING

ROW_GROUP_TOKENS = 2**20
"""Approximate number of tokens of a row group of a Parquet file."""


class Sequences(NamedTuple):
    """The sequences to write; they can be iterated over repeatedly."""

    task: Task
    """Converts tokens to text."""
    rows: int
    """The number of sequences."""
    vocabulary: int
    """The number of tokens."""
    length: int
    """Tokens of the longest sequence."""
    batches: Callable[[], Iterator[Batch]]
    ignore_index: IgnoreIndex = "-100"
    """What is written where nothing is asked; npz and txt have no null."""


class Format(NamedTuple):
    """A way to write sequences."""

    write: Callable[[IO[bytes], Sequences], None]
    passes: int = 1
    """How often it iterates over the sequences."""
    has_null: bool = False
    """Whether null can stand where nothing is asked."""


def write_npz(file: IO[bytes], sequences: Sequences) -> None:
    """Write two arrays into a zip archive, one after the other.

    Args:
        file: The file, opened for writing.
        sequences: The sequences.
    """
    shape = (sequences.rows, sequences.length)
    header = npy_header(shape)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for index, (name, filler) in enumerate((("inputs", PADDING), ("targets", IGNORE))):
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            info.file_size = len(header) + 4 * math.prod(shape)  # set beforehand: it may need 64 bits
            with archive.open(info, "w") as entry:
                entry.write(header)
                for batch in sequences.batches():
                    tokens_BT = batch[index]
                    assert tokens_BT is not None
                    padded_BT = np.full((len(tokens_BT), sequences.length), filler, dtype="<i4")
                    padded_BT[:, : tokens_BT.shape[1]] = tokens_BT
                    entry.write(padded_BT.tobytes())


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Build the header of a .npy file of 32-bit integers, in version 1.0 of that format.

    Args:
        shape: The shape of the array.

    Returns:
        The bytes in front of the numbers.
    """
    text = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def write_jsonl(file: IO[bytes], sequences: Sequences) -> None:
    """Write one JSON object per line.

    Args:
        file: The file, opened for writing.
        sequences: The sequences.
    """
    for batch in sequences.batches():
        lines = []
        for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            if sequences.ignore_index == "null":
                targets = [None if target == IGNORE else target for target in targets]
            row = {"inputs": tokens, "targets": targets}
            lines.append(json.dumps(row, separators=(",", ":")) + "\n")
        file.write("".join(lines).encode("ascii"))


def write_parquet(file: IO[bytes], sequences: Sequences) -> None:
    """Write two columns of lists.

    Args:
        file: The file, opened for writing.
        sequences: The sequences.
    """
    arrow, parquet = pyarrow("pyarrow"), pyarrow("pyarrow.parquet")
    lists = arrow.list_(arrow.int32())
    schema = arrow.schema([("inputs", lists), ("targets", lists)])
    with parquet.ParquetWriter(file, schema, compression="none") as writer:
        pending: list[Any] = []
        tokens = 0
        for batch in sequences.batches():
            rows, width = batch.inputs_BT.shape
            ends = arrow.array(np.arange(0, rows * width + 1, width, dtype=np.int32))
            flat = [array_BT.astype(np.int32).ravel() for array_BT in batch[:2]]
            mask = flat[1] == IGNORE if sequences.ignore_index == "null" else None
            values = arrow.array(flat[0]), arrow.array(flat[1], mask=mask)
            columns = [arrow.ListArray.from_arrays(ends, column) for column in values]
            pending.append(arrow.record_batch(columns, schema=schema))
            tokens += rows * width
            if tokens >= ROW_GROUP_TOKENS:
                writer.write_table(arrow.Table.from_batches(pending).combine_chunks())
                pending, tokens = [], 0
        if pending:
            writer.write_table(arrow.Table.from_batches(pending).combine_chunks())


def pyarrow(module: str) -> Any:
    """Import a module of pyarrow.

    Args:
        module: Its full name.

    Returns:
        The module.

    Raises:
        InvalidValueError: pyarrow is not installed; the hint tells how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        hint = "Install it with: pip install 'attnlab[parquet]'\nOr use .npz or .jsonl, which need no other package."
        raise InvalidValueError("Parquet files need pyarrow, which is not installed.", hint) from None


def write_txt(file: IO[bytes], sequences: Sequences) -> None:
    """Write tokens above targets, with a blank line between sequences.

    Args:
        file: The file, opened for writing.
        sequences: The sequences.
    """
    empty = dots([sequences.task.token_to_str(token) for token in range(sequences.vocabulary)])
    for batch in sequences.batches():
        lines = []
        for row in range(len(batch.inputs_BT)):
            cells = sequences.task.render(batch, row)
            size = max(len(text) for cell in cells for text in cell)
            for label, texts in (
                ("inputs ", [c.token for c in cells]),
                ("targets", [c.target or empty for c in cells]),
            ):
                lines.append(f"{label} {' '.join(text.rjust(size) for text in texts)}\n")
            lines.append("\n")
        file.write("".join(lines).encode())


FORMATS = {
    ".npz": Format(write_npz, passes=2),
    ".jsonl": Format(write_jsonl, has_null=True),
    ".parquet": Format(write_parquet, has_null=True),
    ".txt": Format(write_txt),
}
"""The formats, by the suffix of the file."""
