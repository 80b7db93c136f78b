"""The roles of the parameters of other people's models, by the names in use, and the parts of fused weights.

    query key value     q_proj to_q W_Q wq query, k_proj ..., v_proj ...
    fused               qkv c_attn in_proj_weight to_qkv Wqkv (thirds), to_kv kv_proj (halves)
    output              o_proj out_proj to_out W_O wo, and c_proj, proj, dense within or beside an attention's weights
    MLP                 linear1 fc_in fc1 c_fc gate_proj up_proj W_in w1 wi ..., and any other weight within an MLP, or
                        c_proj beside c_fc
    extra               any other weight within an attention, or a recurrent or convolutional mixer

A fused weight is split where one of its axes is three (two) times the other, or three (two) times the inputs of the
output projection; a weight whose rows alternate between heads (``query_key_value``) is not split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from attnlab.metrics.gradients import FusedPart
from attnlab.tensors import ParameterRole, Role

ATTENTION = re.compile(r"att(?:n|ention)|mha", re.IGNORECASE)
"""Names of modules and classes that are an attention."""
MIXER = re.compile(r"mixer|mamba|ssm|gru|lstm|rnn|conv|retention|recurren", re.IGNORECASE)
"""Names of modules and classes that mix tokens in another way."""
MLP = re.compile(r"mlp|ffn?$|ffn|feed_?forward|intermediate|moe|expert|glu|dense(?:relu|act|gated)", re.IGNORECASE)
NORM = re.compile(r"norm|^ln(?:_|\d|$)|layernorm|^g$|gamma|^scale$", re.IGNORECASE)
BLOCK = re.compile(r"block|layer|decoder|encoder", re.IGNORECASE)
OUTSIDE: Mapping[str, Role] = {
    **dict.fromkeys(("wpe", "pos_emb", "pos_embed", "position_embeddings", "positional_encoding", "w_pos"), "position"),
    **dict.fromkeys(("lm_head", "head", "to_logits", "unembed", "decoder", "output", "embed_out"), "head"),
    **dict.fromkeys(("wte", "embed_tokens", "token_emb", "tok_embeddings", "embedding", "emb", "embed"), "embedding"),
}
"""Words of names outside of the blocks."""
WORDS: Mapping[str, Role] = {
    **dict.fromkeys(("q_proj", "to_q", "w_q", "wq", "query", "q", "q_lin", "query_proj", "linear_q"), "query"),
    **dict.fromkeys(("k_proj", "to_k", "w_k", "wk", "key", "k", "k_lin", "key_proj", "linear_k"), "key"),
    **dict.fromkeys(("v_proj", "to_v", "w_v", "wv", "value", "v", "v_lin", "value_proj", "linear_v"), "value"),
    **dict.fromkeys(("q_proj_weight",), "query"),
    **dict.fromkeys(("k_proj_weight",), "key"),
    **dict.fromkeys(("v_proj_weight",), "value"),
    **dict.fromkeys(("o_proj", "out_proj", "to_out", "w_o", "wo", "out_lin", "output_proj", "linear_out"), "output"),
    **dict.fromkeys(
        ("linear1", "fc_in", "fc1", "c_fc", "gate_proj", "up_proj", "w_in", "w_gate", "w1", "w3"), "mlp_up"
    ),
    **dict.fromkeys(("wi", "wi_0", "wi_1", "lin1", "dense_h_to_4h", "gate_up_proj", "w12"), "mlp_up"),
    **dict.fromkeys(("linear2", "fc_out", "fc2", "down_proj", "w_out", "w2", "lin2", "dense_4h_to_h"), "mlp_down"),
}
"""Words of names within the blocks."""
OUTPUTS = ("c_proj", "proj", "dense", "o", "out", "output")
"""Words that are an output projection within an attention or beside its weights, and anything elsewhere."""
FUSED: Mapping[str, tuple[Role, ...]] = {
    **dict.fromkeys(
        ("c_attn", "in_proj_weight", "in_proj", "to_qkv", "qkv", "wqkv", "qkv_proj", "w_qkv", "w_pack"),
        ("query", "key", "value"),
    ),
    **dict.fromkeys(("to_kv", "kv_proj", "kv", "wkv", "w_kv", "c_kv"), ("key", "value")),
    **dict.fromkeys(("to_qk", "qk_proj", "qk"), ("query", "key")),
}
INTERLEAVED = ("query_key_value",)


class Named(NamedTuple):
    """What is known of one parameter."""

    role: Role | None
    parts: tuple[Role, ...] = ()
    """The roles of the equal parts of a fused weight."""
    reason: str = ""
    """Why it is skipped; empty where it is not."""


@dataclass(frozen=True)
class NamedParameters:
    """The roles of the parameters of a model."""

    roles: dict[str, ParameterRole]
    """Layer and role by name."""
    fused: dict[str, tuple[FusedPart, ...]]
    """By name, the parts of fused weights."""
    skipped: dict[str, str]
    """Name -> why it is in no table."""


def name_parameters(model: nn.Module, layers: Sequence[Sequence[str]] = ()) -> NamedParameters:
    """Find layer and role of each parameter of a model by its name.

    Args:
        model: The model.
        layers: For each layer, from 1, the modules of it; without them the layer is the first number in a name.

    Returns:
        Roles, parts of fused weights, and what is skipped.
    """
    roles: dict[str, ParameterRole] = {}
    fused: dict[str, tuple[FusedPart, ...]] = {}
    skipped: dict[str, str] = {}
    inner = _inner_widths(model, layers)
    for name, weight in model.named_parameters():
        layer, within = _layer_of(name, layers)
        if layer is None:
            roles[name] = ParameterRole(None, _outside(name))
            skipped[name] = "outside of the blocks"
            continue
        named = _named(model, name, within, weight)
        if named.parts:
            axis = _fused_axis(weight, len(named.parts), inner.get(layer, ()))
            if axis is None:
                shape = " x ".join(map(str, weight.shape))
                skipped[name] = f"no axis of {shape} is {len(named.parts)} times the width or the heads"
                continue
            size = weight.shape[axis] // len(named.parts)
            fused[name] = tuple(
                FusedPart((layer, role), axis, index * size, size) for index, role in enumerate(named.parts)
            )
        elif named.role is not None:
            roles[name] = ParameterRole(layer, named.role)
        if named.reason:
            skipped[name] = named.reason
    return NamedParameters(roles, fused, skipped)


def name_parameter(within: str, classes: Sequence[str], weight: Tensor) -> Named:
    """Find the role of one parameter of a block by its name.

    >>> name_parameter("attn.c_proj.weight", ["CausalSelfAttention", "Linear"], nn.Linear(2, 2).weight).role
    'output'
    >>> name_parameter("attn.c_attn.weight", ["CausalSelfAttention", "Linear"], nn.Linear(2, 6).weight).parts
    ('query', 'key', 'value')

    Args:
        within: Its name within the block.
        classes: The classes of the modules on the way to it.
        weight: The parameter.

    Returns:
        Its role, or why it is skipped.
    """
    words = within.split(".")
    lowered = [word.lower() for word in words]
    in_attention = any(map(ATTENTION.search, (*words[:-1], *classes)))
    in_mlp = any(map(MLP.search, (*words[:-1], *classes)))
    in_mixer = any(map(MIXER.search, (*words[:-1], *classes)))
    is_bias = "bias" in lowered[-1] or lowered[-1].startswith("b_")
    is_norm_class = any("norm" in one.lower() for one in classes[-1:])
    if is_norm_class or (weight.ndim < 2 and any(map(NORM.search, words))):
        return Named("norm", reason="norms")
    if is_bias:
        return Named(None, reason="biases")
    if any(word in INTERLEAVED for word in lowered):
        return Named(None, reason="fused by head, in an order that its name does not tell")
    for word in lowered:
        if word in FUSED and (word != "in_proj" or in_attention):
            return Named(None, FUSED[word])
    for word in reversed(lowered):
        role = WORDS.get(word)
        # The short words of queries, keys and values, and w_in or w_out, name other things elsewhere.
        if role is not None and not (role.startswith("mlp") and in_attention and not in_mlp):
            is_attention_s = role in ("query", "key", "value", "output")
            return Named("mlp_down" if is_attention_s and in_mlp and not in_attention else role)
        if word in OUTPUTS and in_attention and not in_mlp:
            return Named("output")
    if in_mlp and not in_attention:
        return Named("mlp_up")
    if in_attention or in_mixer:
        return Named("extra")
    return Named(None, reason="no role is known for the name")


def _named(model: nn.Module, name: str, within: str, weight: Tensor) -> Named:
    """Find the role of one parameter by its name, or else by the weights beside it: a block may hold them itself."""
    named = name_parameter(within, _classes(model, name, within), weight)
    *above, own = name.removesuffix(".weight").split(".")
    if named.role is not None or named.parts or weight.ndim < 2 or own.lower() not in OUTPUTS:
        return named
    prefix = "".join(f"{word}." for word in above)
    beside = {
        other.removeprefix(prefix).removesuffix(".weight").lower(): one
        for other, one in model.named_parameters()
        if other.startswith(prefix) and one.ndim == 2
    }
    up = [one for word, one in beside.items() if WORDS.get(word) == "mlp_up"]
    has_attention = any(word in FUSED or WORDS.get(word) in ("query", "key", "value") for word in beside)
    if up and (not has_attention or any(sorted(one.shape) == sorted(weight.shape) for one in up)):
        return Named("mlp_down")
    return Named("output") if has_attention else named


def holds_attention(module: nn.Module) -> bool:
    """Tell whether a module itself holds the weights of queries, keys and values, by their names.

    Args:
        module: The module.

    Returns:
        Whether it does; weights of an MLP beside them make it a block.
    """
    found: set[Role] = set()
    for name, weight in module.named_parameters():
        word, dot, deeper = name.lower().removesuffix(".weight").partition(".")
        role = WORDS.get(word)
        if dot or deeper or weight.ndim < 2:
            continue
        found.update(FUSED.get(word, (role,) if role is not None else ()))
    return {"query", "key", "value"} <= found and not found & {"mlp_up", "mlp_down"}


def skipped_notes(skipped: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Name what is skipped, by reason; a name that is skipped in every layer is written once.

    >>> skipped_notes({"h.0.ln.weight": "norms", "h.1.ln.weight": "norms"}, ["h.0.ln.weight", "h.1.ln.weight"])
    ['Skipped, norms: h.*.ln.weight.']

    Args:
        skipped: Name -> why.
        names: All parameters of the model.

    Returns:
        One line for each reason.
    """
    of_pattern: dict[str, set[str]] = {}
    for name in names:
        of_pattern.setdefault(_pattern(name), set()).add(name)
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        alike = of_pattern[_pattern(name)]
        is_everywhere = len(alike) > 1 and all(skipped.get(one) == reason for one in alike)
        by_reason.setdefault(reason, []).append(_pattern(name) if is_everywhere else name)
    return [f"Skipped, {reason}: {', '.join(dict.fromkeys(listed))}." for reason, listed in by_reason.items()]


def _pattern(name: str) -> str:
    """Replace the first number of a name, the layer, by a star."""
    return re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "*", name, count=1)


def _layer_of(name: str, layers: Sequence[Sequence[str]]) -> tuple[int | None, str]:
    """Find the layer of a parameter, from 1, and its name within the block."""
    for index, modules in enumerate(layers, 1):
        for module in modules:
            prefix = f"{module}." if module else ""
            if name.startswith(prefix):
                return index, name.removeprefix(prefix)
    if not layers and (number := re.search(r"(?:^|\.)(\d+)\.", name)):
        return int(number[1]) + 1, name[number.end() :]
    return None, name


def _classes(model: nn.Module, name: str, within: str) -> list[str]:
    """List the classes of the modules from a block down to a parameter; the block's own only where it is a layer."""
    path = name.split(".")[:-1]
    depth = len(within.split(".")) - 1
    first = len(path) - depth
    modules = [model.get_submodule(".".join(path[:end])) for end in range(first, len(path) + 1)]
    names = [type(module).__name__ for module in modules]
    # A block is often named after its attention, as AttentionBlock is, and holds an MLP too.
    holds_more = len(names) > 1 and BLOCK.search(names[0])
    return names[1:] if holds_more else names


def _outside(name: str) -> Role:
    """Name the role of a parameter outside of the blocks."""
    words = name.lower().split(".")
    if any(map(NORM.search, words)):
        return "norm"
    return next((OUTSIDE[word] for word in words if word in OUTSIDE), "extra")


def _inner_widths(model: nn.Module, layers: Sequence[Sequence[str]]) -> dict[int, tuple[int, ...]]:
    """List the input sizes of the output projections, by layer: heads times channels."""
    found: dict[int, list[int]] = {}
    for name, weight in model.named_parameters():
        layer, within = _layer_of(name, layers)
        if layer is None or weight.ndim != 2:
            continue
        if _named(model, name, within, weight).role == "output":
            found.setdefault(layer, []).extend(weight.shape)
    return {layer: tuple(sizes) for layer, sizes in found.items()}


def _fused_axis(weight: Tensor, parts: int, inner: Iterable[int]) -> int | None:
    """Find the axis along which a weight is fused: that which is a multiple of the other, or of the heads' width."""
    if weight.ndim != 2:
        return None
    known = set(inner)
    for axis in (0, 1):
        size, other = weight.shape[axis], weight.shape[1 - axis]
        if size % parts == 0 and (size // parts == other or size // parts in known):
            return axis
    return None
