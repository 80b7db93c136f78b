"""One cut of a sequence: what outputs up to it have of later tokens, by gradient and by change.

Letters  B batch, one cut per row; T tokens, P columns of the outputs, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attnlab.testing._paths import Forward, Path
from attnlab.testing._subject import random_inputs

Kind = Literal["change", "gradient"]


@dataclass(frozen=True)
class Leak:
    """The largest violation of one path."""

    size: float
    kind: Kind
    cut: int
    """The last token that may be seen, counted from 0."""
    token: int
    """The token whose output sees later ones, by the change; the later token that is seen, by the gradient."""
    tokens: int
    repeated: bool = False
    """Whether the inputs are a few tokens that are repeated."""

    def __str__(self) -> str:
        return f"largest {self.kind} {self.size:.1e}"

    @property
    def place(self) -> str:
        """Where it is; tokens count from 1."""
        sequence = f"of {self.tokens}{' repeated' if self.repeated else ''} tokens"
        if self.kind == "gradient":
            return f"of outputs up to token {self.cut + 1}, by token {self.token + 1} {sequence}"
        return f"of the output of token {self.token + 1}, by the tokens after token {self.cut + 1} {sequence}"


def leak_at(
    path: Path,
    forward: Forward,
    cuts_B: Tensor,
    columns_BP: Tensor,
    tokens: int,
    gradient: bool = True,
    repeated: bool = False,
) -> Leak:
    """The larger of gradient and change, for one cut per row.

    Args:
        path: The path, for its inputs.
        forward: From inputs to outputs at some columns, B x P x D.
        cuts_B: The last token that may be seen, in each row.
        columns_BP: The columns of the outputs.
        tokens: T.
        gradient: Whether the gradient is taken too; by default it is.
        repeated: Whether the inputs are a few tokens that are repeated; by default they are noise.

    Returns:
        The larger violation.
    """
    draw = path.repeated if repeated else path.inputs
    x_BTD = draw(len(cuts_B), tokens).requires_grad_(gradient)
    after_BT1 = (torch.arange(tokens) > cuts_B[:, None])[..., None]
    before_BP1 = (columns_BP <= cuts_B[:, None])[..., None]
    sizes: dict[Kind, Tensor] = {}
    """The largest entry of each token, B x T or B x P."""
    with torch.set_grad_enabled(gradient):
        output_BPD = forward(x_BTD)
    if gradient:
        shape_BP, width = output_BPD.shape[:2], output_BPD.shape[-1]
        projection_BPD = random_inputs(*shape_BP, width=width, seed=3, dtype=output_BPD.dtype) * before_BP1
        projected = (output_BPD * projection_BPD).sum()
        if projected.requires_grad:
            (grad_BTD,) = torch.autograd.grad(projected, x_BTD, allow_unused=True, materialize_grads=True)
        else:
            grad_BTD = torch.zeros_like(x_BTD)  # what was detached is seen by the change
        scale = max(1.0, float(grad_BTD.abs().max()))
        sizes["gradient"] = _largest_per_token(grad_BTD.where(after_BT1, 0.0)) / scale
    other_BTD = draw(len(cuts_B), tokens, seed=5) * (1.0 if repeated else 3.0)
    with torch.set_grad_enabled(gradient):
        change_BPD = (forward(x_BTD.detach().where(~after_BT1, other_BTD)) - output_BPD).detach()
    sizes["change"] = _largest_per_token(change_BPD.where(before_BP1, 0.0))
    leaks = []
    for kind, size_BP in sizes.items():
        row, column = divmod(int(size_BP.argmax()), size_BP.shape[1])
        token = column if kind == "gradient" else int(columns_BP[row, column])
        leaks.append(Leak(float(size_BP[row, column]), kind, int(cuts_B[row]), token, tokens, repeated))
    return max(leaks, key=severity)


def _largest_per_token(tensor_BTD: Tensor) -> Tensor:
    """The largest absolute entry of each token, B x T; infinite if an entry is not finite."""
    largest_BT = tensor_BTD.abs().amax(-1)
    return largest_BT.where(largest_BT.isfinite(), torch.inf)


def severity(leak: Leak) -> float:
    """The order of violations.

    Args:
        leak: A violation.

    Returns:
        Its size.
    """
    return leak.size
