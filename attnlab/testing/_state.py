"""The declared state of a decoder against what later outputs depend on, as far as two ranks can tell.

Queries, keys, values and further tensors of the first tokens are computed from four copies of their input. Jacobian of
the outputs of later tokens by these copies:

    least   rank if all copies are the same input: no decoder keeps less
    most    rank if they are independent, so that a key and a value of one token are two things

The declared number lies between them. A decoder may keep a key and a value although both follow from one input, which
is why ``most`` and not ``least`` bounds it from above. Both are limited by the numbers of the few tokens. So the upper
bound is that of the growth from half of the tokens to all, and of the number itself where ``most`` grows no more.

Letters  B copies of a sequence, one for each random combination of outputs; T tokens, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attnlab.attention import Attention
from attnlab.tensors import LayerInputs
from attnlab.testing._subject import Subject, build_position, random_inputs
from attnlab.testing._template import HEADLESS, has_heads
from attnlab.testing.finding import Finding, check_result, not_applicable

WIDTH, HEADS = 8, 2
EARLY, LATER = 8, 12
"""Tokens whose state is probed, and later ones."""
CONTINUATIONS = 6, 24
"""Different sequences of later tokens, so that what only a few of them read is seen whole; more where few do not do."""
NOISE = 0.1
"""Standard deviation of what is added to every weight: some start at zero and have no effect."""
MANY = 64 * EARLY
"""Tokens after which the declared state is told too."""
SMALLEST = 1e-9
"""Singular values below this share of the largest one count as zero."""
SLACK = 1.15
"""The most that a declared state may exceed what is seen, as a ratio: sums may be redundant, selections unused."""
SATURATED = 1.05
"""A rank that grows by less than this factor over twice the tokens has reached its limit."""


class Dependence(NamedTuple):
    """How many numbers of the first tokens the later outputs depend on."""

    least: int
    most: int


def decode_state(subject: Subject) -> Finding:
    """The declared numbers that a decoder keeps lie between what later outputs need, and what they can depend on."""
    if subject.adapted:
        return not_applicable("decode state", "a module of its own declares none")
    if not subject.exact:
        return not_applicable("decode state", "it computes in float32, and ranks are told apart in float64")
    built, context = subject.build_with_context(width=WIDTH, heads=HEADS)
    if not has_heads(built, context.width):
        return not_applicable("decode state", HEADLESS)
    attention = with_noise(built)
    before, declared, many = (attention.state_size(tokens) for tokens in (EARLY // 2, EARLY, MANY))
    few, enough = CONTINUATIONS
    half, all_ = (dependence(attention, tokens, few) for tokens in (EARLY // 2, EARLY))
    if fault(before, declared, half, all_):
        half, all_ = (dependence(attention, tokens, enough) for tokens in (EARLY // 2, EARLY))
    wrong = fault(before, declared, half, all_)
    evidence = (
        f"declared {before:,}, {declared:,} and {many:,} numbers after {EARLY // 2}, {EARLY} and {MANY} tokens, D = "
        f"{context.width}; outputs depend on {half.least} to {half.most} of {EARLY // 2} tokens, and "
        f"{all_.least} to {all_.most} of {EARLY}"
    )
    return check_result("decode state", not wrong, f"{evidence}: {wrong}; see state_size" if wrong else evidence)


def fault(before: int, declared: int, half: Dependence, whole: Dependence) -> str:
    """Say what is wrong with a declared state.

    Args:
        before: What is declared after half of the tokens.
        declared: What is declared after all of them.
        half: What later outputs depend on after half of the tokens.
        whole: The same after all of them.

    Returns:
        The fault; empty if there is none.
    """
    if before < half.least or declared < whole.least:
        return "declared is less than they need"
    grows_too_much = declared - before > SLACK * (whole.most - half.most)
    saturated = whole.most < SATURATED * half.most
    if grows_too_much or (saturated and declared > SLACK * whole.most):
        return "declared is more than they can depend on"
    return ""


def dependence(attention: Attention, tokens: int, continuations: int) -> Dependence:
    """Measure how many numbers of the first tokens the outputs of later ones depend on.

    Args:
        attention: The attention, in float64.
        tokens: How many tokens come first.
        continuations: How many different sequences follow them.

    Returns:
        The ranks of two Jacobians.
    """
    width = attention.num_heads * attention.channels  # larger than requested if the options need it
    position = build_position(width=width, heads=attention.num_heads)
    rows = 4 * tokens * width
    early_BTD = random_inputs(1, tokens, width=width).expand(rows, -1, -1)
    copies = [early_BTD.clone().requires_grad_() for _ in range(4)]
    combined = early_BTD.new_zeros(())
    for continuation in range(continuations):
        later_BTD = random_inputs(1, LATER, width=width, seed=7 + continuation).expand(rows, -1, -1)
        queries, keys, values, extra = (
            attention.prepare(torch.cat([copy, later_BTD], dim=1), position, LayerInputs()) for copy in copies
        )
        qkv = queries._replace(keys_BHSC=keys.keys_BHSC, values_BHSC=values.values_BHSC, extra=extra.extra)
        outputs = attention.attend(qkv, position)[..., tokens:, :]
        weights = random_inputs(rows, outputs[0].numel(), width=1, seed=100 + continuation)
        combined = combined + (outputs * weights.view_as(outputs)).sum()
    grads = torch.autograd.grad(combined, copies, allow_unused=True, materialize_grads=True)
    return Dependence(rank(torch.stack(grads).sum(0).flatten(1)), rank(torch.cat([g.flatten(1) for g in grads], 1)))


def rank(matrix: Tensor) -> int:
    """Count the singular values of a matrix above a small share of the largest one."""
    singular = torch.linalg.svdvals(matrix)
    return int((singular > SMALLEST * singular[0].clamp_min(torch.finfo(singular.dtype).tiny)).sum())


@torch.no_grad()
def with_noise(attention: Attention) -> Attention:
    """Add noise to every weight that is learned, in place."""
    generator = torch.Generator().manual_seed(3)
    for weight in attention.parameters():
        if weight.requires_grad:
            weight.add_(NOISE * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return attention
