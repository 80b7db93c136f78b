"""The blocks of any model: found by the calls of its modules, with the residual stream before and after each.

Blocks are the items of the longest list of modules (ModuleList, Sequential) that map a stream to its own shape; where a
model has no such list, the modules of one parent that do, or the model itself. What a list may hold:

    blocks that read one another's output     the stream is the first one's input, then every output
    branches, or lists of branches            the stream is what each item's first module reads, and the next module
                                              after the last; lists of equal length in one parent are read together

Single layers of torch (linear maps, norms, dropout) are no blocks; recurrent networks are.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.diagnosis._module_calls import ModuleCall, Sizes, find_stream, record_calls

NORM = re.compile(r"norm", re.IGNORECASE)


@dataclass(frozen=True)
class Blocks:
    """The blocks of a model, and its stream."""

    names: tuple[tuple[str, ...], ...]
    """For each layer the modules of it: one block, or one item of each of several lists."""
    residual_BTD: tuple[Tensor, ...]
    """The stream before the first block, then after every block."""
    calls: tuple[ModuleCall, ...]
    """All calls of modules, in the order in which they began."""
    spans: tuple[tuple[int, int], ...]
    """When each layer began and ended."""
    output: Any
    """What the model returned."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """A run of items of one list."""

    parent: str
    calls: tuple[ModuleCall, ...]
    """The calls of its items; of an item that is itself a list, the first call within it."""
    items: tuple[str, ...]
    is_list: bool
    chained: bool


def find_blocks(model: nn.Module, run: Callable[[], Any], sizes: Sizes) -> Blocks | None:
    """Find the blocks of a model by running it.

    Args:
        model: The model, in evaluation mode.
        run: Runs it once.
        sizes: B and T.

    Returns:
        The blocks; None where no modules map a stream to its own shape.
    """
    children = {f"{name}.{key}".lstrip(".") for name, one in model.named_modules() for key, _ in one.named_children()}
    calls, output = record_calls(model, run, sizes, streams_of={"", *children})
    candidates = list(_candidates(model, calls))
    best = _best([one for one in candidates if one.is_list]) or _best(candidates)
    has_blocks = best is not None and (best.is_list or (best.chained and len(best.calls) > 1))
    if not has_blocks and (whole := next((one for one in calls if not one.name and one.maps_stream), None)):
        best = _Candidate("", (whole,), ("",), is_list=False, chained=True)
    if best is None:
        return None
    return _chained(best, calls, output) if best.chained else _unchained(model, best, calls, output, sizes)


def _candidates(model: nn.Module, calls: Sequence[ModuleCall]) -> Iterator[_Candidate]:
    """List every run of items that might be blocks, in the order of the modules of a model."""
    by_module: dict[int, list[ModuleCall]] = {}
    for call in calls:
        by_module.setdefault(id(call.module), []).append(call)
    for parent, container in model.named_modules():
        is_list = isinstance(container, nn.ModuleList | nn.Sequential)
        items = {id(item): f"{parent}.{key}".lstrip(".") for key, item in container.named_children()}
        own = [(call, items[id(call.module)]) for key in items for call in by_module.get(key, [])]
        for key, item in container.named_children():
            if is_list and not by_module.get(id(item)) and isinstance(item, nn.ModuleList | nn.ModuleDict):
                name = f"{parent}.{key}".lstrip(".")
                inside = [call for call in calls if is_within(call.name, name) and call.read_shape is not None]
                if any(is_block(call.module) for call in inside):
                    own.append((inside[0], name))
        own.sort(key=lambda pair: pair[0].start)
        for usable, pairs in itertools.groupby(own, key=lambda pair: _is_usable(*pair)):
            if usable:
                yield from _same_shape(parent, list(pairs), is_list)


def _is_usable(call: ModuleCall, item: str) -> bool:
    """Tell whether a call may be that of a block, or of the first module of an item that is a list."""
    return call.name != item or (call.maps_stream and is_block(call.module))


def _same_shape(parent: str, pairs: list[tuple[ModuleCall, str]], is_list: bool) -> Iterator[_Candidate]:
    """Split a run of items where the shape of the stream changes."""
    for _, group in itertools.groupby(pairs, key=lambda pair: pair[0].read_shape):
        calls, items = zip(*group, strict=True)
        called = all(call.name == item for call, item in zip(calls, items, strict=True))
        follows = all(_reads_output_of(one, two) for one, two in itertools.pairwise(calls))
        yield _Candidate(parent, calls, items, is_list, called and follows)


def _reads_output_of(one: ModuleCall, two: ModuleCall) -> bool:
    """Tell whether a module reads what another wrote."""
    written_BTD, read_BTD = one.written_BTD, two.read_BTD
    return written_BTD is not None and read_BTD is not None and torch.equal(written_BTD, read_BTD)


def is_block(module: nn.Module) -> bool:
    """Tell whether a module may be a block: it has weights, and is no single layer of torch and no norm."""
    if isinstance(module, nn.RNNBase):
        return True
    is_leaf = next(module.children(), None) is None
    kind = type(module)
    if is_leaf and (kind.__module__.startswith("torch.nn") or NORM.search(kind.__name__)):
        return False
    return next(module.parameters(), None) is not None


def _best(candidates: list[_Candidate]) -> _Candidate | None:
    """Choose the longest run, the outermost of equal ones; branches within a block are no blocks of the model."""

    def is_inside(one: _Candidate, other: _Candidate) -> bool:
        inside = any(is_within(one.items[0], item) and one.items[0] != item for item in other.items)
        return inside and (not one.chained or len(one.calls) <= len(other.calls))

    kept = [one for one in candidates if not any(is_inside(one, other) for other in candidates)]
    return max(kept, key=lambda one: (len(one.calls), one.chained), default=None)


def is_within(name: str, ancestor: str) -> bool:
    """Tell whether a module is another one, or lies in it."""
    return not ancestor or name == ancestor or name.startswith(f"{ancestor}.")


def _chained(best: _Candidate, calls: Sequence[ModuleCall], output: Any) -> Blocks:
    """Take the stream as the input of the first block and the outputs of all."""
    streams = [best.calls[0].read_BTD, *(call.written_BTD for call in best.calls)]
    notes = [f"Blocks: {_listed(best.items)}; the stream is their outputs."]
    counts = {item: best.items.count(item) for item in best.items}
    notes += [
        f"{item} is called {count} times; its gradients stand at its first layer."
        for item, count in counts.items()
        if count > 1
    ]
    stacks = [(call.name, call.module.num_layers) for call in best.calls if isinstance(call.module, nn.RNNBase)]
    notes += [
        f"{name or 'It'} computes its {layers} layers in one call: the stream between them is not seen."
        for name, layers in dict.fromkeys(stacks)
        if layers > 1
    ]
    return Blocks(
        tuple((item,) for item in best.items),
        tuple(stream for stream in streams if stream is not None),
        tuple(calls),
        tuple((call.start, call.end) for call in best.calls),
        output,
        tuple(notes),
    )


def _unchained(model: nn.Module, best: _Candidate, calls: Sequence[ModuleCall], output: Any, sizes: Sizes) -> Blocks:
    """Take the stream as what the first module of each item reads, and what is read next after the last."""
    shape = best.calls[0].read_shape
    items = tuple(dict.fromkeys(best.items))
    called = {call.name for call in calls}
    beside = [_beside(model, best.parent, item, len(items)) for item in items]
    layers = [tuple(name for name in layer if name in (*called, layer[0])) for layer in beside]
    inside = [[call for call in calls if any(is_within(call.name, name) for name in layer)] for layer in layers]
    reading = [[call for call in layer if call.read_shape == shape] for layer in inside]
    spans = tuple((layer[0].start, max(call.end for call in layer)) for layer in inside)
    streams = [layer[0].read_BTD for layer in reading]
    after = next((call for call in calls if call.start > spans[-1][1] and call.read_shape == shape), None)
    last_BTD = after.read_BTD if after is not None else find_stream(output, sizes, shape)
    notes = [f"Blocks: {_listed([' + '.join(layer) for layer in layers])}; the stream is what each reads."]
    if last_BTD is None:
        notes.append("The stream after the last block is not seen: no module reads it.")
    present = [stream for stream in (*streams, last_BTD) if stream is not None]
    return Blocks(tuple(layers), tuple(present), tuple(calls), spans, output, tuple(notes))


def _beside(model: nn.Module, parent: str, item: str, length: int) -> tuple[str, ...]:
    """List an item and the items of equal index in the lists beside its own, of equal length."""
    outer, _, own = parent.rpartition(".")
    index = item.removeprefix(f"{parent}.")
    if not isinstance(model.get_submodule(parent), nn.ModuleList):
        return (item,)
    lists = [
        key
        for key, one in model.get_submodule(outer).named_children()
        if isinstance(one, nn.ModuleList) and len(one) == length and key != own
    ]
    return (item, *(f"{outer}.{key}.{index}".lstrip(".") for key in lists))


def _listed(items: Sequence[str]) -> str:
    """Write the first and the last of some names."""
    different = [item or "the module itself" for item in dict.fromkeys(items)]
    return different[0] if len(different) == 1 else f"{different[0]} to {different[-1]} ({len(items)})"
