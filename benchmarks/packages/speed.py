"""How many times as long a package takes as our own mechanism with the same weights, in a process of its own.

A forward and a backward pass of the attention alone over 4,096 tokens, in float32 on one thread, ours without a
position. Both take turns, by processor time.

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attnlab.attention import Attention
from attnlab.attention.adapter import Adapted
from attnlab.position import POSITIONS, Position
from attnlab.tensors import LayerContext, LayerInputs
from attnlab.training.memory import keep_all_freed_memory, keep_freed_memory
from benchmarks.packages.case import Case
from benchmarks.packages.child import RESULT
from benchmarks.packages.equal import our_attention
from benchmarks.packages.measure import adapted, written
from benchmarks.timing.pairs import interleaved, ratio

WIDTH, HEADS, TOKENS = 128, 4, 4096
LENGTHS = (64, 256, 1024)
ROUNDS = 9


def times(case: Case, lengths: Sequence[int] = LENGTHS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Time a case that has an equal mechanism of ours.

    Args:
        case: The case; its package can be imported.
        lengths: Lengths of the sequences.
        rounds: Rounds that count.

    Returns:
        Length -> the seconds of theirs over ours: the median and the quartiles.
    """
    assert case.equal is not None
    found: dict[str, Any] = {}
    for length in lengths:
        generator = torch.Generator().manual_seed(0)
        context = LayerContext(width=WIDTH, heads=HEADS, layers=2, length=length, generator=generator)
        theirs = adapted(case)(context, **case.options).train()
        ours = our_attention(case.equal, theirs.module, context).float().train()
        x_BTD = torch.randn(TOKENS // length, length, WIDTH, generator=generator)
        programs = {
            "theirs": _pass(theirs, partial(_theirs, theirs), x_BTD),
            "ours": _pass(ours, partial(_ours, ours, POSITIONS.entry("none").cls(context)), x_BTD),
        }
        seconds = interleaved(programs, rounds, clock=time.process_time)
        one = ratio(case.name, seconds["theirs"], seconds["ours"])
        found[str(length)] = [one.median, one.low, one.high]
    return found


def _theirs(attention: Adapted, x_BTD: Tensor) -> Tensor:
    """The output of a module, called as the adapter calls it."""
    return attention.call.output(attention.call(attention.module, x_BTD))


def _ours(attention: Attention, position: Position, x_BTD: Tensor) -> Tensor:
    """The output of our own mechanism."""
    return attention(x_BTD, position, LayerInputs()).output_BTD


def _pass(module: nn.Module, call: Callable[[Tensor], Tensor], x_BTD: Tensor) -> Callable[[], None]:
    """A forward and a backward pass, with gradients of the weights and of the input."""

    def run() -> None:
        module.zero_grad(set_to_none=True)
        leaf_BTD = x_BTD.detach().requires_grad_()
        out_BTD = call(leaf_BTD)
        out_BTD.backward(x_BTD)

    return run


def main() -> None:
    """Time cases that are read as JSON, one a line; each result is a line that begins with ``RESULT``."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    keep_freed_memory()
    keep_all_freed_memory()
    lines = os.fdopen(os.dup(sys.stdin.fileno()))
    for line in lines:
        try:
            result = times(Case.model_validate_json(line))
        except Exception as error:
            result = {"error": written(error)}
        print(f"{RESULT}{json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
