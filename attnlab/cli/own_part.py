"""The card of a class of the user's own: ``attnlab show FILE.py:Class``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnlab.attention.adapter import Adapted
    from attnlab.attention.ops.calling import Call
    from attnlab.rendering.own_part import Argument, OwnCard

GIVEN = {
    "width": "the width: {width}",
    "heads": "the number of heads: {heads}",
    "channels": "the width over the heads: {channels}",
    "layer": "the index of the layer, from 0",
    "layers": "the number of layers: {layers}",
    "length": "the longest sequence of the run",
    "depth": "one",
    "hidden": "mlp_ratio times the width: {hidden}",
    "vocabulary": "the number of tokens of the task",
    "always": "always true",
}
"""What of a run an argument is given -> in words, with the default sizes."""
MASKS = {
    "additive": "-inf above the diagonal",
    "hidden": "true where a key is hidden",
    "allowed": "true where a key is allowed",
}


def names_own_part(word: str, kinds: Container[str]) -> bool:
    """Tell whether a word names a class of the user's own or of a package.

    Args:
        word: A name, such as ``my.py:Mixer``, ``torch.nn:GRU`` or ``norm:none``.
        kinds: The kinds of parts, such as ``norm``.

    Returns:
        Whether it does: it has a class, beside a file or a module.
    """
    place, _, name = word.partition(":")
    return bool(name) and place not in kinds


def own_card(word: str) -> OwnCard | None:
    """Make the card of a class of modules; one that takes the number of tokens is a whole model.

    Args:
        word: ``FILE.py:Class`` or ``package.module:Class``, without options.

    Returns:
        The card; None for a subclass of an attention of attnlab, which documents itself.

    Raises:
        PluginError: The file or module cannot be loaded, or what is named is no module.
        UnknownNameError: There is no such class.
    """
    from attnlab.attention import ATTENTIONS
    from attnlab.attention.adapter import Adapted
    from attnlab.attention.named import named_attention
    from attnlab.attention.ops.constructor import constructor_parameters
    from attnlab.model.module_sizes import MODULE_ARGUMENTS

    entry = ATTENTIONS.entry(named_attention(word))
    if not issubclass(entry.cls, Adapted):
        return None
    parameters = constructor_parameters(entry.cls.adapted, MODULE_ARGUMENTS)
    is_model = any(MODULE_ARGUMENTS.get(name) == "vocabulary" for name in parameters)
    return _model_card(word, entry.cls.adapted) if is_model else _attention_card(entry.name, entry.cls)


def _attention_card(name: str, cls: type[Adapted]) -> OwnCard:
    """Build it as one layer of the default model."""
    import torch

    from attnlab.attention.ops.constructor import MATCHED, constructor_parameters, matched_arguments
    from attnlab.errors import AttnlabError
    from attnlab.rendering.own_part import OwnCard
    from attnlab.specs import ModelSpec
    from attnlab.tensors import LayerContext

    size = ModelSpec()
    context = LayerContext(
        width=size.width,
        heads=size.heads,
        layer=0,
        layers=size.layers,
        length=64,
        generator=torch.Generator(),
    )
    parameters = constructor_parameters(cls.adapted)
    matched = {name: MATCHED[name] for name in matched_arguments(parameters, context, {})}
    call, count, problem = "", None, ""
    try:
        with torch.random.fork_rng(devices=[]):
            built = cls(context)
        call, count = _call_text(built.call), sum(one.numel() for one in built.parameters() if one.requires_grad)
    except AttnlabError as error:
        problem = error.problem
    arguments = _arguments(parameters, matched)
    text = f"Weights of one layer at width {size.width} and {size.heads} heads"
    kind = "module" if problem and not matched else "attention"
    return OwnCard(name, kind, _summary(cls.adapted), _file(cls.adapted), arguments, call, count, text, problem)


def _model_card(word: str, build: Callable[..., Any]) -> OwnCard:
    """Build it for the default level of recall, at the default sizes."""
    from attnlab.attention.ops.constructor import constructor_parameters
    from attnlab.errors import AttnlabError
    from attnlab.experiments.whole_model import module_spec
    from attnlab.model.module_sizes import MODULE_ARGUMENTS, matched_names
    from attnlab.model.transformer import build_model
    from attnlab.rendering.own_part import OwnCard
    from attnlab.specs import ModelSpec, Part
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.tasks.io.streams import Source

    parameters = constructor_parameters(build, MODULE_ARGUMENTS)
    count, problem = None, ""
    try:
        spec = module_spec(ModelSpec(), Part(name=word))
        source = Source(task_spec(find_ladder("recall"), {}, None), 0)
        count = build_model(
            spec, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=0
        ).parameter_count
    except AttnlabError as error:
        problem = error.problem
    arguments = _arguments(parameters, matched_names(parameters, {}))
    size = f"Weights at width {ModelSpec().width}, for recall at its default level"
    call = "model(tokens), int64, batch x tokens, for logits of every token" if count is not None else ""
    return OwnCard(word, "model", _summary(build), _file(build), arguments, call, count, size, problem)


def _arguments(parameters: Mapping[str, inspect.Parameter], matched: Mapping[str, str]) -> list[Argument]:
    """Tell what each argument of a constructor is given."""
    from attnlab.rendering.own_part import Argument
    from attnlab.specs import ModelSpec

    size = ModelSpec()
    sizes = {"channels": size.width // size.heads, "hidden": round(size.width * size.mlp_ratio)}
    sizes |= {"width": size.width, "heads": size.heads, "layers": size.layers}
    found = []
    for name, one in parameters.items():
        if name in matched:
            given = GIVEN[matched[name]].format_map(sizes)
        else:
            given = "must be given" if one.default is one.empty else f"its default: {one.default!r}"
        found.append(Argument(name, given, name in matched))
    return found


def _call_text(call: Call) -> str:
    """Write how an adapted module is called."""
    axes = "batch x tokens x width" if call.batch_first else "tokens x batch x width"
    words = ["x"] * call.inputs
    words += [f"{call.mask_name or 'mask'}=mask"] if call.mask != "none" else []
    words += [f"{name}={value!r}" for name, value in call.keywords.items()]
    mask = f"; mask: {MASKS[call.mask]}" if call.mask != "none" else ""
    return f"module({', '.join(words)}), x: {axes}{mask}"


def _summary(build: Callable[..., Any]) -> str:
    """The first line of its own documentation."""
    text = vars(build).get("__doc__") if isinstance(build, type) else build.__doc__
    return (text or "").strip().split("\n")[0]


def _file(build: Callable[..., Any]) -> str:
    """The file of its code."""
    try:
        return inspect.getsourcefile(build) or "not known"
    except TypeError:
        return "not known"
