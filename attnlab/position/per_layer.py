"""Positions that alternate over the layers, such as three rotary layers and then one without a position.

Each layer has the position of its place in the pattern. The layers that a position serves are counted from 0 for it,
so that its tables have entries for these layers alone.

Source   the pattern of Yang et al., "Rope to NoPE and back again", arXiv:2501.18795, and of Llama 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

from torch import Tensor, nn

from attnlab.position.base import Position
from attnlab.registry import Entry
from attnlab.rotation import Rotation
from attnlab.tensors import QKV, LayerContext


@final
class LayerPosition(Position):
    """The position of one layer.

    Args:
        context: The layer.
        inner: The position that the layer has.
        index: Index of the layer among those that have it.
    """

    def __init__(self, context: LayerContext, inner: Position, index: int) -> None:
        super().__init__(context)
        # A list hides the module: its parameters belong to PerLayer, and are listed there once.
        self._inner, self.index = [inner], index

    @property
    def inner(self) -> Position:
        """The position that the layer has."""
        return self._inner[0]

    @property
    def reads_scores(self) -> bool:  # type: ignore[override]  # as the position of the layer has it
        """Whether the bias depends on the values of the scores."""
        return self.inner.reads_scores

    @property
    def biases(self) -> bool:  # type: ignore[override]  # likewise
        """Whether the position adds a bias to the scores."""
        return self.inner.biases

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Queries or keys, rotated by the position of the layer."""
        return self.inner.rotate(tensor_BHTC, start)

    def rotate_keys(self, tensor_BHSC: Tensor) -> Tensor:
        """Keys, rotated by the position of the layer."""
        return self.inner.rotate_keys(tensor_BHSC)

    def for_input(self, x_BTD: Tensor, layer: int) -> Rotation:
        """The rotation of the position of the layer."""
        return self.inner.for_input(x_BTD, self.index)

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The bias of the position of the layer."""
        return self.inner.bias(scores_BHTS, qkv, self.index)


@final
class PerLayer(Position):
    """The positions of a model whose layers have several.

    Args:
        context: The sizes of the model.
        parts: The distinct positions: their entries in the registry and their complete options.
        choice: For each layer, the index of its position among them.
    """

    def __init__(
        self,
        context: LayerContext,
        parts: Sequence[tuple[Entry[Position], dict[str, object]]],
        choice: Sequence[int],
    ) -> None:
        super().__init__(context)
        self.parts = nn.ModuleList(
            entry.cls(replace(context, layers=choice.count(index)), **options)
            for index, (entry, options) in enumerate(parts)
            if index in choice
        )
        built = iter(self.parts)
        positions = {index: next(built) for index in range(len(parts)) if index in choice}
        layers = []
        for layer, index in enumerate(choice):
            inner = positions[index]
            assert isinstance(inner, Position)
            layers.append(LayerPosition(context, inner, choice[:layer].count(index)))
        self._layers = layers

    def of_layer(self, layer: int) -> Position:
        """The position of a layer."""
        return self._layers[layer]


def serves_single_layers(cls: type[Position]) -> bool:
    """Tell whether a position can be that of some layers and not of others.

    Args:
        cls: The class of the position.

    Returns:
        False if it acts before the first block, or is drawn once for the whole model.
    """
    return cls.embed is Position.embed and not cls.random
