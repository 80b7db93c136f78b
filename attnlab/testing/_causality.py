"""Causality checks: no output depends on later tokens.

    gradient  of r.y_s summed over s <= t, with random r_s, to every input after t: zero
    change    of every y_s with s <= t when the inputs after t are replaced: none

Both are tried at every length of :data:`LENGTHS` and every cut t, in evaluation mode, in training mode where it gives
other outputs or gradients at any of these lengths, vmapped in training mode, and at a few query positions where the
attention computes them alone. The lengths of :data:`LONG` are tried at two cuts, in both modes. The gradient sees a
leak however small its effect on these inputs; the change sees a leak without a gradient, such as one through a choice
or a detached tensor. Streams of a few repeated tokens are changed too: only there are two tokens equal. The batch holds
one cut per row.

Letters  B batch, T tokens, P query positions per row, D width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from attnlab.plugins import describe_exception
from attnlab.position import Position
from attnlab.testing._leak_probe import Leak, leak_at, severity
from attnlab.testing._paths import (
    Forward,
    Path,
    Sizes,
    at_query_positions,
    computes_query_subset,
    paired_positions,
    single_path,
    whole_paths,
)
from attnlab.testing._subject import Subject, build_position, random_inputs
from attnlab.testing.finding import Finding, check_result

LENGTHS = (1, 2, 31, 64, 65, 128, 131, 200, 257)
"""Within a block, at its end, one beyond, between blocks, and beyond two hundred tokens."""
LONG = (512, 1024)
"""Longer ones, tried at two cuts each."""
REPEATED = (31, 65)
"""Lengths at which every cut of streams of repeated tokens is tried."""
TOKENS = 37
"""The length at which every position is tried, in evaluation mode."""
SMALL = Sizes(width=8, heads=2, length=max(LENGTHS))
TINY = Sizes(width=4, heads=1, length=max(LENGTHS))
"""Every length has a forward and a backward pass for each of its cuts, with this size."""
EXACT = 1e-10
"""Largest change or relative gradient in float64 that a different order of sums may cause. Masked weights are exact
zeros. The differences of running sums are not: they err by a few roundings of the sums."""
SINGLE = 1e-5
"""The same for an attention that computes in float32."""
ELEMENTS = 2**19
"""About as many rows as have this many pairs of tokens are computed together: more would leave the cache."""

MIN_ROWS = 4
"""Each of two models has at least two sequences: statistics of a batch are not defined for less."""


def future(subject: Subject) -> Finding:
    """No output depends on later tokens: at every cut of every length, in both modes, on every path."""
    worst, where = Leak(0.0, "change", 0, 0, 0), ""
    for leak, name in _leaks(subject):
        if not leak.size <= worst.size:
            worst, where = leak, f" {leak.place}, {name}"
    longest, refusal = 0, ""
    try:
        for leak, name in _long_leaks(subject):
            longest = leak.tokens
            if not leak.size <= worst.size:
                worst, where = leak, f" {leak.place}, {name}"
    except Exception as error:
        if not subject.adapted:
            raise
        refusal = f"; longer ones were not tried: {describe_exception(error).splitlines()[0]}"
    passed = worst.size <= subject.tolerance(EXACT, SINGLE)
    tried = f"every token of T = {', '.join(map(str, LENGTHS))}"
    few = f", and two of T = {', '.join(str(tokens) for tokens in LONG if tokens <= longest)}" if longest else ""
    refusal = refusal or "; longer ones were not tried"
    evidence = f"{worst} at {tried}{few}{refusal}{subject.rounding}" if passed else f"{worst}{where}"
    return check_result("future never seen", passed, evidence)


def _leaks(subject: Subject) -> Iterator[tuple[Leak, str]]:
    """The largest violation at each length of each path, and the name of the path."""
    no_position = build_position(width=TINY.width)
    evaluated: Path | None = None
    suffix = "" if subject.adapted else ", position none"
    for path in whole_paths(subject, no_position, TINY, plain=False):
        vmapped = path.name.endswith("vmapped")
        if vmapped and not path.attention.training:
            continue  # tried below at one length, and at every length by the prefixes
        if not vmapped and evaluated is not None and _same(evaluated, path):
            continue
        evaluated = evaluated or path
        subset = not vmapped and computes_query_subset(path.attention)
        for tokens in LENGTHS:
            yield _largest(path, path.forward, tokens), f"{path.name}{suffix}"
            if subset:
                yield _largest_of_subset(path, no_position, tokens), f"{path.name}, query subset{suffix}"
        for tokens in REPEATED if not vmapped else ():
            yield _largest(path, path.forward, tokens, repeated=True), f"{path.name}{suffix}"
    for position, name in paired_positions(subject, SMALL) if not subject.adapted else ():
        for path in whole_paths(subject, position, SMALL, modes=(False,)):
            yield _largest(path, path.forward, TOKENS), f"{path.name}, position {name}"


def _long_leaks(subject: Subject) -> Iterator[tuple[Leak, str]]:
    """The largest violation at each long length in both modes, and the name of the path."""
    no_position = build_position(width=TINY.width)
    sizes, suffix = TINY._replace(length=max(LONG)), "" if subject.adapted else ", position none"
    evaluated, trained = (single_path(subject, no_position, sizes, training) for training in (False, True))
    for tokens in LONG:
        cuts_B = torch.tensor([tokens // 2 + 3, tokens - 2])
        columns_BP = torch.arange(tokens).expand(len(cuts_B), -1)
        for path in (evaluated, trained):
            leak = leak_at(path, path.forward, cuts_B, columns_BP, tokens, gradient=path is evaluated)
            yield leak, f"{path.name}{suffix}"


def _same(one: Path, other: Path) -> bool:
    """Whether two paths give the same outputs and gradients, bit for bit, at every length: then one suffices."""
    for tokens in LENGTHS[::-1]:
        results = []
        for path in (one, other):
            x_BTD = path.inputs(2, tokens, seed=11).requires_grad_()
            output_BTD = path.forward(x_BTD)
            projection_BTD = random_inputs(2, tokens, width=output_BTD.shape[-1], seed=12, dtype=path.dtype)
            results.append((output_BTD, torch.autograd.grad((output_BTD * projection_BTD).sum(), x_BTD)[0]))
        if not all(torch.equal(first, second) for first, second in zip(*results, strict=True)):
            return False
    return True


def _largest(path: Path, forward: Forward, tokens: int, *, repeated: bool = False) -> Leak:
    """The largest violation of a path at a length, over all cuts."""
    columns_T = torch.arange(tokens)
    leaks = [
        leak_at(path, forward, cuts_B, columns_T.expand(len(cuts_B), -1), tokens, not repeated, repeated)
        for cuts_B in _cuts(tokens)
    ]
    return max(leaks, key=severity)


def _largest_of_subset(path: Path, position: Position, tokens: int) -> Leak:
    """The largest violation at a few query positions up to each cut: the cut itself, and earlier ones."""
    leaks = []
    for cuts_B in _cuts(tokens):
        columns_BP = torch.stack([cuts_B, cuts_B // 2, torch.zeros_like(cuts_B)], dim=1)[:, : max(1, tokens - 1)]
        leaks.append(leak_at(path, at_query_positions(path, position, columns_BP), cuts_B, columns_BP, tokens))
    return max(leaks, key=severity)


def _cuts(tokens: int) -> list[Tensor]:
    """All cuts of a length, in batches of even size, for two models; the last one may be repeated."""
    rows = 2 * max(1, ELEMENTS // (2 * tokens**2))
    cuts_T = torch.arange(max(MIN_ROWS, tokens + tokens % 2)).clamp_max(tokens - 1)
    return list(cuts_T.split(rows))
