"""The base class of all positions: how the order of the tokens enters a model.

Letters  B batch, T queries, S keys, D width, H heads, C channels per head.

    embed    changes the residual stream before the first block    default: no change
    rotate   changes queries and keys after their projection       default: no change
    bias     is added to the scores of a layer                     default: no bias

One position serves the whole model. Parameters of single layers have a leading axis L, or one parameter per layer.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

import torch
from torch import Tensor, nn

from attnlab.registry import Registry
from attnlab.rotation import Rotation
from attnlab.tensors import QKV, LayerContext


class Position(nn.Module, ABC):
    """A position without any effect; subclasses override the hooks that they need.

    Args:
        context: The sizes of the model.
    """

    biases: ClassVar[bool] = False
    """Whether ``bias`` adds to the scores; an attention without scores cannot be combined with such a position."""

    reads_scores: ClassVar[bool] = True
    """Whether ``bias`` depends on the values of the scores; False if on their shape alone, which allows fused kernels.
    """

    hides_keys: ClassVar[bool] = False
    """Whether ``bias`` takes keys away by a large penalty; see ``Attention.hides_keys``."""

    polar: ClassVar[bool] = False
    """Whether queries and keys are replaced by others of twice the channels, of which only products have a meaning; see
    ``Attention.plain_products``."""

    random: ClassVar[bool] = False
    """Whether positions are drawn at random, a new sample for each ``draw``."""

    def __init__(self, context: LayerContext) -> None:
        super().__init__()
        self.length = context.length
        self.draw = 0
        """Index of the sample of a random position. The caller sets it, so that a forward pass has no side effects:
        training steps use 1, 2, ..., evaluation batches use -1, -2, ...; every other caller uses 0."""

    def embed(self, x_BTD: Tensor) -> Tensor:
        """Add the positions to the token embeddings.

        Args:
            x_BTD: Token embeddings.

        Returns:
            The residual stream before the first block, B x T x D.
        """
        return x_BTD

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Apply the positions to queries or keys.

        Args:
            tensor_BHTC: Queries or keys.
            start: Position of the first one, counted from 0.

        Returns:
            The rotated queries or keys, B x H x T x C.
        """
        return tensor_BHTC

    def rotate_keys(self, tensor_BHSC: Tensor) -> Tensor:
        """Apply the positions to keys, where that is not what ``rotate`` does.

        Args:
            tensor_BHSC: Keys.

        Returns:
            The rotated keys, B x H x S x C.
        """
        return self.rotate(tensor_BHSC)

    def for_input(self, x_BTD: Tensor, layer: int) -> Rotation:
        """The rotation of a layer, where it depends on the layer or on the layer's input.

        Args:
            x_BTD: The input of the layer's attention.
            layer: Index of the layer, from 0.

        Returns:
            What rotates queries and keys; by default the position itself.
        """
        return self

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """Compute the bias on the scores of a layer.

        Args:
            scores_BHTS: Scores without the bias.
            qkv: Queries, keys and values of the layer; ``qkv.start`` is the position of the first query.
            layer: Index of the layer, from 0.

        Returns:
            A bias that broadcasts to the scores; None for no bias.
        """
        return None

    @classmethod
    def rotates(cls) -> bool:
        """Whether the position changes queries and keys."""
        return cls.rotate is not Position.rotate or cls.for_input is not Position.for_input

    def of_layer(self, layer: int) -> Position:
        """Get the position of one layer.

        Args:
            layer: Index of the layer, from 0.

        Returns:
            The position itself, unless positions alternate over the layers.
        """
        return self


def distance(queries: int, keys: int, start: int, device: torch.device) -> Tensor:
    """Compute how many tokens each key is before its query: ``max(0, i + start - j)``.

    Args:
        queries: T.
        keys: S.
        start: Position of the first query among the keys, from 0.
        device: Device of the result.

    Returns:
        Distances in tokens, float32, T x S.
    """
    positions = torch.arange(queries, device=device)[:, None] + start - torch.arange(keys, device=device)
    return positions.clamp_min(0).float()


def common_channels(tensor: Tensor, channels: int) -> Tensor:
    """Take the leading channels: the queries of some attentions are narrower or wider than C.

    Args:
        tensor: ... x C.
        channels: How many channels to keep, if the tensor has as many.

    Returns:
        The first ``min(channels, C)`` channels.
    """
    return tensor[..., : min(channels, tensor.shape[-1])]


POSITIONS: Registry[Position] = Registry("position", "attnlab.position")
register = POSITIONS.register
