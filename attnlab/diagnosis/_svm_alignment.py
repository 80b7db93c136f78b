"""Attention as a support vector machine, in every layer of a traced model."""

from __future__ import annotations

import math

from torch import nn

from attnlab.attention import Attention
from attnlab.diagnosis._gain_control import blocks, unscaled
from attnlab.diagnosis.result import Values
from attnlab.metrics.token_selection import HeadSelection, head_selections
from attnlab.model.transformer import Transformer
from attnlab.position import Position
from attnlab.position.per_layer import LayerPosition
from attnlab.specs import Modifiers
from attnlab.tensors import ActivationTrace

COLUMNS = 128
"""Constraints for each head, at most."""


def svm_values(model: Transformer, trace: ActivationTrace) -> dict[str, list[Values]]:
    """Compute one number per head for each layer; none for a layer without one query and one key projection.

    The SVM is solved only where scores are a bilinear form of the input: no rotation, no bias, no norm of queries and
    no score function of the mechanism's own.
    """
    values: dict[str, list[Values]] = {
        name: [] for name in ("weight-norm", "svm-correlation", "svm-margin", "svm-best")
    }
    for layer, block in enumerate(blocks(model)):
        attention, scores = unscaled(block.attention), trace.scores_BHTS[layer]
        selections: tuple[HeadSelection, ...] = ()
        if scores and has_linear_query_and_key(attention):
            selections = head_selections(
                trace.inputs_BTD[layer],
                scores[0],
                trace.weights_BHTS[layer][0],
                attention.query.weight,
                attention.key.weight,
                is_bilinear=has_bilinear_scores(model, attention, layer),
                columns=COLUMNS,
            )
        values["weight-norm"].append(tuple(selection.norm for selection in selections))
        aligned = [selection.alignment for selection in selections]
        values["svm-correlation"].append(tuple(one.correlation if one else math.nan for one in aligned))
        values["svm-margin"].append(tuple(one.margin if one else math.nan for one in aligned))
        values["svm-best"].append(tuple(one.best if one else math.nan for one in aligned))
    return values


def has_linear_query_and_key(attention: Attention) -> bool:
    """Tell whether queries and keys are one linear map each, with equally many channels per head."""
    projections = (getattr(attention, "query", None), getattr(attention, "key", None))
    if not all(isinstance(projection, nn.Linear) for projection in projections):
        return False
    queries, keys = (one.weight.shape[0] for one in projections if isinstance(one, nn.Linear))
    return queries % attention.num_heads == 0 and keys % (queries // attention.num_heads) == 0


def has_bilinear_scores(model: Transformer, attention: Attention, layer: int) -> bool:
    """Tell whether scores are ``x_j^T W x_i`` and nothing else."""
    of_layer = model.position.of_layer(layer)
    position = type(of_layer.inner if isinstance(of_layer, LayerPosition) else of_layer)
    unchanged = not position.rotates() and position.bias is Position.bias
    cls = type(attention)
    overrides = any(getattr(cls, hook) is not getattr(Attention, hook) for hook in ("project", "score", "add_bias"))
    return unchanged and not overrides and model.spec.modifiers == Modifiers()
