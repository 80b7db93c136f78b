"""Any model, observed: its inputs checked, its blocks found, its attentions called once more.

Letters  B batch, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attnlab.attention.ops.returned_weights import ask_for_weights, weights_in
from attnlab.choices import DiagnosisKind
from attnlab.diagnosis._blocks import Blocks, find_blocks, is_block, is_within
from attnlab.diagnosis._labeled_matrices import SEQUENCES, Layer
from attnlab.diagnosis._model_inputs import call_model, main_input
from attnlab.diagnosis._module_calls import ModuleCall, Sizes, as_BTD, axes_of, copied_state, find_stream, record_calls
from attnlab.diagnosis._parameter_roles import ATTENTION, BLOCK, MIXER, holds_attention
from attnlab.model.modes import evaluation_mode


@dataclass(frozen=True)
class ObservedModel:
    """What forward hooks saw of a model."""

    blocks: Blocks
    layers: tuple[Layer | None, ...]
    """The attention of each layer; None where none is recognized, or where they were not asked for."""
    notes: tuple[str, ...]


class _Mixer(NamedTuple):
    """The call of the attention of a layer, or of what stands for it."""

    call: ModuleCall
    is_block: bool = False
    """Whether it is the whole block, in which no attention is found."""


def observe(module: nn.Module, inputs: Any, kind: DiagnosisKind) -> ObservedModel | None:
    """Observe a model with its present weights, in evaluation mode.

    Args:
        module: The model.
        inputs: Its inputs, checked.
        kind: The diagnosis; only some need the attentions.

    Returns:
        What was seen; None where no blocks are recognized.

    Raises:
        PluginError: The model fails.
    """
    batch, tokens = main_input(inputs).shape[:2]
    doubled = batch == tokens  # so that the axes of a stream can be told apart
    sizes = Sizes(2 * batch if doubled else batch, tokens)
    repeated = _repeat(inputs, batch) if doubled else inputs

    def run() -> Any:
        return call_model(module, repeated)

    with evaluation_mode(module):
        blocks = find_blocks(module, run, sizes)
        if blocks is None:
            return None
        notes = list(blocks.notes)
        layers: list[Layer | None] = [None] * len(blocks.names)
        if kind in ("attention", "tokens", "rank-collapse"):
            chosen = [_attention_of(blocks, index) for index in range(len(blocks.names))]
            layers = _layers(module, inputs, chosen, Sizes(batch, tokens), batch)
            if kind == "attention" and any(one is not None and one.returned_BHTT is None for one in layers):
                # Row norms cost a pass for each output: they are measured on fewer sequences.
                few = _layers(module, _first(inputs, batch), chosen, Sizes(min(batch, SEQUENCES), tokens), batch)
                layers = [
                    one if one is None or one.returned_BHTT is not None else other
                    for one, other in zip(layers, few, strict=True)
                ]
            if kind != "rank-collapse":
                notes += _attention_notes(blocks, chosen)
    streams = tuple(stream_BTD[:batch] for stream_BTD in blocks.residual_BTD)
    whole = Blocks(blocks.names, streams, blocks.calls, blocks.spans, blocks.output, blocks.notes)
    return ObservedModel(whole, tuple(layers), tuple(notes))


def _layers(
    module: nn.Module, inputs: Any, chosen: Sequence[_Mixer | None], sizes: Sizes, batch: int
) -> list[Layer | None]:
    """Run a model once more, and keep the inputs of its attentions."""
    if sizes.batch == sizes.tokens:
        inputs, sizes = _repeat(inputs, sizes.batch), Sizes(2 * sizes.batch, sizes.tokens)
    names = {one.call.name for one in chosen if one is not None}
    if not names:
        return [None] * len(chosen)
    calls, _ = record_calls(module, lambda: call_model(module, inputs), sizes, arguments_of=names)
    again = {(call.start, call.name): call for call in calls}
    return [
        _layer(again[one.call.start, one.call.name], sizes, batch, is_block=one.is_block)
        if one is not None and (one.call.start, one.call.name) in again
        else None
        for one in chosen
    ]


def _first(inputs: Any, batch: int) -> Any:
    """Take the first sequences."""
    if isinstance(inputs, Mapping):
        return {name: _first(one, batch) for name, one in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_first(one, batch) for one in inputs)
    is_batch = isinstance(inputs, Tensor) and inputs.ndim > 0 and len(inputs) == batch
    return inputs[:SEQUENCES] if is_batch else inputs


def _repeat(inputs: Any, batch: int) -> Any:
    """Repeat the sequences once."""
    if isinstance(inputs, Mapping):
        return {name: _repeat(one, batch) for name, one in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_repeat(one, batch) for one in inputs)
    is_batch = isinstance(inputs, Tensor) and inputs.ndim > 0 and len(inputs) == batch
    return torch.cat([inputs, inputs]) if is_batch else inputs


def _attention_of(blocks: Blocks, index: int) -> _Mixer | None:
    """Find the call of the attention of one layer, or else of its other mixer of tokens, or else of the block."""
    start, end = blocks.spans[index]
    members = blocks.names[index]
    inside = [
        call
        for call in blocks.calls
        if start <= call.start <= end
        and call.maps_stream
        and is_block(call.module)
        and any(is_within(call.name, member) for member in members)
    ]
    own = {call.name for call in inside if call.name in members and len(members) == 1}
    below = [call for call in inside if call.name not in own]
    # A block may be named after its attention; a layer that is no block may be an attention itself.
    itself = [call for call in inside if not BLOCK.search(type(call.module).__name__)]
    for pattern, calls in ((ATTENTION, below), (MIXER, below), (MIXER, inside), (ATTENTION, itself)):
        for call in calls:
            if pattern.search(call.name.rpartition(".")[2]) or pattern.search(type(call.module).__name__):
                return _Mixer(call)
    by_roles = next((call for call in below if holds_attention(call.module)), None)
    if by_roles is not None:
        return _Mixer(by_roles)
    return next((_Mixer(call, is_block=True) for call in inside if call.name in own), None)


def _layer(call: ModuleCall, sizes: Sizes, batch: int, *, is_block: bool) -> Layer:
    """Get the returned weights of an attention, and the attention as a function of its input."""
    keywords = call.keywords or {}
    weights = weights_in(call.returned, *sizes)
    if weights is None and call.is_copied:
        arguments, named = copied_state((call.arguments, keywords))
        weights = ask_for_weights(call.module, arguments, named, batch=sizes.batch, tokens=sizes.tokens)
    raw = _raw_stream((call.arguments, keywords), sizes)
    axes = axes_of(raw, sizes)
    assert axes is not None, "a call that maps the stream reads one"
    shape = call.read_shape

    def function(x_BTD: Tensor) -> Tensor:
        back = {"TBD": x_BTD.transpose(0, 1), "BDT": x_BTD.transpose(1, 2), "ND": x_BTD.flatten(0, 1)}.get(axes, x_BTD)
        arguments, named = _replaced(copied_state((call.arguments, dict(keywords))), raw, back)
        output_BTD = find_stream(call.module(*arguments, **named), sizes, shape)
        assert output_BTD is not None, "the module has mapped the stream before"
        return output_BTD

    x_BTD = as_BTD(raw, axes, sizes).detach()
    reason = "" if weights is not None else _reason_against_calling(function, x_BTD, call, sizes)
    # Other arguments, such as masks, may have the size of the batch: it is left as it is.
    returned = None if weights is None else weights[:batch].detach()
    return Layer(returned, function, x_BTD, takes_any_batch=False, reason=reason, is_block=is_block)


@torch.no_grad()
def _reason_against_calling(function: Callable[[Tensor], Tensor], x_BTD: Tensor, call: ModuleCall, sizes: Sizes) -> str:
    """Tell why a module cannot be measured by calling it again; empty where it gives the same output."""
    if not call.is_copied:
        return "its arguments cannot be copied, and may hold a state"
    try:
        again_BTD = function(x_BTD)
    except Exception as error:
        return f"called again, it raises {type(error).__name__}"
    first_BTD = find_stream(call.returned, sizes, call.read_shape)
    assert first_BTD is not None, "a call that maps the stream writes one"
    is_same = torch.allclose(again_BTD, first_BTD, rtol=1e-3, atol=1e-3 * float(first_BTD.abs().amax()))
    return "" if is_same else "called again with the same arguments, it gives another output"


def _raw_stream(value: Any, sizes: Sizes) -> Tensor:
    """Find the first stream as it was given."""
    if isinstance(value, Tensor):
        return value
    values = value.values() if isinstance(value, Mapping) else value
    for one in values:
        if find_stream(one, sizes) is not None:
            return _raw_stream(one, sizes)
    raise AssertionError("a call that maps the stream reads one")


def _replaced(value: Any, old: Tensor, new: Tensor) -> Any:
    """Copy arguments, with every occurrence of one tensor replaced."""
    if value is old:
        return new
    if isinstance(value, dict):
        return {name: _replaced(one, old, new) for name, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_replaced(one, old, new) for one in value)
    return value


def _attention_notes(blocks: Blocks, chosen: Sequence[_Mixer | None]) -> list[str]:
    """Name the attentions that are read, the blocks that stand for them, and the layers that are skipped."""
    found = [one.call.name or "the module itself" for one in chosen if one is not None and not one.is_block]
    notes = [f"Attentions: {', '.join(found)}."] if found else []
    reason = "no module has the name, the class or the weights of an attention"
    if whole := [one.call.name or "the module itself" for one in chosen if one is not None and one.is_block]:
        notes.append(f"Measured as whole blocks, {reason}: {', '.join(whole)}.")
    if without := [" + ".join(names) for names, one in zip(blocks.names, chosen, strict=True) if one is None]:
        notes.append(f"Skipped, {reason}: {', '.join(without)}.")
    return notes
