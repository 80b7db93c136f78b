"""Formats of sequences in files, written batch by batch in constant memory.

    .npz      arrays inputs and targets, rows x length, 32-bit integers, little-endian, stored without compression
    .jsonl    {"inputs":[3,1,4],"targets":[null,null,2]} on each line
    .parquet  columns inputs and targets, lists of 32-bit integers; needs pyarrow
    .txt      two aligned lines for each sequence, for people; it is not read back

Where nothing is asked, targets are null, in npz -100. Rows may differ in length; npz pads them at the end, inputs with
token 0 and targets with -100. Equal sequences give equal bytes: no dates, one byte order, one way to write a number
(parquet: with one version of pyarrow, which signs its files).
"""

from __future__ import annotations

import importlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Task
from attnlab.tasks.io.sidecar import PADDING

GROUP = 2**20
"""Tokens of a row group of a Parquet file, about."""


class Pages(NamedTuple):
    """What is to be written; it can be gone through more than once."""

    task: Task
    """Tells what a token looks like."""
    sequences: int
    length: int
    batches: Callable[[], Iterator[Batch]]


class Format(NamedTuple):
    """A way to write sequences."""

    write: Callable[[IO[bytes], Pages], None]
    passes: int = 1
    """How often it goes through the sequences."""


def write_npz(file: IO[bytes], pages: Pages) -> None:
    """Two arrays in a zip archive, one after the other."""
    shape = (pages.sequences, pages.length)
    head = npy_head(shape)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for index, (name, filler) in enumerate((("inputs", PADDING), ("targets", IGNORE))):
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr = 3, 0o644 << 16
            member.file_size = len(head) + 4 * math.prod(shape)  # told beforehand: it may need 64 bits
            with archive.open(member, "w") as entry:
                entry.write(head)
                for batch in pages.batches():
                    tokens_BT = batch[index]
                    assert tokens_BT is not None
                    padded_BT = np.full((len(tokens_BT), pages.length), filler, dtype="<i4")
                    padded_BT[:, : tokens_BT.shape[1]] = tokens_BT
                    entry.write(padded_BT.tobytes())


def npy_head(shape: tuple[int, ...]) -> bytes:
    """What stands before the numbers of a .npy file of 32-bit integers, in version 1.0 of that format."""
    text = f"{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def write_jsonl(file: IO[bytes], pages: Pages) -> None:
    """One object on each line."""
    for batch in pages.batches():
        lines = []
        for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            row = {"inputs": tokens, "targets": [None if target == IGNORE else target for target in targets]}
            lines.append(json.dumps(row, separators=(",", ":")) + "\n")
        file.write("".join(lines).encode("ascii"))


def write_parquet(file: IO[bytes], pages: Pages) -> None:
    """Two columns of lists."""
    arrow, parquet = pyarrow("pyarrow"), pyarrow("pyarrow.parquet")
    lists = arrow.list_(arrow.int32())
    schema = arrow.schema([("inputs", lists), ("targets", lists)])
    with parquet.ParquetWriter(file, schema, compression="none") as writer:
        waiting: list[Any] = []
        tokens = 0
        for batch in pages.batches():
            rows, width = batch.inputs_BT.shape
            ends = arrow.array(np.arange(0, rows * width + 1, width, dtype=np.int32))
            flat = [array_BT.astype(np.int32).ravel() for array_BT in batch[:2]]
            values = arrow.array(flat[0]), arrow.array(flat[1], mask=flat[1] == IGNORE)
            columns = [arrow.ListArray.from_arrays(ends, column) for column in values]
            waiting.append(arrow.record_batch(columns, schema=schema))
            tokens += rows * width
            if tokens >= GROUP:
                writer.write_table(arrow.Table.from_batches(waiting).combine_chunks())
                waiting, tokens = [], 0
        if waiting:
            writer.write_table(arrow.Table.from_batches(waiting).combine_chunks())


def pyarrow(module: str) -> Any:
    """A module of pyarrow.

    Raises:
        InvalidValueError: it is not installed; carries how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        hint = "Install it with: pip install 'attnlab[parquet]'\nOr take .npz or .jsonl, which need nothing more."
        raise InvalidValueError("Parquet files need pyarrow, which is not installed.", hint) from None


def write_txt(file: IO[bytes], pages: Pages) -> None:
    """Tokens above, due answers below, a blank line between sequences."""
    for batch in pages.batches():
        lines = []
        for row in range(len(batch.inputs_BT)):
            cells = pages.task.render(batch, row)
            size = max(len(word) for cell in cells for word in cell)
            for label, words in (("inputs ", [c.token for c in cells]), ("targets", [c.target or "." for c in cells])):
                lines.append(f"{label} {' '.join(word.rjust(size) for word in words)}\n")
            lines.append("\n")
        file.write("".join(lines).encode())


FORMATS = {
    ".npz": Format(write_npz, passes=2),
    ".jsonl": Format(write_jsonl),
    ".parquet": Format(write_parquet),
    ".txt": Format(write_txt),
}
"""How a file is written, by the ending of its name."""
