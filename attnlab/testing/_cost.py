"""Cost checks: parameters are counted, and the forward pass is timed."""

from __future__ import annotations

import inspect
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attnlab.attention import Attention
from attnlab.plugins import describe_exception
from attnlab.tensors import LayerInputs
from attnlab.testing._subject import HEADS, LENGTH, WIDTH, Subject, build_position, random_inputs, run
from attnlab.testing.finding import Finding, check_result, not_applicable

LONG, BLOCKED = 2048, 1024
"""Tokens of the sequence on which a chunked scan is measured, and blocks of queries."""
LAYERS_COUNTED = 3
"""Layers whose parameters are counted: the first, one above it, and one above that."""
TIMED = (256, 512, 1024)


def parameters(subject: Subject) -> Finding:
    """The number of trainable parameters equals the declared formula in every layer, with a biased position or not."""
    options = subject.entry.complete(subject.options)
    if subject.adapted:
        attention, context = subject.build_with_context()
        sizes = f"D = {context.width}, H = {context.heads}"
        text = f"counted {_count(attention):,} at {sizes}; a module of its own declares no formula"
        return Finding("declared parameters", "info", text)
    if refused := _refused_arguments(subject.entry.cls.num_parameters, options):
        return check_result("declared parameters", False, refused)
    counts: list[tuple[bool, str]] = []
    for layer in range(LAYERS_COUNTED):
        for biased in (False, True):
            attention, context = subject.build_with_context(layer=layer, biased=biased)
            counted = _count(attention)
            declared = subject.entry.cls.num_parameters(
                context.width, context.heads, context.length, layer, biased, **options
            )
            sizes = f"D = {context.width}, H = {context.heads}"
            where = f" in layer {layer + 1}" + (" with a biased position" if biased else "") if layer or biased else ""
            counts.append((counted == declared, f"counted {counted:,}, declared {declared:,} at {sizes}{where}"))
    holds, evidence = next((count for count in counts if not count[0]), counts[0])
    return check_result("declared parameters", holds, evidence)


def _count(attention: Attention) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in attention.parameters() if parameter.requires_grad)


def _refused_arguments(function: Callable[..., int], options: Mapping[str, Any]) -> str:
    """Say what is wrong with the arguments of a formula; empty if it takes those that it is given."""
    signature = inspect.signature(function)
    try:
        signature.bind(WIDTH, HEADS, LENGTH, 0, False, **options)
    except TypeError as error:
        wanted = "num_parameters(cls, width, heads, length, layer=0, biased=False, /, **options)"
        return f"num_parameters takes {signature}, and not what it is given ({error}); write def {wanted}"
    return ""


def cost(subject: Subject) -> Finding:
    """Time per token at three lengths, and the exponent of T in the total time."""
    try:
        attention = subject.build(dtype=torch.float32, length=max(TIMED))
        seconds = [_seconds(attention, tokens) for tokens in TIMED]
    except RuntimeError as error:
        if not subject.adapted:
            raise
        reason = describe_exception(error).splitlines()[0]
        return not_applicable("cost", f"not every length of {', '.join(map(str, TIMED))} can be timed: {reason}")
    exponent = math.log(seconds[-1] / seconds[0]) / math.log(TIMED[-1] / TIMED[0])
    each = ", ".join(f"{1e6 * duration / tokens:.1f}" for duration, tokens in zip(seconds, TIMED, strict=True))
    lengths = ", ".join(map(str, TIMED))
    declared = "" if subject.adapted else f" (at best {subject.entry.cls.cost})"
    return Finding("cost", "info", f"{each} us per token at T = {lengths}: T^{exponent:.1f}{declared}")


def long_sequences(subject: Subject) -> Finding:
    """Training on long sequences stores no T x T numbers per head: by a chunked scan, or by blocks of queries."""
    if subject.adapted:
        return not_applicable("long sequences", "a module of its own does not declare how its memory grows")
    scan = subject.entry.cls.chunked_scan
    tokens = LONG if scan else BLOCKED
    attention, context = subject.build_with_context(dtype=torch.float32, width=8, heads=1, length=tokens)
    attention.max_recomputed_elements = tokens * tokens // 16
    x_BTD = random_inputs(1, tokens, width=context.width, dtype=torch.float32)
    with LargestTensor() as largest:  # type: ignore[no-untyped-call]
        run(attention, x_BTD).square().mean().backward()
    evidence = f"largest tensor {largest.size:,} numbers at T = {tokens:,}, against T x T = {tokens * tokens:,}"
    bounded = largest.size < tokens * tokens // 4
    if scan or bounded:
        return check_result("long sequences", bounded, evidence)
    return Finding("long sequences", "info", f"forms a T x T matrix: {_not_in_blocks(attention, x_BTD)}")


def _not_in_blocks(attention: Attention, x_BTD: Tensor) -> str:
    """Say why T x T numbers are held at once."""
    tokens = x_BTD.shape[1]
    for name, parameter in attention.named_parameters():
        if parameter.numel() >= tokens * tokens // 4:
            return f"{name} has {parameter.numel():,} numbers at T = {tokens:,}"
    if type(attention).forward is not Attention.forward:
        return "it computes its output itself, and not in the template's blocks of queries"
    position = build_position(width=x_BTD.shape[-1], heads=attention.num_heads, length=tokens)
    with torch.no_grad():
        qkv = attention.prepare(x_BTD, position, LayerInputs())
    if attention.blockable(qkv, position):
        return "queries are attended in blocks, but a hook other than attend_rows holds as many"
    shapes = ", ".join(" x ".join(map(str, tensor.shape)) for tensor in qkv.extra)
    return f"queries are attended in blocks only where each extra tensor is ... x T x C; these are {shapes}"


class LargestTensor(TorchDispatchMode):
    """Records the size of the largest tensor that is made while the mode is active."""

    size = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and record the size of its outputs."""
        output = func(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, Tensor):
                self.size = max(self.size, tensor.untyped_storage().nbytes() // tensor.element_size())
        return output


@torch.no_grad()
def _seconds(attention: Attention, tokens: int) -> float:
    """Median time of a forward pass over one sequence, in seconds."""
    x_BTD = random_inputs(1, tokens, dtype=torch.float32)
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        run(attention, x_BTD)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)
