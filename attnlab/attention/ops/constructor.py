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
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from attnlab.attention.ops.signature import config_argument, own_parameters
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
VOCABULARY = (
    *("vocab_size", "num_tokens", "n_vocab", "n_tokens", "vocab", "vocabulary", "vocabulary_size", "num_vocab"),
    *("d_vocab", "d_vocab_out", "ntoken", "ntokens", "n_token", "voc_size", "vocab_len", "num_embeddings"),
)
"""Arguments of whole models, which no layer is given."""
ALWAYS = ("causal", "is_causal", "autoregressive", "batch_first", "is_decoder")
BLOCK, LONG = "block_size", 256
"""In some modules a block is the longest sequence, in others a part of it: a short default says that it is a part."""
Parameters = Mapping[str, inspect.Parameter]


def constructor_parameters(
    build: Callable[..., Any], matched: Mapping[str, str] | None = None
) -> dict[str, inspect.Parameter]:
    """List the arguments of a constructor; where it passes its keywords on, also those of the class above it.

    Args:
        build: A class, or a function that returns a module.
        matched: Argument -> what it is given; None takes :data:`MATCHED`.

    Returns:
        The arguments by name. Those of a class above that have no default are left out unless they are matched: the
        class may supply them itself, as ``nn.GRU`` supplies its mode.
    """
    names = MATCHED if matched is None else matched
    found = own_parameters(build, names)
    object_argument = config_argument(build)
    if object_argument is not None:
        name, config = object_argument
        del found[name]
        found = {**own_parameters(config, names), **found}
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


class Matched(Enum):
    """The default of an option that is matched to a layer or a model."""

    MATCHED = "matched"

    def __repr__(self) -> str:
        return self.value


def with_options(
    build: Callable[..., Any], initialize: Callable[..., None], matched: Mapping[str, str]
) -> Callable[..., None]:
    """Make a constructor whose keywords are those of other people's module, so that they are options.

    Args:
        build: The class of the module, or a function that returns one.
        initialize: Takes what is initialized, a context, and the options that differ from their defaults.
        matched: Argument -> what it is given.

    Returns:
        The constructor.
    """
    keywords = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=Matched.MATCHED if name in matched else one.default
        )
        for name, one in constructor_parameters(build, matched).items()
    ]
    defaults = {one.name: one.default for one in keywords}

    def __init__(self: Any, context: Any, **options: Any) -> None:
        # A class may refuse an argument of the class above it, even at its default.
        given = {name: value for name, value in options.items() if value is not defaults.get(name, Matched.MATCHED)}
        initialize(self, context, **given)

    positional = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "context")]
    __init__.__signature__ = inspect.Signature([*positional, *keywords])  # type: ignore[attr-defined]
    __init__.__annotations__ = {}
    return __init__


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
