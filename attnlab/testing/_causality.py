"""Causality checks: no output depends on later tokens.

    gradient  of r.y_s summed over s <= t, with random r_s, to every input after t: zero
    change    of every y_s with s <= t when the inputs after t are replaced: none

Both are tried at every length of :data:`LENGTHS` and every cut t, in evaluation and in training mode, vmapped in
training mode, and at a few query positions where the attention computes them alone. The gradient sees a leak however
small its effect on these inputs; the change sees a leak without a gradient, such as one through a choice or a detached
tensor. The batch holds one cut per row.

Letters  B batch, T tokens, P query positions per row, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from attnlab.position import Position
from attnlab.testing._paths import (
    Forward,
    Path,
    Sizes,
    at_query_positions,
    computes_query_subset,
    paired_positions,
    whole_paths,
)
from attnlab.testing._subject import Subject, build_position, random_inputs
from attnlab.testing.finding import Finding, check_result

LENGTHS = (1, 2, 31, 64, 65, 128, 131, 200, 257)
"""Within a block, at its end, one beyond, between blocks, and beyond two hundred tokens."""
TOKENS = 37
"""The length at which every position is tried, in evaluation mode."""
SMALL = Sizes(width=8, heads=2, length=max(LENGTHS))
TINY = Sizes(width=4, heads=1, length=max(LENGTHS))
"""Every length has a forward and a backward pass for each of its cuts, with this size."""
EXACT = 1e-10
"""Largest change or relative gradient in float64 that a different order of sums may cause. Masked weights are exact
zeros. The differences of running sums are not: they err by a few roundings of the sums."""
ELEMENTS = 2**19
"""About as many rows as have this many pairs of tokens are computed together: more would leave the cache."""

MIN_ROWS = 4
"""Each of two models has at least two sequences: statistics of a batch are not defined for less."""


@dataclass(frozen=True)
class Leak:
    """The largest violation of one path."""

    size: float
    kind: str
    """``change`` or ``gradient``."""
    cut: int
    tokens: int

    def __str__(self) -> str:
        return f"largest {self.kind} {self.size:.1e}"


def future(subject: Subject) -> Finding:
    """No output depends on later tokens: at every cut of every length, in both modes, on every path."""
    worst, where = Leak(0.0, "change", 0, 0), ""
    for leak, name in _leaks(subject):
        if not leak.size <= worst.size:
            worst, where = leak, f" at token {leak.cut} of {leak.tokens}, {name}"
    tried = f"every token of T = {', '.join(map(str, LENGTHS))}"
    passed = worst.size <= EXACT
    return check_result("future never seen", passed, f"{worst}{f' at {tried}' if passed else where}")


def _leaks(subject: Subject) -> Iterator[tuple[Leak, str]]:
    """The largest violation at each length of each path, and the name of the path."""
    no_position = build_position(width=TINY.width)
    for path in whole_paths(subject, no_position, TINY, plain=False):
        vmapped = path.name.endswith("vmapped")
        if vmapped and not path.attention.training:
            continue  # tried below at one length, and at every length by the prefixes
        subset = not vmapped and computes_query_subset(path.attention)
        for tokens in LENGTHS:
            yield _largest(path, path.forward, tokens), f"{path.name}, position none"
            if subset:
                yield _largest_of_subset(path, no_position, tokens), f"{path.name}, query subset, position none"
    for position, name in paired_positions(subject, SMALL):
        for path in whole_paths(subject, position, SMALL, modes=(False,)):
            yield _largest(path, path.forward, TOKENS), f"{path.name}, position {name}"


def _largest(path: Path, forward: Forward, tokens: int) -> Leak:
    """The largest violation of a path at a length, over all cuts."""
    columns_T = torch.arange(tokens)
    leaks = [leak_at(path, forward, cuts_B, columns_T.expand(len(cuts_B), -1), tokens) for cuts_B in _cuts(tokens)]
    return max(leaks, key=_severity)


def _largest_of_subset(path: Path, position: Position, tokens: int) -> Leak:
    """The largest violation at a few query positions up to each cut: the cut itself, and earlier ones."""
    leaks = []
    for cuts_B in _cuts(tokens):
        columns_BP = torch.stack([cuts_B, cuts_B // 2, torch.zeros_like(cuts_B)], dim=1)[:, : max(1, tokens - 1)]
        leaks.append(leak_at(path, at_query_positions(path, position, columns_BP), cuts_B, columns_BP, tokens))
    return max(leaks, key=_severity)


def leak_at(path: Path, forward: Forward, cuts_B: Tensor, columns_BP: Tensor, tokens: int) -> Leak:
    """The larger of gradient and change, for one cut per row.

    Args:
        path: The path, for the width of its inputs.
        forward: From inputs to outputs at some columns, B x P x D.
        cuts_B: The last token that may be seen, in each row.
        columns_BP: The columns of the outputs.
        tokens: T.

    Returns:
        The larger violation.
    """
    x_BTD = path.inputs(len(cuts_B), tokens).requires_grad_()
    after_BT1 = (torch.arange(tokens) > cuts_B[:, None])[..., None]
    before_BP1 = (columns_BP <= cuts_B[:, None])[..., None]
    output_BPD = forward(x_BTD)
    projection_BPD = random_inputs(*output_BPD.shape[:2], width=output_BPD.shape[-1], seed=3) * before_BP1
    (grad_BTD,) = torch.autograd.grad((output_BPD * projection_BPD).sum(), x_BTD)
    scale = max(1.0, float(grad_BTD.abs().max()))
    changed_BTD = x_BTD.detach().where(~after_BT1, 3.0 * path.inputs(len(cuts_B), tokens, seed=5))
    change_BPD = (forward(changed_BTD) - output_BPD).detach()
    sizes = {
        "gradient": _largest_per_row(grad_BTD.where(after_BT1, 0.0)) / scale,
        "change": _largest_per_row(change_BPD.where(before_BP1, 0.0)),
    }
    return max((_leak(kind, size_B, cuts_B, tokens) for kind, size_B in sizes.items()), key=_severity)


def _cuts(tokens: int) -> list[Tensor]:
    """All cuts of a length, in batches of even size, for two models; the last one may be repeated."""
    rows = 2 * max(1, ELEMENTS // (2 * tokens**2))
    cuts_T = torch.arange(max(MIN_ROWS, tokens + tokens % 2)).clamp_max(tokens - 1)
    return list(cuts_T.split(rows))


def _largest_per_row(tensor_BTD: Tensor) -> Tensor:
    """The largest absolute entry of each row, B; infinite if an entry is not finite."""
    largest_B = tensor_BTD.abs().flatten(1).amax(1)
    return largest_B.where(largest_B.isfinite(), torch.inf)


def _leak(kind: str, size_B: Tensor, cuts_B: Tensor, tokens: int) -> Leak:
    """The largest violation of a batch."""
    row = int(size_B.argmax())
    return Leak(float(size_B[row]), kind, int(cuts_B[row]), tokens)


def _severity(leak: Leak) -> float:
    """The order of violations."""
    return leak.size
