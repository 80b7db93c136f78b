"""Constructors of other people's modules: their arguments, matched to a layer by the names that people use.

width      dim, d_model, embed_dim, hidden_size, ...
heads      heads, num_heads, n_head, nhead, ...
channels   head_dim, dim_head, ...          the width over the heads
layer      layer_idx, layer_id, ...         counted from 0
length     max_len, block_size, ...         the longest sequence of the run
depth      depth, n_layers, ...             one, where there is no default
always     causal, is_causal, batch_first   true

Where a constructor takes an object of its own, ``Layer(config: LayerConfig)``, the arguments of that object are its.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from attnlab.errors import InvalidValueError
from attnlab.tensors import LayerContext

WIDTH = (
    *("dim", "d_model", "embed_dim", "hidden_size", "width", "n_embd", "model_dim", "emb_dim", "embedding_dim"),
    *("input_size", "input_dim", "dim_model", "d_input", "n_embed", "embed_size", "feature_dim", "dim_in", "features"),
    *("in_features", "out_features"),
)
HEADS = ("heads", "num_heads", "n_head", "n_heads", "nhead", "num_attention_heads", "nheads", "head_count")
CHANNELS = ("head_dim", "dim_head", "d_head", "head_size", "dim_per_head", "dim_heads", "head_width")
LAYER = ("layer_idx", "layer_index", "layer_id")
LENGTH = (
    *("max_len", "block_size", "max_seq_len", "max_length", "seq_len", "context_length", "max_position_embeddings"),
    *(
        "max_seqlen",
        "max_seq_length",
        "seq_length",
        "max_sequence_length",
        "max_context_length",
        "n_positions",
        "n_ctx",
    ),
)
DEPTH = ("depth", "n_layers", "num_layers", "n_layer", "num_hidden_layers")
ALWAYS = ("causal", "is_causal", "autoregressive", "batch_first", "is_decoder")
BLOCK, LONG = "block_size", 256
"""In some modules a block is the longest sequence, in others a part of it: a short default says that it is a part."""
CONFIG = ("config", "cfg", "configuration")
"""Names of arguments that take an object with the arguments; its class is known by the annotation."""

PLAIN = (dict, list, str, int, float, object)
"""Annotations that do not say which arguments an object has."""

Parameters = Mapping[str, inspect.Parameter]


def constructor_parameters(build: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """List the arguments of a constructor; where it passes its keywords on, also those of the class above it.

    Args:
        build: A class, or a function that returns a module.

    Returns:
        The arguments by name. Those of a class above that have no default are left out unless they match a layer:
        the class may supply them itself, as ``nn.GRU`` supplies its mode.
    """
    found = _own_parameters(build)
    object_argument = config_argument(build)
    if object_argument is not None:
        name, config = object_argument
        del found[name]
        found = {**_own_parameters(config), **found}
    return found


def config_argument(build: Callable[..., Any]) -> tuple[str, type] | None:
    """Find the argument that takes an object with the arguments, such as ``config: LayerConfig``.

    Args:
        build: A class, or a function that returns a module.

    Returns:
        Its name and the class of the object; None if there is none, or its class is not annotated.
    """
    for name, one in _own_parameters(build).items():
        if name in CONFIG and one.default is one.empty:
            function = getattr(build, "__init__", build) if isinstance(build, type) else build
            try:
                annotation = typing.get_type_hints(function).get(name)
            except Exception:  # an annotation names what is not there
                return None
            return (name, annotation) if isinstance(annotation, type) and annotation not in PLAIN else None
    return None


def with_config(build: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put arguments into the object that a constructor takes.

    Args:
        build: A class, or a function that returns a module.
        arguments: The arguments of the constructor and of its object.

    Returns:
        The arguments of the constructor.

    Raises:
        Exception: Whatever the class of the object raises.
    """
    object_argument = config_argument(build)
    if object_argument is None:
        return dict(arguments)
    name, config = object_argument
    inside = _own_parameters(config)
    own = {key: value for key, value in arguments.items() if key not in inside}
    return {name: config(**{key: value for key, value in arguments.items() if key in inside}), **own}


def _own_parameters(build: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a constructor and, where it passes its keywords on, of the class above it."""
    found: dict[str, inspect.Parameter] = {}
    classes = build.__mro__ if isinstance(build, type) else (build,)
    outermost = True
    for one in classes:
        function = vars(one).get("__init__") if isinstance(one, type) else one
        if function is None:
            continue
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            break
        for parameter in parameters[1:] if isinstance(build, type) else parameters:
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            needed = parameter.default is not parameter.empty or parameter.name in MATCHED
            if named and parameter.name not in found and (outermost or needed):
                found[parameter.name] = parameter
        outermost = False
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


MATCHED: Mapping[str, str] = {
    name: kind
    for kind, names in (
        ("width", WIDTH),
        ("heads", HEADS),
        ("channels", CHANNELS),
        ("layer", LAYER),
        ("length", LENGTH),
        ("depth", DEPTH),
        ("always", ALWAYS),
    )
    for name in names
}
"""Argument -> what of the layer it is given."""


def matched_arguments(parameters: Parameters, context: LayerContext, given: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the arguments of a constructor for a layer.

    Args:
        parameters: Its arguments.
        context: The layer.
        given: Arguments of the user, which take precedence.

    Returns:
        The arguments that are passed; the others keep their defaults.

    Raises:
        InvalidValueError: The heads do not divide the width, where an argument needs them to.
    """
    chosen = dict(given)
    heads = next((given[name] for name in HEADS if name in given), context.heads)
    for name, parameter in parameters.items():
        kind = MATCHED.get(name)
        if kind is None or name in given:
            continue
        optional = parameter.default is not parameter.empty
        if optional and (kind == "depth" or (name == BLOCK and _is_short(parameter.default))):
            continue
        if kind == "layer" and optional and parameter.default is None:
            chosen[name] = context.layer
        elif kind == "channels":
            if context.width % heads:
                hint = "Choose a number of heads that divides the width."
                raise InvalidValueError(f"A width of {context.width} does not divide into {heads} heads.", hint)
            chosen[name] = context.width // heads
        else:
            values = {
                "width": context.width,
                "heads": heads,
                "layer": context.layer,
                "length": context.length,
                "depth": 1,
            }
            chosen[name] = values.get(kind, True)
    return chosen


def _is_short(default: Any) -> bool:
    """Whether the default of a block says that it is a part of a sequence."""
    return isinstance(default, int) and 0 < default < LONG


def missing_arguments(parameters: Parameters) -> list[str]:
    """List the arguments that a user must give.

    Args:
        parameters: The arguments of a constructor.

    Returns:
        Names of those that have no default and match nothing of a layer.
    """
    return [name for name, one in parameters.items() if one.default is one.empty and name not in MATCHED]
