"""Arguments of the constructor of a whole model, matched to a run by the names that people use.

vocabulary  vocab_size, num_tokens, n_vocab, ...          of the task
length      n_positions, block_size, max_seq_len, ...     the longest sequence of the run
width       dim, d_model, n_embd, hidden_size, ...        of the spec
layers      depth, n_layer, num_layers, ...               of the spec
heads       heads, num_heads, n_head, ...                 of the spec
channels    head_dim, dim_head, ...                       the width over the heads
hidden      d_ff, dim_feedforward, ...                    mlp_ratio times the width, where there is no default
always      causal, is_causal, batch_first                true

A constructor that takes one configuration is called by a function of the user's own, whose arguments are matched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from attnlab.attention.ops.constructor import ALWAYS, CHANNELS, HEADS, LENGTH, VOCABULARY, WIDTH, Parameters
from attnlab.errors import InvalidValueError
from attnlab.specs import ModelSpec

LENGTHS = (
    *(*LENGTH, "n_positions", "n_ctx", "ctx_len", "max_sequence_length", "max_seq_length", "seq_length"),
    *("sequence_length", "context_size", "context_len", "max_positions", "num_positions", "max_context_length"),
)
WIDTHS = tuple(name for name in WIDTH if not name.startswith(("input", "d_input", "dim_in", "feature")))
WIDTHS += ("hidden_dim", "hidden", "emb_size", "d_embed", "ninp", "nhid", "channels", "embed")
LAYERS = (
    *("depth", "n_layer", "n_layers", "num_layers", "layers", "num_hidden_layers", "nlayers", "n_blocks"),
    *("num_blocks", "num_layer", "blocks"),
)
HIDDEN = ("d_ff", "dim_feedforward", "intermediate_size", "n_inner", "mlp_dim", "ffn_dim", "d_mlp", "d_hid", "ff_dim")

MODULE_ARGUMENTS: Mapping[str, str] = {
    name: kind
    for kind, names in (
        ("always", ALWAYS),
        ("hidden", HIDDEN),
        ("channels", CHANNELS),
        ("heads", HEADS),
        ("layers", LAYERS),
        ("width", WIDTHS),
        ("length", LENGTHS),
        ("vocabulary", VOCABULARY),
    )
    for name in names
}
"""Argument -> what of the run it is given."""
SIZES: Mapping[str, tuple[str, ...]] = {
    "width": ("width",),
    "layers": ("layers",),
    "heads": ("heads",),
    "channels": ("width", "heads"),
    "hidden": ("width", "mlp_ratio"),
}
"""What an argument is given -> the fields of the spec that decide it."""


class ModuleContext(NamedTuple):
    """What the constructor of a whole model can be given."""

    spec: ModelSpec
    vocabulary: int
    length: int
    """The longest sequence of the run, in tokens."""


def matched_names(parameters: Parameters, given: Mapping[str, Any]) -> dict[str, str]:
    """Tell which arguments of a constructor are matched.

    Args:
        parameters: Its arguments.
        given: Arguments of the user, which are not matched.

    Returns:
        Argument -> what it is given; a hidden width only where it has no default.
    """
    found = {name: MODULE_ARGUMENTS[name] for name in parameters if name in MODULE_ARGUMENTS and name not in given}
    return {
        name: kind
        for name, kind in found.items()
        if kind != "hidden" or parameters[name].default is parameters[name].empty
    }


def sizes_used(parameters: Parameters, given: Mapping[str, Any]) -> tuple[str, ...]:
    """List the fields of the spec that decide an argument of a constructor.

    Args:
        parameters: Its arguments.
        given: Arguments of the user.

    Returns:
        The fields, in the order of the spec.
    """
    used = {field for kind in matched_names(parameters, given).values() for field in SIZES.get(kind, ())}
    return tuple(field for field in ModelSpec.model_fields if field in used)


def check_arguments(parameters: Parameters, given: Mapping[str, Any], line: str = "") -> None:
    """Refuse a constructor with arguments that neither a run nor the user gives.

    Args:
        parameters: Its arguments.
        given: Arguments of the user.
        line: Where the constructor is written, for the message.

    Raises:
        InvalidValueError: The message names all of them.
    """
    known = {*matched_names(parameters, given), *given}
    missing = [name for name, one in parameters.items() if one.default is one.empty and name not in known]
    if missing:
        names = ", ".join(f"'{name}'" for name in missing)
        noun = "the argument" if len(missing) == 1 else "the arguments"
        own = ":" + ",".join(f"{name}=..." for name in missing)
        hint = (
            f"Give as options what is plain data, {own}; for anything else name a function that returns the module. "
            "Its own arguments are matched: def build(vocab_size, max_len, d_model, n_layers, n_heads)."
        )
        hint = "\n".join(filter(None, (line, hint)))
        raise InvalidValueError(f"It needs {noun} {names}, which nothing of a run matches.", hint)


def module_arguments(parameters: Parameters, context: ModuleContext, given: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the arguments of a constructor.

    Args:
        parameters: Its arguments.
        context: What they can be given.
        given: Arguments of the user, which take precedence.

    Returns:
        The arguments that are passed; the others keep their defaults.

    Raises:
        InvalidValueError: An argument cannot be matched, or the heads do not divide the width.
    """
    check_arguments(parameters, given)
    matched = matched_names(parameters, given)
    spec = context.spec
    if "channels" in matched.values() and spec.width % spec.heads:
        hint = "Choose a number of heads that divides the width."
        raise InvalidValueError(f"A width of {spec.width} does not divide into {spec.heads} heads.", hint)
    values = {
        "vocabulary": context.vocabulary,
        "length": context.length,
        "width": spec.width,
        "layers": spec.layers,
        "heads": spec.heads,
        "channels": spec.width // spec.heads,
        "hidden": round(spec.width * spec.mlp_ratio),
        "always": True,
    }
    return {**given, **{name: values[kind] for name, kind in matched.items()}}
