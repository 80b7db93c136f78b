"""Arrays of every type that a tensor can have, without torch: the types that NumPy lacks have one field, their name.

A tensor of bfloat16 travels as an array of ``TYPES["BF16"]``: two bytes each, under the name ``bfloat16``. So weights
and checkpoints keep their exact type and bits in files, in messages to other processes and in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""Arrays by name."""


def named_type(name: str, bits: str) -> np.dtype[Any]:
    """Make the type of an array whose numbers NumPy cannot compute with.

    >>> named_type("bfloat16", "<u2").itemsize
    2

    Args:
        name: The name that torch has for the type.
        bits: The unsigned integer that holds its bits.

    Returns:
        A type with one field of that name.
    """
    return np.dtype([(name, bits)])


def torch_name(dtype: np.dtype[Any]) -> str:
    """Find the name that torch has for the type of an array, if NumPy lacks the type.

    >>> torch_name(TYPES["BF16"]), torch_name(np.dtype(np.float32))
    ('bfloat16', '')

    Args:
        dtype: The type of an array.

    Returns:
        The name; empty for a type of NumPy.
    """
    return dtype.names[0] if dtype.names else ""


TYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": named_type("bfloat16", "<u2"),
    "F8_E4M3": named_type("float8_e4m3fn", "u1"),
    "F8_E5M2": named_type("float8_e5m2", "u1"),
    "C64": np.dtype("<c8"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""The types that a file of safetensors can have, under its names for them."""
