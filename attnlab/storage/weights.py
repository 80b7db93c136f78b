"""Weights and checkpoints as safetensors: arrays with a few words about them, never code."""

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
from attnlab.storage.files import write_whole

Arrays = dict[str, NDArray[np.float32]]


def write(path: Path, arrays: Mapping[str, NDArray[np.float32]], about: Mapping[str, Any]) -> None:
    """Write arrays and what is said of them, whole or not at all.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        write_whole(path, save(dict(arrays), metadata={"about": json.dumps(about)}))
    except OSError as error:
        raise StoreError(f"It cannot be written: {error.strerror}.", where=str(path)) from None


def read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a file and what is said of them.

    Raises:
        StoreError: the file is no whole safetensors file of ours.
    """
    with _opened(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        return arrays, json.loads((file.metadata() or {})["about"])


def about(path: Path) -> dict[str, Any]:
    """What is said of the arrays of a file, without reading them.

    Raises:
        StoreError: the file is no whole safetensors file of ours.
    """
    with _opened(path) as file:
        return json.loads((file.metadata() or {})["about"])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        hint = "Move it away to start that run anew."
        raise StoreError(f"It is no checkpoint of attnlab: {error}.", hint, where=str(path)) from None
