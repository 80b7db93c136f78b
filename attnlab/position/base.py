"""The template every position fills in: how order enters a model.

Letters  B batch, T queries, S keys, D width of the stream, H heads, C channels per head.

    embed    the stream before the first block        x
    rotate   queries and keys, after projection       as they are
    bias     what is added to the scores of a layer   nothing

One position serves the whole model; what it learns per layer carries a leading L.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

import torch
from torch import Tensor, nn

from attnlab.registry import Registry
from attnlab.tensors import QKV, LayerContext


class Position(nn.Module, ABC):
    """No say in order at all, as a template.

    Args:
        context: Where it stands: the sizes of the model.
    """

    biases: ClassVar[bool] = False
    """Whether ``bias`` adds to the scores; an attention that forms none is refused such a position."""

    reads_scores: ClassVar[bool] = True
    """Whether ``bias`` depends on the scores themselves; one that asks for their shape alone lets them be fused."""

    random: ClassVar[bool] = False
    """Whether it draws its places at random, a new sample for each ``draw``."""

    def __init__(self, context: LayerContext) -> None:
        super().__init__()
        self.length = context.length
        self.draw = 0
        """Which sample a random position takes. Whoever trains counts it up, so that a forward pass changes nothing:
        steps of training take 1, 2, ..., batches of an evaluation -1, -2, ...; 0 is for everyone else."""

    def embed(self, x_BTD: Tensor) -> Tensor:
        """The embedded tokens, told where they stand."""
        return x_BTD

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Queries or keys, turned by their place; the first stands at ``start``."""
        return tensor_BHTC

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """What is added to the scores of a layer, broadcastable to them; None adds nothing."""
        return None


def distance(queries: int, keys: int, start: int, device: torch.device) -> Tensor:
    """How far each key lies behind its query, ``max(0, i + start - j)``: float32, T x S."""
    positions = torch.arange(queries, device=device)[:, None] + start - torch.arange(keys, device=device)
    return positions.clamp_min(0).float()


def shared(tensor: Tensor, channels: int) -> Tensor:
    """The leading channels of the last axis: an attention may make its queries narrower or wider than C."""
    return tensor[..., : min(channels, tensor.shape[-1])]


POSITIONS: Registry[Position] = Registry("position", "attnlab.position")
register = POSITIONS.register
