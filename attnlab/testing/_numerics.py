"""Numerical checks: extreme inputs, gradients, the row constraint of the effective matrix, and precision."""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.attention import RowConstraint
from attnlab.plugins import describe_exception
from attnlab.testing._subject import Subject, max_difference, random_inputs, run
from attnlab.testing._template import HEADLESS, has_heads, prepare_qkv
from attnlab.testing.finding import Finding, check_result, not_applicable

EXTREMES = ("zeros", "one token repeated", "tiny, 1e-6", "huge, 1e4")


def finite(subject: Subject) -> Finding:
    """Forward and backward stay finite in float32 at extreme inputs."""
    wrong = []
    for name in EXTREMES:
        attention = subject.build(dtype=torch.float32)
        x_BTD = _extreme(name).requires_grad_()
        out = run(attention, x_BTD)
        out.square().mean().backward()
        gradients = [x_BTD.grad, *(parameter.grad for parameter in attention.parameters())]
        if not bool(out.isfinite().all()):
            wrong.append(f"forward at {name}")
        elif not all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None):
            wrong.append(f"backward at {name}")
    return check_result(
        "finite at extremes", not wrong, f"not finite: {', '.join(wrong)}" if wrong else ", ".join(EXTREMES)
    )


def gradients(subject: Subject) -> Finding:
    """Gradients agree with finite differences in float64."""
    if not subject.exact:
        return not_applicable("gradients", "it computes in float32, and finite differences need float64")
    attention, context = subject.build_with_context(width=8, heads=2, length=8)
    x_BTD = random_inputs(1, 5, width=context.width, seed=3).requires_grad_()
    settings = {"eps": 1e-6, "atol": 1e-5, "raise_exception": False}
    agree = torch.autograd.gradcheck(lambda x: run(attention, x), (x_BTD,), **settings)  # type: ignore[arg-type]
    return check_result("gradients", agree, f"{'agree' if agree else 'disagree'} with finite differences to 1e-5")


def row_constraint(subject: Subject) -> Finding:
    """The rows of the effective matrix satisfy the declared constraint, and no entry is above the diagonal."""
    attention, context = subject.build_with_context()
    if not has_heads(attention, context.width):
        return not_applicable("row constraint", HEADLESS)
    matrix_BHTS = attention.effective_matrix(
        *prepare_qkv(attention, random_inputs(2, 19, dtype=subject.dtype))
    ).detach()
    above = float(matrix_BHTS.triu(1).abs().max())
    if not bool(matrix_BHTS.isfinite().all()):
        return check_result("row constraint", False, "the effective matrix has values that are not finite")
    if above > subject.tolerance(1e-12):
        return check_result("row constraint", False, f"an entry of size {above:.1e} is above the diagonal")
    sums = matrix_BHTS.sum(-1)
    measured = f"sums {float(sums.min()):.4f} to {float(sums.max()):.4f}, smallest entry {float(matrix_BHTS.min()):.2g}"
    constraint = attention.row_constraint
    return check_result(
        "row constraint",
        _satisfies(constraint, matrix_BHTS, subject.tolerance(1e-9)),
        f"{constraint.value}: {measured}",
    )


def precision(subject: Subject) -> Finding:
    """Outputs in bfloat16 stay near those in float32."""
    wide, narrow = subject.build(dtype=torch.float32), subject.build(dtype=torch.bfloat16)
    x_BTD = random_inputs(2, 33, dtype=torch.float32)
    exact = run(wide, x_BTD)
    try:
        rounded = run(narrow, x_BTD.bfloat16()).float()
    except RuntimeError as error:
        if not subject.adapted:
            raise
        reason = f"it computes in one type, so that train.precision=bf16 is refused: {first_line(error)}"
        return not_applicable("bfloat16", reason)
    relative = max_difference(rounded, exact) / max(1e-12, float(exact.detach().abs().max()))
    return check_result("bfloat16", relative < 0.5, f"largest difference {relative:.1%} of the largest output")


def first_line(error: Exception) -> str:
    """The type of an exception, and the first line of its message."""
    return describe_exception(error).splitlines()[0]


def _extreme(name: str) -> Tensor:
    """One of the extreme inputs, B x T x D."""
    x_BTD = random_inputs(2, 19, dtype=torch.float32)
    return {
        "zeros": torch.zeros_like(x_BTD),
        "one token repeated": x_BTD[:, :1].expand_as(x_BTD).clone(),
        "tiny, 1e-6": 1e-6 * x_BTD,
        "huge, 1e4": 1e4 * x_BTD,
    }[name]


def _satisfies(constraint: RowConstraint, matrix_BHTS: Tensor, rounding: float) -> bool:
    """Whether the constraint holds up to rounding; signed rows have one sum per head, whatever the input."""
    sums_BHT = matrix_BHTS.sum(-1)
    positive = bool((matrix_BHTS >= -1e-3 * rounding).all())
    if constraint is RowConstraint.STOCHASTIC:
        return positive and bool(((sums_BHT - 1).abs() < rounding).all())
    if constraint is RowConstraint.SUBSTOCHASTIC:
        return positive and bool((sums_BHT < 1 + rounding).all())
    if constraint is RowConstraint.SIGNED:
        per_head = sums_BHT.transpose(0, 1).flatten(1)
        return bool((per_head.amax(1) - per_head.amin(1) < rounding).all())
    return True
