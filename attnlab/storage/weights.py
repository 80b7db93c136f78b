"""Weights and checkpoints as safetensors: arrays with a description, never code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json
from safetensors import SafetensorError, deserialize, safe_open

from attnlab.errors import StoreError
from attnlab.storage._migration import migrated_arrays
from attnlab.storage.arrays import TYPES, Arrays
from attnlab.storage.files import write_whole

FORMAT = 2
"""Version of the names of arrays; files without one are of format 1."""
LENGTH_BYTES = 8
"""Bytes of the length of the header; the header is filled up to a multiple of it, so that the arrays are aligned."""


def write(path: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Write arrays and a description, whole or not at all.

    Args:
        path: The file.
        arrays: The arrays, by name.
        about: The description: plain data.

    Raises:
        StoreError: The file cannot be written, or an array has a type that safetensors cannot hold.
    """
    write_whole(path, encode(arrays, about))


def read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read the arrays of a file and their description.

    Args:
        path: The file.

    Returns:
        The arrays, under the names that the model has now, and the description.

    Raises:
        StoreError: The file is no complete safetensors file of attnlab.
    """
    with _readable(path):
        content = path.read_bytes()
        arrays, header = decode(content), _header(content)
        metadata = header.pop("__metadata__")
        about = _about(metadata)
    if metadata.get("digest", whole := _digest(header, metadata["about"], content)) != whole:
        hint = "Move it away to start that run anew, or copy it again from where it came."
        raise StoreError("It is damaged: its content is not what was written.", hint, where=str(path))
    return arrays if about.pop("format", None) else migrated_arrays(arrays), about


def read_about(path: Path) -> dict[str, Any]:
    """Read the description of a file without its arrays.

    Args:
        path: The file.

    Returns:
        The description.

    Raises:
        StoreError: The file is no complete safetensors file of attnlab.
    """
    with _readable(path), safe_open(path, framework="numpy") as file:
        about = _about(file.metadata() or {})
        about.pop("format", None)
        return about


def encode(arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> bytes:
    """Make the content of a file; equal arrays and descriptions give equal bytes.

    The format is that of safetensors: the length of the header, the header as JSON, and the arrays end to end, those of
    the largest numbers first. Its own writer has no bfloat16 for NumPy, orders the description anew in each file,
    and takes mappings in version 0.5 but pointers to memory in 0.8.

    Args:
        arrays: The arrays, by name.
        about: The description: plain data.

    Returns:
        The bytes.

    Raises:
        StoreError: An array has a type that safetensors cannot hold.
    """
    names = {dtype: name for name, dtype in TYPES.items()}
    header: dict[str, Any] = {}
    blocks, end = [], 0
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        little = array if array.dtype.names else array.astype(array.dtype.newbyteorder("<"), copy=False)
        if little.dtype not in names:
            known = ", ".join(dtype.names[0] if dtype.names else dtype.name for dtype in TYPES.values())
            raise StoreError(f"'{name}' has the type {array.dtype}, which safetensors cannot hold.", f"Types: {known}.")
        block = little.tobytes()
        offsets = [end, end + len(block)]
        header[name] = {"dtype": names[little.dtype], "shape": list(array.shape), "data_offsets": offsets}
        blocks.append(block)
        end += len(block)
    said = json.dumps({**about, "format": FORMAT})
    digest = _digest(header, said, b"".join(blocks), start=0)
    text = json.dumps({"__metadata__": {"about": said, "digest": digest}, **header}).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    return b"".join([len(text).to_bytes(LENGTH_BYTES, "little"), text, *blocks])


def decode(content: bytes) -> Arrays:
    """Read the arrays of a file's content.

    Args:
        content: The bytes of a file of safetensors.

    Returns:
        The arrays, by name, as they were written.

    Raises:
        SafetensorError: The content is not complete.
        KeyError: An array has a type that :data:`attnlab.storage.arrays.TYPES` lacks.
    """
    return {
        name: np.frombuffer(tensor["data"], TYPES[tensor["dtype"]]).reshape(tensor["shape"])
        for name, tensor in deserialize(content)  # type: ignore[no-untyped-call]
    }


def _header(content: bytes) -> dict[str, Any]:
    """The header of a complete file: its metadata, and type, shape and place of each array."""
    header: dict[str, Any] = from_json(content[LENGTH_BYTES : LENGTH_BYTES + _header_length(content)])
    return header


def _about(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The description of a file.

    Raises:
        KeyError: There is none.
        ValueError: It is no JSON object.
    """
    about = from_json(metadata["about"])
    if not isinstance(about, dict):
        raise ValueError("its description is no JSON object")
    return about


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:LENGTH_BYTES], "little")


def _digest(header: Mapping[str, Any], about: str, content: bytes, start: int | None = None) -> str:
    """Digest arrays, their places and the description.

    Args:
        header: Type, shape and place of each array.
        about: The description as JSON.
        content: The bytes that hold the arrays.
        start: Where the arrays begin; None for the content of a whole file.

    Returns:
        16 bytes, in hexadecimal.
    """
    begin = LENGTH_BYTES + _header_length(content) if start is None else start
    digest = hashlib.blake2b(json.dumps([header, about], sort_keys=True).encode(), digest_size=16)
    digest.update(memoryview(content)[begin:])
    return digest.hexdigest()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        hint = "Move it away to start that run anew."
        raise StoreError(f"It is no checkpoint of attnlab: {error}.", hint, where=str(path)) from None
