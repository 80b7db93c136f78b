"""Prefix checks: a prefix alone gives the outputs of the whole sequence, however its inputs are rounded.

    prefix    noise as inputs: every prefix on one path, the lengths of :data:`LENGTHS` on every path
    repeated  embedded tokens of which most are repeated: the lengths of :data:`REPEATED`, every position

Equal tokens have scores that differ by rounding only. A choice between them that goes by rounding depends on the length
of the sequence, since matrix products round a row by its place in the matrix. Not every processor does so. The inputs
of the prefix are therefore changed by one rounding each: outputs must change by roundings too.

Letters  B batch, T tokens, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.position import Position
from attnlab.testing._causality import EXACT, LENGTHS, SMALL
from attnlab.testing._paths import Path, paired_positions, whole_paths
from attnlab.testing._randomness import is_random
from attnlab.testing._subject import Subject, max_difference, run
from attnlab.testing.finding import Finding, check_result

REPEATED: Sequence[int] = range(1, 71)
"""Lengths of prefixes of repeated tokens: the last one is more than one block of every attention."""
VOCABULARY = 8
AMPLIFICATION = 1e5
"""Largest factor between the rounding of an input and the change of an output. A formula may amplify rounding: ``nap``
divides by the deviation of the scores plus 0.001, over all tokens so far. A choice by rounding changes outputs at once
by what the choice is worth, in float64 about 1e13 roundings."""


def prefix(subject: Subject) -> Finding:
    """A prefix alone gives the outputs of the whole sequence, on every path, with every position, in both modes."""
    worst, where = 0.0, ""
    for position, name in paired_positions(subject, SMALL):
        for path in whole_paths(subject, position, SMALL, modes=(False, True) if name == "none" else (False,)):
            if path.attention.training and is_random(path.attention, path.context.width, position, path.dtype):
                continue  # a prefix draws other numbers than the whole
            every = name == "none" and path.name in ("evaluation mode, fast path", "evaluation mode")
            for cut, difference in _differences(path, range(1, max(LENGTHS)) if every else LENGTHS[:-1]):
                if not difference <= worst:
                    worst, where = difference, f" at length {cut}, {path.name}, position {name}"
    passed = worst <= subject.tolerance(EXACT)
    evidence = f"largest difference {worst:.1e}{subject.rounding if passed else where}"
    return check_result("prefix equals whole", passed, evidence)


@torch.no_grad()
def _differences(path: Path, cuts: Sequence[int]) -> list[tuple[int, float]]:
    """Each cut, with the largest difference between that prefix and the whole."""
    x_BTD = path.inputs(2, max(LENGTHS))
    whole_BTD = path.forward(x_BTD)
    return [(cut, max_difference(path.forward(x_BTD[:, :cut]), whole_BTD[:, :cut])) for cut in cuts]


def repeated(subject: Subject) -> Finding:
    """Rounding decides nothing: prefixes of repeated tokens, each input changed by one rounding, give equal outputs."""
    worst, where = 0.0, ""
    for position, name in paired_positions(subject, SMALL):
        for dtype, fast in _computations(subject):
            for cut, difference in _rounded_differences(subject, position, dtype, fast):
                if not difference <= worst:
                    precision = str(dtype).removeprefix("torch.")
                    worst, where = difference, f" at length {cut}, {precision}, position {name}"
    if worst <= AMPLIFICATION:
        text = f"a rounding of the inputs changes outputs by at most {worst:.1e} roundings"
        return check_result("repeated tokens", True, text)
    if exact := _exact_difference(subject):
        text = f"a prefix of repeated tokens has other outputs than the whole, without any rounding: {exact}"
        return check_result("repeated tokens", False, text)
    text = f"a rounding of the inputs changes outputs by {worst:.1e} roundings{where}"
    return check_result("repeated tokens", False, text)


def _computations(subject: Subject) -> list[tuple[torch.dtype, bool]]:
    """Types of weights and inputs, and whether the fast path is taken."""
    paths = (True,) if subject.adapted else (True, False)
    exact = [(torch.float64, fast) for fast in paths] if subject.exact else []
    return [*exact, (torch.float32, True)]


@torch.no_grad()
def _exact_difference(subject: Subject) -> str:
    """Where a prefix of repeated tokens differs from the whole far beyond rounding; empty if nowhere."""
    attention, context = subject.build_with_context(**SMALL._asdict())
    generator = torch.Generator().manual_seed(4)
    table_VD = torch.randn(VOCABULARY, context.width, generator=generator, dtype=torch.float64).to(subject.dtype)
    x_BTD = functional.embedding(token_streams(), table_VD)
    whole_BTD = run(attention, x_BTD)
    least = subject.tolerance(1e-6) * max(1.0, float(whole_BTD.abs().max()))
    differences = {cut: max_difference(run(attention, x_BTD[:, :cut]), whole_BTD[:, :cut]) for cut in REPEATED}
    cut = max(differences, key=lambda one: differences[one])
    return f"by {differences[cut]:.1e} at length {cut}" if differences[cut] > least else ""


@torch.no_grad()
def _rounded_differences(
    subject: Subject, position: Position, dtype: torch.dtype, fast: bool
) -> list[tuple[int, float]]:
    """Each cut, with the largest difference of that prefix, rounded otherwise, in roundings of the largest output."""
    attention, context = subject.build_with_context(biased=position.biases, dtype=dtype, **SMALL._asdict())
    attention.fast = fast
    position = deepcopy(position).to(dtype)
    generator = torch.Generator().manual_seed(4)
    table_VD = torch.randn(VOCABULARY, context.width, generator=generator, dtype=torch.float64).to(dtype)
    x_BTD = functional.embedding(token_streams(), table_VD)
    rounding = torch.finfo(dtype).eps
    signs_BTD = torch.randint(-1, 2, x_BTD.shape, generator=generator).to(dtype)
    rounded_BTD = x_BTD * (1 + rounding * signs_BTD)
    whole_BTD = run(attention, x_BTD, position)
    unit = rounding * max(1.0, float(whole_BTD.abs().max()))
    return [
        (cut, max_difference(run(attention, rounded_BTD[:, :cut], position), whole_BTD[:, :cut]) / unit)
        for cut in REPEATED
    ]


def token_streams() -> Tensor:
    """Token ids of which most are repeated, B x T: one token, alternating ones, runs of three, random ones."""
    columns_T = torch.arange(REPEATED[-1])
    generator = torch.Generator().manual_seed(7)
    random = [torch.randint(0, tokens, (REPEATED[-1],), generator=generator) for tokens in (3, VOCABULARY)]
    return torch.stack([torch.zeros_like(columns_T), columns_T % 2, columns_T // 3 % 2, *random])
