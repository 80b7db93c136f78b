"""The memory that a model takes, counted without allocating it: its constructor runs on torch's meta device.

A tensor on the meta device has a shape and no content, so that every option of every part is counted that decides the
shape of a parameter or buffer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch.overrides import TorchFunctionMode

from attnlab.errors import AttnlabError
from attnlab.model.transformer import build_model
from attnlab.sizes import TOO_MANY
from attnlab.specs import ModelSpec

COUNTED_LAYERS = 16
"""Layers up to which all are counted; the rest of a deeper model is like them."""
LAYER_OVERHEAD = 50_000
"""Bytes of the modules of one layer besides their tensors."""


@final
class _WithoutGenerator(TorchFunctionMode):
    """Leave generators out, which the meta device has none of."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[Any], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return func(*args, **{**(kwargs or {}), **({"generator": None} if "generator" in (kwargs or {}) else {})})


def model_bytes(spec: ModelSpec, *, vocabulary: int, length: int) -> int | None:
    """Count the bytes of a model's parameters and buffers, and of its modules.

    Args:
        spec: The model.
        vocabulary: V.
        length: The longest sequence, in tokens.

    Returns:
        Bytes; at least ``TOO_MANY`` where a size overflows; None where the model cannot be built without content.
    """
    if spec.layers <= 2 * COUNTED_LAYERS or spec.module is not None:
        tensors = _tensor_bytes(spec, vocabulary, length)
        return None if tensors is None else tensors + spec.layers * LAYER_OVERHEAD
    some, twice = (
        _tensor_bytes(spec.model_copy(update={"layers": layers}), vocabulary, length)
        for layers in (COUNTED_LAYERS, 2 * COUNTED_LAYERS)
    )
    if some is None or twice is None:
        return None
    rest = (twice - some) * (spec.layers - COUNTED_LAYERS) // COUNTED_LAYERS
    return some + rest + spec.layers * LAYER_OVERHEAD


def _tensor_bytes(spec: ModelSpec, vocabulary: int, length: int) -> int | None:
    """Bytes of the parameters and buffers of a model that is built on the meta device."""
    try:
        with torch.device("meta"), _WithoutGenerator(), warnings.catch_warnings(action="ignore"):
            model = build_model(spec, vocabulary=vocabulary, length=length, seed=0)
            tensors = [*model.parameters(), *model.buffers()]
            return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    except AttnlabError:
        return None  # building the model tells it better
    except Exception as error:
        return TOO_MANY if "overflow" in str(error).lower() else None
