"""Step 3 of a plan: parts that cannot be combined are refused."""

from __future__ import annotations

import math

from attnlab.attention import ATTENTIONS, Attention
from attnlab.errors import IncompatiblePartsError
from attnlab.mlp import MLPS
from attnlab.position import POSITIONS, Position
from attnlab.position.per_layer import serves_single_layers
from attnlab.registry import Entry
from attnlab.residual_stream import RESIDUAL_STREAMS
from attnlab.specs import ModelSpec, Modifiers, Variant, of_layer, variant_text


def check_position(model: ModelSpec) -> None:
    """Refuse a position that adds a bias to scores, or rotates queries and keys, where an attention has none.

    Args:
        model: The model, with its parts looked up.

    Raises:
        IncompatiblePartsError: The message lists the positions that can be combined with the attention.
    """
    pattern = model.position.alternating
    _check_single_layers(model)
    for layer in range(min(model.layers, math.lcm(len(pattern), len(model.attention)))):
        attention = ATTENTIONS.entry(of_layer(model.attention, layer).name)
        problem = _refusal(attention, POSITIONS.entry(of_layer(pattern, layer).name))
        if problem:
            names = ", ".join(entry.name for entry in POSITIONS if not _refusal(attention, entry))
            raise IncompatiblePartsError(problem, f"Combine it with: {names}.", where="model.position")


def _refusal(attention: Entry[Attention], position: Entry[Position]) -> str:
    """Why a position cannot be that of an attention; empty if it can."""
    reads, acts, name = attention.cls, position.cls, f"'{attention.name}'"
    if acts.biases and not reads.has_scores:
        return f"{name} has no attention scores, and the position '{position.name}' adds a bias to them."
    if acts.hides_keys and not reads.hides_keys:
        return f"The position '{position.name}' hides keys by a penalty, but {name} gives them weight."
    if acts.rotates() and not reads.has_heads:
        return f"{name} has no queries and keys of ours, which the position '{position.name}' rotates."
    if acts.polar and not (reads.has_scores and reads.plain_products):
        return (
            f"The position '{position.name}' defines products of queries and keys, "
            f"and {name} does more with them than q.k / sqrt(C)."
        )
    return ""


def _check_single_layers(model: ModelSpec) -> None:
    """Refuse a position that acts on the whole model where positions alternate over the layers."""
    for part in model.position.alternating if model.position.then else ():
        if not serves_single_layers(POSITIONS.entry(part.name).cls):
            names = ", ".join(entry.name for entry in POSITIONS if serves_single_layers(entry.cls))
            problem = f"The position '{part.name}' acts on the whole model, and cannot be that of single layers."
            raise IncompatiblePartsError(problem, f"Positions of single layers: {names}.", where="model.position")


def check_layers(model: ModelSpec) -> None:
    """Refuse parts that alternate over more layers than the model has: the last of them would not be used.

    Args:
        model: The model, with its parts looked up.

    Raises:
        IncompatiblePartsError: The message has the number of layers that the pattern needs.
    """
    patterns: dict[str, Variant] = {
        "attention": model.attention,
        "position": model.position.alternating,
        "mlp": model.mlp,
    }
    for field, parts in patterns.items():
        if len(parts) > model.layers:
            problem = f"'{variant_text(parts)}' is a pattern of {len(parts)} layers, and the model has {model.layers}."
            hint = f"Set model.layers to {len(parts)} or more, or shorten the pattern."
            raise IncompatiblePartsError(problem, hint, where=f"model.{field}")


def check_block(model: ModelSpec) -> None:
    """Refuse a part of the blocks that would change nothing.

    Args:
        model: The model, with its parts looked up.

    Raises:
        IncompatiblePartsError: The message names the setting that makes the part useless.
    """
    has_mlp = model.mlp_ratio > 0 and any(part.name != "none" for part in model.mlp)
    useless = {
        "norm_layer": model.norm == "none" and "norm: none leaves out all norms",
        "mlp": not model.mlp_ratio and "mlp_ratio: 0 leaves out all MLPs",
        "block": not has_mlp and "a block without an MLP has one branch",
        "residual_stream": not model.residual and "residual: false leaves out the sum of stream and update",
    }
    _check_stream(model)
    for field, reason in useless.items():
        value = getattr(model, field)
        parts = value if isinstance(value, tuple) else (value,)
        is_none = all(part.name == "none" for part in parts)
        if reason and not is_none and value != ModelSpec.model_fields[field].default:
            problem = f"{variant_text(parts)} would change nothing: {reason}."
            raise IncompatiblePartsError(problem, "Leave out one of the two settings.", where=f"model.{field}")


def _check_stream(model: ModelSpec) -> None:
    """Refuse a residual stream of several tensors where a norm or a block needs one, or would leave maps unused."""
    part = model.residual_stream
    if RESIDUAL_STREAMS.entry(part.name).cls.is_single:
        return
    single = ", ".join(entry.name for entry in RESIDUAL_STREAMS if entry.cls.is_single)
    if model.norm == "post":
        problem = f"'{part}' holds several vectors per token, and norm: post normalizes the one vector after each sum."
        raise IncompatiblePartsError(problem, f"Use norm: pre or none, or: {single}.", where="model.residual_stream")
    if model.block.name == "parallel" and not model.block.options.get("shared_norm", True):
        problem = f"'{part}' has a read for each write, and '{model.block}' reads twice and writes once."
        hint = f"Use shared_norm=true or the block 'sequential', or: {single}."
        raise IncompatiblePartsError(problem, hint, where="model.residual_stream")


def check_modifiers(model: ModelSpec) -> None:
    """Refuse a modifier that would change nothing in any layer.

    Args:
        model: The model, with its parts looked up.

    Raises:
        IncompatiblePartsError: The message lists the modifiers that the attention supports.
    """
    used = sorted(name for name, value in model.modifiers if value != Modifiers.model_fields[name].default)
    if "value_residual" in used and model.layers == 1:
        problem = "value_residual mixes in the values of the first layer, and this model has one layer."
        hint = "Use two layers or more, or leave value_residual out."
        raise IncompatiblePartsError(problem, hint, where="model.modifiers")
    _check_canon(model)
    classes = {part.name: ATTENTIONS.entry(part.name).cls for part in model.attention}
    for name in used:
        if all(name in cls.unsupported_modifiers for cls in classes.values()):
            part, cls = next(iter(classes.items()))
            supported = ", ".join(other for other in Modifiers.model_fields if other not in cls.unsupported_modifiers)
            problem = f"'{part}' does not support {name}: {cls.unsupported_modifiers[name]}."
            hint = f"Leave {name} out. '{part}' supports: {supported}."
            raise IncompatiblePartsError(problem, hint, where="model.modifiers")


def _check_canon(model: ModelSpec) -> None:
    """Refuse a Canon layer at a place that the model does not have."""
    places = model.modifiers.canon
    mlps = [MLPS.entry(part.name).cls for part in model.mlp if model.mlp_ratio and part.name != "none"]
    own = all(ATTENTIONS.entry(part.name).cls.own_projections for part in model.attention)
    names = variant_text(model.attention)
    missing = {
        "B": own and f"'{names}' has no joint projection of queries, keys and values",
        "C": not mlps and "the model has no MLP",
        "D": not any(cls.has_canon for cls in mlps) and "no MLP of the model has a place before its activation",
    }
    for place, reason in missing.items():
        if place in places and reason:
            kept = "".join(one for one in places if not missing.get(one))
            hint = f"Use canon: {kept}." if kept else "Leave canon out."
            problem = f"canon: {places} has nowhere to put {place}: {reason}."
            raise IncompatiblePartsError(problem, hint, where="model.modifiers")
