"""Blocks are built from the specification of a model: attention, MLP, norms and residual stream of each layer."""

from __future__ import annotations

from typing import TypeVar

from attnlab.attention import ATTENTIONS, Attention
from attnlab.block import BLOCKS, Block, BlockParts
from attnlab.errors import AttnlabError
from attnlab.mlp import MLPS, Mlp
from attnlab.mlp.none import NoMlp
from attnlab.norm import NORMS, Norm
from attnlab.position import POSITIONS, Position
from attnlab.position.per_layer import PerLayer
from attnlab.registry import Entry
from attnlab.residual_stream import RESIDUAL_STREAMS
from attnlab.specs import ModelSpec, Part, of_layer
from attnlab.tensors import LayerContext

T = TypeVar("T")


def build_block(spec: ModelSpec, context: LayerContext) -> Block:
    """Build the block of one layer.

    Args:
        spec: The model's specification.
        context: The layer.

    Returns:
        The block.

    Raises:
        InvalidValueError: an option that a part does not accept.
        UnknownNameError: a part or option that does not exist.
    """
    stream = RESIDUAL_STREAMS.entry(spec.residual_stream.name)
    parts = BlockParts(
        attention=build_attention(spec, context),
        mlp=build_mlp(spec, context),
        make_norm=lambda: build_norm(spec, context),
        norm=spec.norm,
        residual_stream=build_part(context, stream, spec.residual_stream, "model.residual_stream"),
        residual=spec.residual,
    )
    return build_part(context, BLOCKS.entry(spec.block.name), spec.block, "model.block", parts)


def build_attention(spec: ModelSpec, context: LayerContext) -> Attention:
    """Build the attention of one layer; the layers cycle through the attentions of the specification.

    Args:
        spec: The model's specification.
        context: The layer.

    Returns:
        The attention.

    Raises:
        InvalidValueError: an option that the attention does not accept.
        UnknownNameError: an attention or option that does not exist.
    """
    part = of_layer(spec.attention, context.layer)
    return build_part(context, ATTENTIONS.entry(part.name), part, "model.attention")


def build_mlp(spec: ModelSpec, context: LayerContext) -> Mlp | None:
    """Build the MLP of one layer; the layers cycle through the MLPs of the specification.

    Args:
        spec: The model's specification.
        context: The layer.

    Returns:
        The MLP; None in a layer without one.

    Raises:
        InvalidValueError: an option that the MLP does not accept.
        UnknownNameError: an MLP or option that does not exist.
    """
    part = of_layer(spec.mlp, context.layer)
    entry = MLPS.entry(part.name)
    if not spec.mlp_ratio or entry.cls is NoMlp:
        return None
    return build_part(context, entry, part, "model.mlp")


def build_position(spec: ModelSpec, context: LayerContext) -> Position:
    """Build the position of a model, or those of its layers where several alternate.

    Args:
        spec: The model's specification.
        context: The sizes of the model.

    Returns:
        The position.

    Raises:
        InvalidValueError: an option that the position does not accept.
        UnknownNameError: a position or option that does not exist.
    """
    parts = spec.position.alternating
    entries = [POSITIONS.entry(part.name) for part in parts]
    if len(parts) == 1:
        return build_part(context, entries[0], spec.position, "model.position")
    try:
        options = [entry.complete(part.options) for entry, part in zip(entries, parts, strict=True)]
        choice = [parts.index(of_layer(parts, layer)) for layer in range(spec.layers)]
        return PerLayer(context, list(zip(entries, options, strict=True)), choice)
    except AttnlabError as error:
        raise error.at(f"model.position: {spec.position}") from None


def build_norm(spec: ModelSpec, context: LayerContext) -> Norm:
    """Build one norm.

    Args:
        spec: The model's specification.
        context: The layer.

    Returns:
        The norm.

    Raises:
        InvalidValueError: an option that the norm does not accept.
        UnknownNameError: a norm or option that does not exist.
    """
    return build_part(context, NORMS.entry(spec.norm_layer.name), spec.norm_layer, "model.norm_layer")


def build_part(context: LayerContext, entry: Entry[T], part: Part, where: str, *more: object) -> T:
    """Build a registered part with its options.

    Args:
        context: The layer that the part is built for.
        entry: The part's entry in its registry.
        part: Name and options.
        where: The field of the specification, for error messages.
        *more: Further arguments of the constructor, after the context.

    Returns:
        The part.

    Raises:
        InvalidValueError: an option that the part does not accept.
        UnknownNameError: an option that does not exist.
    """
    try:
        return entry.cls(context, *more, **entry.complete(part.options))  # type: ignore[call-arg]  # parts take a context
    except AttnlabError as error:
        raise error.at(f"{where}: {part}") from None
