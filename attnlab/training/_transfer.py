"""Copies between arrays and tensors; to a GPU from pinned memory, which it reads while the host goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnlab.storage.arrays import TYPES, torch_name

NAMED_TYPES = {name: dtype for dtype in TYPES.values() if (name := torch_name(dtype))}
"""Types that NumPy lacks, by their name in torch."""
BITS = {1: torch.uint8, 2: torch.uint16}
"""The type that holds the bits of a number, by its bytes."""


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to a tensor on the device without waiting; on a CPU the two share their memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_array(tensor: Tensor) -> NDArray[Any]:
    """Copy a tensor to an array of its own type and bits; see :mod:`attnlab.storage.arrays` for types NumPy lacks."""
    own = tensor.detach().cpu().contiguous()
    name = str(own.dtype).removeprefix("torch.")
    if name not in NAMED_TYPES:
        return own.numpy().copy()
    dtype = NAMED_TYPES[name]
    return own.view(BITS[dtype.itemsize]).numpy().copy().view(dtype)


def to_tensor(array: NDArray[Any]) -> Tensor:
    """Make a tensor of an array's type and bits: what :func:`to_array` copied; the two may share their memory."""
    if not (name := torch_name(array.dtype)):
        return torch.from_numpy(array)
    bits = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(array.shape)
    return torch.from_numpy(bits).view(getattr(torch, name))
