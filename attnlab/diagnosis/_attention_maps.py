"""The matrix of one head on the first sequence, by the name of the head."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from torch import Tensor

from attnlab.diagnosis.result import AttentionMap
from attnlab.errors import InvalidValueError
from attnlab.tensors import ActivationTrace


def attention_map_of(trace: ActivationTrace, variant: str, head: str) -> AttentionMap:
    """Get the effective matrix of one head on the first sequence.

    Args:
        trace: The trace of a model.
        variant: The name of the variant.
        head: The head, as ``LAYER.HEAD``, both from 1.

    Returns:
        The map.

    Raises:
        InvalidValueError: The trace has no matrix, or the model has no such head.
    """
    weights = [layer[0] if layer else None for layer in trace.weights_BHTS]
    if not any(layer is not None for layer in weights):
        problem = f"The trace of '{variant}' has no attention matrix."
        raise InvalidValueError(
            problem, "Leave --attention-map out, or take the diagnosis attention.", where="--attention-map"
        )
    heads = [0 if layer is None else layer.shape[-3] for layer in weights]
    match = re.fullmatch(r"(\d+)\.(\d+)", head)
    hint = f"Layers are 1 to {len(weights)}, heads 1 to {min(filter(None, heads))}: --attention-map 1.1."
    if not match:
        raise InvalidValueError(f"'{head}' is not a head.", f"Write LAYER.HEAD. {hint}", where="--attention-map")
    layer, number = int(match[1]), int(match[2])
    where = f"--attention-map {head}"
    if not layer or not number:
        raise InvalidValueError(f"Layers and heads count from 1: there is no {head}.", hint, where=where)
    if not (1 <= layer <= len(weights) and 1 <= number <= heads[layer - 1]):
        raise InvalidValueError(f"'{variant}' has no head {number} in layer {layer}.", hint, where=where)
    chosen = weights[layer - 1]
    assert chosen is not None, "a layer without a matrix has no heads"
    return AttentionMap(variant, layer, number, tuple(map(tuple, chosen[0, number - 1].tolist())))


def labeled_map_of(
    trace: ActivationTrace,
    matrices: tuple[tuple[Tensor, ...], ...],
    labels: Sequence[str],
    variant: str,
    head: str,
) -> AttentionMap:
    """Get the map of one head where layers have matrices of several kinds.

    Args:
        trace: The trace of a model.
        matrices: The matrix of each layer, or nothing.
        labels: The kind of each.
        variant: The name of the variant.
        head: The head, as ``LAYER.HEAD``, both from 1.

    Returns:
        The map, with its kind.

    Raises:
        InvalidValueError: No layer has a matrix, or the model has no such head.
    """
    one = attention_map_of(trace._replace(weights_BHTS=matrices), variant, head)
    return dataclasses.replace(one, matrix=labels[one.layer - 1])
