"""Numbers that stay numbers: extremes, gradients, row sums, precision."""

from __future__ import annotations

import torch
from torch import Tensor

from attnlab.attention import RowConstraint
from attnlab.testing._subject import Subject, gap, heads_of, run, stream, width_of
from attnlab.testing.finding import Finding, judged

EXTREMES = ("zeros", "one token over and over", "tiny, 1e-6", "huge, 1e4")


def finite(subject: Subject) -> Finding:
    """Forward and backward stay finite in float32 at extreme inputs."""
    wrong = []
    for name in EXTREMES:
        attention = subject.build(dtype=torch.float32)
        x_BTD = _extreme(name).requires_grad_()
        out = run(attention, x_BTD)
        out.square().mean().backward()
        gradients = [x_BTD.grad, *(weight.grad for weight in attention.parameters())]
        if not bool(out.isfinite().all()):
            wrong.append(f"forward at {name}")
        elif not all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None):
            wrong.append(f"backward at {name}")
    return judged("finite at extremes", not wrong, f"not finite: {', '.join(wrong)}" if wrong else ", ".join(EXTREMES))


def gradients(subject: Subject) -> Finding:
    """Gradients agree with finite differences in float64."""
    attention = subject.build(width=8, heads=2, length=8)
    x_BTD = stream(1, 5, width=width_of(attention), seed=3).requires_grad_()
    settings = {"eps": 1e-6, "atol": 1e-5, "raise_exception": False}
    agree = torch.autograd.gradcheck(lambda x: run(attention, x), (x_BTD,), **settings)  # type: ignore[arg-type]
    return judged("gradients", agree, f"{'agree' if agree else 'disagree'} with finite differences to 1e-5")


def rows(subject: Subject) -> Finding:
    """Rows of the effective matrix sum to what the variant promises; nothing lies above the diagonal."""
    attention = subject.build()
    matrix_BHTS = attention.effective_matrix(*heads_of(attention, stream(2, 19))).detach()
    above = float(matrix_BHTS.triu(1).abs().max())
    if not bool(matrix_BHTS.isfinite().all()):
        return judged("promised rows", False, "the effective matrix has numbers that are not finite")
    if above > 1e-12:
        return judged("promised rows", False, f"{above:.1e} stands above the diagonal")
    sums = matrix_BHTS.sum(-1)
    told = f"sums {float(sums.min()):.4f} to {float(sums.max()):.4f}, least weight {float(matrix_BHTS.min()):.2g}"
    return judged(
        "promised rows",
        _kept(subject.entry.cls.row_constraint, matrix_BHTS),
        f"{subject.entry.cls.row_constraint.value}: {told}",
    )


def precision(subject: Subject) -> Finding:
    """bfloat16 stays near float32."""
    wide, narrow = subject.build(dtype=torch.float32), subject.build(dtype=torch.bfloat16)
    x_BTD = stream(2, 33, dtype=torch.float32)
    exact, rough = run(wide, x_BTD), run(narrow, x_BTD.bfloat16()).float()
    share = gap(rough, exact) / max(1e-12, float(exact.detach().abs().max()))
    return judged("bfloat16", share < 0.5, f"largest difference {share:.1%} of the largest output")


def _extreme(name: str) -> Tensor:
    x_BTD = stream(2, 19, dtype=torch.float32)
    return {
        "zeros": torch.zeros_like(x_BTD),
        "one token over and over": x_BTD[:, :1].expand_as(x_BTD).clone(),
        "tiny, 1e-6": 1e-6 * x_BTD,
        "huge, 1e4": 1e4 * x_BTD,
    }[name]


def _kept(promise: RowConstraint, matrix_BHTS: Tensor) -> bool:
    """Whether the promise holds to 1e-9; signed rows have one sum per head, whatever the input."""
    sums_BHT = matrix_BHTS.sum(-1)
    positive = bool((matrix_BHTS >= -1e-12).all())
    if promise is RowConstraint.STOCHASTIC:
        return positive and bool(((sums_BHT - 1).abs() < 1e-9).all())
    if promise is RowConstraint.SUBSTOCHASTIC:
        return positive and bool((sums_BHT < 1 + 1e-9).all())
    if promise is RowConstraint.SIGNED:
        per_head = sums_BHT.transpose(0, 1).flatten(1)
        return bool((per_head.amax(1) - per_head.amin(1) < 1e-9).all())
    return True
