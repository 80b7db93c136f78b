"""The weights of K vmapped runs as one block, and AdamW or Muon on that block, run by run.

    weights    K x P, one row per run; every weight of the model is a view of the block, K x its own shape
    clipping   g <- g min(1, c / |g|), with |g| over all parameters of a run
    moments    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    decay      w <- w (1 - r d) where the weight is a matrix
    step       w <- w - r m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + 1e-8)

with learning rate r, weight decay d, gradient clip c and number of steps n of each run: a run that goes on from a
checkpoint may be ahead of those beside it. Weights that Muon trains (see :mod:`attnlab.training._optimizer`) have a
momentum of their own and take orthogonal steps.

Letters  K vmapped runs, P learned parameters of one run, N matrices of one shape, I rows, O columns.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from attnlab.specs import TrainSpec
from attnlab.tensors import ParameterRole
from attnlab.training._newton_schulz import newton_schulz
from attnlab.training._optimizer import EPSILON, MOMENTUM, muon_parameters, muon_scale
from attnlab.training._transfer import to_device


@final
class VmapOptimizer:
    """Weights and moments of K models of one shape.

    Args:
        models: The learned weights of each run, by name.
        plans: The training spec of each run; they differ in weight decay and gradient clip at most.
        device: Where to keep the block.
        roles: The role of each weight, by name.
    """

    def __init__(
        self,
        models: Sequence[Mapping[str, Tensor]],
        plans: Sequence[TrainSpec],
        device: torch.device,
        roles: Mapping[str, ParameterRole],
    ) -> None:
        self.shapes = {name: tuple(weight.shape) for name, weight in models[0].items()}
        rows = [torch.cat([weight.detach().flatten() for weight in model.values()]) for model in models]
        self.weights_KP = torch.stack(rows).to(device)
        self.first_KP, self.second_KP = torch.zeros_like(self.weights_KP), torch.zeros_like(self.weights_KP)
        self.steps_K = [0] * len(models)
        """Number of steps in the moments of each run."""
        self.norms_K1: Tensor | None = None
        """Norm of the gradient of each run at its last step, before clipping; None before the first."""
        self.betas = plans[0].betas
        self.muon_names = muon_parameters(self.shapes, plans[0], roles)
        beta1 = {name: MOMENTUM if name in self.muon_names else self.betas[0] for name in self.shapes}
        self.beta1_P = self._per_parameter(beta1)
        clips = [math.inf if plan.grad_clip is None else plan.grad_clip for plan in plans]
        self.clip_K1 = self._per_run(clips)
        self.decay_K1 = self._per_run([plan.weight_decay for plan in plans])
        self._without_grad: frozenset[str] | None = None
        self._make_leaves()

    def views(self, block_KP: Tensor) -> dict[str, Tensor]:
        """Split a block into views by name of the weight, K x its shape each."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = block_KP.split(sizes, dim=1)
        return {name: part.view(-1, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def row_of(self, block_KP: Tensor, row: int) -> dict[str, Tensor]:
        """Split one row of a block by name of the weight; it is copied to the CPU at once, not weight by weight."""
        return {name: view[0] for name, view in self.views(block_KP[row : row + 1].detach().cpu()).items()}

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows of the block; the memory of the others is freed."""
        rows_K = torch.tensor(rows, device=self.weights_KP.device)
        self.steps_K = [self.steps_K[row] for row in rows]
        self.weights_KP, self.first_KP, self.second_KP, self.clip_K1, self.decay_K1 = (
            block.index_select(0, rows_K)
            for block in (self.weights_KP, self.first_KP, self.second_KP, self.clip_K1, self.decay_K1)
        )
        self.norms_K1 = None if self.norms_K1 is None else self.norms_K1.index_select(0, rows_K)
        self._make_leaves()

    def state(self, row: int) -> dict[str, Tensor]:
        """Return the state of one run on the CPU, as :meth:`attnlab.training._optimizer.Optimizer.state` returns it."""
        first, second = self.row_of(self.first_KP, row), self.row_of(self.second_KP, row)
        adamw_names = [name for name in self.shapes if name not in self.muon_names]
        count = torch.tensor(float(self.steps_K[row]))
        return {
            **{f"exp_avg/{name}": tensor for name, tensor in first.items()},
            **{f"exp_avg_sq/{name}": second[name] for name in adamw_names},
            **{f"step/{name}": count for name in adamw_names},
        }

    @torch.no_grad()
    def restore(self, row: int, arrays: Mapping[str, Tensor], steps: int) -> None:
        """Load the state of one run, of this optimizer or of a single run's.

        Args:
            row: The row of the run.
            arrays: The state; a weight that is missing has taken no steps, and its moments are zero.
            steps: Number of steps that the run has taken.
        """
        for kind, block_KP in (("exp_avg", self.first_KP), ("exp_avg_sq", self.second_KP)):
            for name, view in self.views(block_KP).items():
                saved = arrays.get(f"{kind}/{name}")
                view[row] = 0 if saved is None else saved
        self.steps_K[row] = steps

    @torch.no_grad()
    def step(self, grads: Sequence[Tensor | None], rates: Sequence[float]) -> None:
        """Take one step of every run at its learning rate.

        Args:
            grads: A gradient for each of the ``leaves``; a weight without one is left unchanged, as in torch.
            rates: The learning rate of each run.
        """
        self.steps_K = [steps + 1 for steps in self.steps_K]
        beta1, beta2 = self.betas
        named = dict(zip(self.leaves, grads, strict=True))
        decayed_P = self._decayed(frozenset(name for name, grad in named.items() if grad is None))
        filled = [torch.zeros_like(self.leaves[name]) if grad is None else grad for name, grad in named.items()]
        grads_KP = torch.cat([grad.flatten(1) if grad.ndim > 1 else grad[:, None] for grad in filled], dim=1)
        self.norms_K1 = grads_KP.norm(dim=1, keepdim=True)
        shrink_K1 = (self.clip_K1 / (self.norms_K1 + 1e-6)).clamp_max(1.0)
        grads_KP *= shrink_K1.masked_fill(self.clip_K1.isinf(), 1.0)
        self.first_KP.lerp_(grads_KP, 1 - self.beta1_P)
        self.second_KP.mul_(beta2).addcmul_(grads_KP, grads_KP, value=1 - beta2)
        rate_K1, correction1_K1, correction2_K1 = self._per_run(
            [
                *rates,
                *(1 - beta1**steps for steps in self.steps_K),
                *(math.sqrt(1 - beta2**steps) for steps in self.steps_K),
            ]
        ).chunk(3)
        self.weights_KP.mul_(1 - rate_K1 * self.decay_K1 * decayed_P)
        root_KP = (self.second_KP.sqrt() / correction2_K1).add_(EPSILON)
        step_KP = (self.first_KP / root_KP).div_(correction1_K1)
        self._apply_muon(step_KP, grads_KP)
        self.weights_KP.sub_(step_KP.mul_(rate_K1))

    def _apply_muon(self, step_KP: Tensor, grads_KP: Tensor) -> None:
        """Replace the steps of the weights that Muon trains; matrices of one shape are orthogonalized together."""
        steps, grads, momenta = (self.views(block) for block in (step_KP, grads_KP, self.first_KP))
        for shape in dict.fromkeys(self.shapes[name] for name in self.muon_names):
            same_shape = [name for name in self.muon_names if self.shapes[name] == shape]
            directions_NKIO = torch.stack([grads[name].lerp(momenta[name], MOMENTUM) for name in same_shape])
            for name, step_KIO in zip(same_shape, newton_schulz(directions_NKIO) * muon_scale(shape), strict=True):
                steps[name].copy_(step_KIO)

    def _per_run(self, numbers: Sequence[float]) -> Tensor:
        """Make a column, K x 1, of one number per run."""
        column_K = torch.tensor(numbers, dtype=self.weights_KP.dtype)
        return to_device(column_K.numpy(), self.weights_KP.device)[:, None]

    def _per_parameter(self, numbers: Mapping[str, float]) -> Tensor:
        """Make a row, P, that repeats the number of each weight over all of its parameters."""
        sizes = torch.tensor([math.prod(shape) for shape in self.shapes.values()])
        row_P = torch.tensor([numbers[name] for name in self.shapes], dtype=torch.float64).repeat_interleave(sizes)
        return row_P.to(self.weights_KP)

    def _make_leaves(self) -> None:
        """Make the weights by name as leaves of autograd that share the memory of the block."""
        views = self.views(self.weights_KP)
        self.leaves = {name: view.detach().requires_grad_() for name, view in views.items()}
        """The weights by name, as a forward pass takes them; they share the memory of the block."""

    def _decayed(self, without_grad: Collection[str]) -> Tensor:
        """Make a row, P, that is 1 where a parameter decays: in matrices that have a gradient."""
        if without_grad != self._without_grad:
            marks = {name: float(len(shape) >= 2 and name not in without_grad) for name, shape in self.shapes.items()}
            self._decayed_P = self._per_parameter(marks)
            self._without_grad = frozenset(without_grad)
        return self._decayed_P
