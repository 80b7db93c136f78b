"""Attention as a support vector machine, in every layer of a model that was traced."""

from __future__ import annotations

import math

from torch import nn

from attnlab.attention import Attention
from attnlab.diagnosis._gain_control import blocks, unwrapped
from attnlab.diagnosis.result import Values
from attnlab.metrics.token_selection import Choice, chosen
from attnlab.model.transformer import Transformer
from attnlab.position import Position
from attnlab.specs import Modifiers
from attnlab.tensors import ActivationTrace

COLUMNS = 128
"""Constraints for each head, at most."""


def svm_values(model: Transformer, trace: ActivationTrace) -> dict[str, list[Values]]:
    """For each layer, one number per head; nothing for a layer without one query and one key map.

    The machine is found only where scores are a bilinear form of the stream: no rotation, no bias, no norm of queries,
    no score of a mechanism's own.
    """
    result: dict[str, list[Values]] = {
        name: [] for name in ("weight-norm", "svm-correlation", "svm-margin", "svm-best")
    }
    for layer, block in enumerate(blocks(model)):
        attention, scores = unwrapped(block.attention), trace.scores_BHTS[layer]
        choices: tuple[Choice, ...] = ()
        if scores and is_bilinear(attention):
            choices = chosen(
                block.branch_input(trace.residual_BTD[layer], 0),
                scores[0],
                trace.weights_BHTS[layer][0],
                attention.query.weight,
                attention.key.weight,
                bare=bilinear(model, attention),
                columns=COLUMNS,
            )
        result["weight-norm"].append(tuple(one.norm for one in choices))
        aligned = [one.alignment for one in choices]
        result["svm-correlation"].append(tuple(one.correlation if one else math.nan for one in aligned))
        result["svm-margin"].append(tuple(one.margin if one else math.nan for one in aligned))
        result["svm-best"].append(tuple(one.best if one else math.nan for one in aligned))
    return result


def is_bilinear(attention: Attention) -> bool:
    """Whether queries and keys are one linear map each, of as many channels per head."""
    stored = (getattr(attention, "query", None), getattr(attention, "key", None))
    if not all(isinstance(one, nn.Linear) for one in stored):
        return False
    asked, answered = (one.weight.shape[0] for one in stored if isinstance(one, nn.Linear))
    return asked % attention.num_heads == 0 and answered % (asked // attention.num_heads) == 0


def bilinear(model: Transformer, attention: Attention) -> bool:
    """Whether scores are ``x_j^T W x_i`` and nothing else."""
    position = type(model.position)
    still = position.rotate is Position.rotate and position.bias is Position.bias
    kind = type(attention)
    own = any(getattr(kind, hook) is not getattr(Attention, hook) for hook in ("project", "score", "combine"))
    return still and not own and model.spec.modifiers == Modifiers()
