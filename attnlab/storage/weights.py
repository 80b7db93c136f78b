"""Weights and checkpoints as safetensors: arrays with a description, never code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from attnlab.errors import StoreError
from attnlab.storage._migration import migrated_arrays
from attnlab.storage.files import write_whole

Arrays = dict[str, NDArray[np.float32]]
FORMAT = 2
"""Version of the names of arrays; files without one are of format 1."""


def write(path: Path, arrays: Mapping[str, NDArray[np.float32]], about: Mapping[str, Any]) -> None:
    """Write arrays and a description, whole or not at all.

    Args:
        path: The file.
        arrays: The arrays, by name.
        about: The description: plain data.

    Raises:
        StoreError: The file cannot be written.
    """
    try:
        # One key alone: safetensors 0.8 writes several in an order that changes from file to file.
        write_whole(path, save(dict(arrays), metadata={"about": json.dumps({**about, "format": FORMAT})}))
    except OSError as error:
        raise StoreError(f"It cannot be written: {error.strerror}.", where=str(path)) from None


def read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read the arrays of a file and their description.

    Args:
        path: The file.

    Returns:
        The arrays, under the names that the model has now, and the description.

    Raises:
        StoreError: The file is no complete safetensors file of attnlab.
    """
    with _opened(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        about = _about(file)
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
    with _opened(path) as file:
        about = _about(file)
        about.pop("format", None)
        return about


def _about(file: Any) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((file.metadata() or {})["about"])
    return about


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        hint = "Move it away to start that run anew."
        raise StoreError(f"It is no checkpoint of attnlab: {error}.", hint, where=str(path)) from None
