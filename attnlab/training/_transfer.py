"""Copies between arrays and tensors; to a GPU from pinned memory, which it reads while the host goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to a tensor on the device without waiting; on a CPU the two share their memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_array(tensor: Tensor) -> NDArray[np.float32]:
    """Copy a tensor to an array in float32."""
    return tensor.detach().float().cpu().numpy().copy()
