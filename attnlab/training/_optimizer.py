"""The optimizer of one model: AdamW, or Muon for the matrices inside its blocks.

    adamw   m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   w <- w (1 - r d) - r m' / (sqrt(v') + 1e-8)
    muon    m <- .95 m + .05 g,   w <- w (1 - r d) - r 0.2 sqrt(max(I, O)) orthogonal(.05 g + .95 m)

with learning rate r, weight decay d (of matrices only), and bias-corrected moments m', v'. The factor gives a step of
Muon the root mean square of a step of AdamW, so that one learning rate suits both. Embeddings, heads, vectors and
convolution filters are trained with AdamW in either case.

Source  Loshchilov and Hutter, arXiv:1711.05101 (AdamW); Jordan et al. 2024 and Liu et al., arXiv:2502.16982 (Muon).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import final

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from attnlab.specs import TrainSpec
from attnlab.tensors import ParameterRole
from attnlab.training._newton_schulz import newton_schulz

EPSILON = 1e-8
MOMENTUM = 0.95
"""Momentum coefficient of Muon."""


@final
class Optimizer:
    """The weights of a model and the optimizer's state of each.

    Torch's functional AdamW is used, which runs the same kernel as the class. The class imports the compiler, which
    takes longer than the first hundred steps of a small model.

    Args:
        weights: By name; those that take no gradient are left unchanged.
        plan: The training spec: optimizer, betas and weight decay.
        roles: The role of each weight, by name.
    """

    def __init__(self, weights: Mapping[str, Tensor], plan: TrainSpec, roles: Mapping[str, ParameterRole]) -> None:
        self.weights = {name: weight for name, weight in weights.items() if weight.requires_grad}
        self.plan = plan
        shapes = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        self.muon_names = muon_parameters(shapes, plan, roles)
        self.moments: dict[str, dict[str, Tensor]] = {}
        """By name of the weight: ``exp_avg``, and for AdamW ``exp_avg_sq`` and ``step`` as well."""

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one step along the gradients in ``weight.grad``; a weight without a gradient is left unchanged."""
        names = [name for name, weight in self.weights.items() if weight.grad is not None]
        for name in names:
            if name not in self.moments:
                self.moments[name] = self._zero_moments(name)
        adamw_names = [name for name in names if name not in self.muon_names]
        self._adamw([name for name in adamw_names if self.weights[name].ndim >= 2], rate, self.plan.weight_decay)
        self._adamw([name for name in adamw_names if self.weights[name].ndim < 2], rate, 0.0)
        self._muon([name for name in names if name in self.muon_names], rate)

    def clear(self) -> None:
        """Set all gradients to None."""
        for weight in self.weights.values():
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the whole state: ``exp_avg/NAME`` and so on."""
        return {f"{key}/{name}": tensor for name, moments in self.moments.items() for key, tensor in moments.items()}

    def restore(self, arrays: Mapping[str, Tensor]) -> None:
        """Load the state of another optimizer of the same model; other names are ignored."""
        for name in self.weights:
            moments = self._zero_moments(name)
            if all(f"{key}/{name}" in arrays for key in moments):
                self.moments[name] = {key: zero.copy_(arrays[f"{key}/{name}"]) for key, zero in moments.items()}

    def _zero_moments(self, name: str) -> dict[str, Tensor]:
        """Make the state of one weight before its first step."""
        weight = self.weights[name]
        if name in self.muon_names:
            return {"exp_avg": torch.zeros_like(weight)}
        count = torch.zeros((), dtype=torch.float32, device=weight.device)
        return {"step": count, "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}

    def _adamw(self, names: Sequence[str], rate: float, decay: float) -> None:
        """Take a step of AdamW with the weights of these names."""
        if not names:
            return
        weights = [self.weights[name] for name in names]
        grads = [weight.grad for weight in weights if weight.grad is not None]
        keys = ("exp_avg", "exp_avg_sq", "step")
        first, second, counts = ([self.moments[name][key] for name in names] for key in keys)
        beta1, beta2 = self.plan.betas
        adamw(
            weights,
            grads,
            first,
            second,
            [],
            counts,
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=rate,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )

    def _muon(self, names: Sequence[str], rate: float) -> None:
        """Take a step of Muon with the weights of these names; matrices of one shape are orthogonalized together."""
        shapes = dict.fromkeys(self.weights[name].shape for name in names)
        for shape in shapes:
            same_shape = [name for name in names if self.weights[name].shape == shape]
            directions = [self._nesterov(name) for name in same_shape]
            steps_NIO = newton_schulz(torch.stack(directions)) * (rate * muon_scale(shape))
            for name, step in zip(same_shape, steps_NIO.unbind(), strict=True):
                self.weights[name].mul_(1 - rate * self.plan.weight_decay).sub_(step)

    def _nesterov(self, name: str) -> Tensor:
        """Update the momentum of a weight and return the mean of gradient and momentum (Nesterov's)."""
        grad, momentum = self.weights[name].grad, self.moments[name]["exp_avg"]
        assert grad is not None
        momentum.lerp_(grad, 1 - MOMENTUM)
        return grad.lerp(momentum, MOMENTUM)


def muon_parameters(
    shapes: Mapping[str, tuple[int, ...]], plan: TrainSpec, roles: Mapping[str, ParameterRole]
) -> Collection[str]:
    """Names of the weights that Muon trains: the matrices of blocks, which map the residual stream onto itself."""
    if plan.optimizer != "muon":
        return ()
    return frozenset(name for name, shape in shapes.items() if len(shape) == 2 and roles[name].layer is not None)


def muon_scale(shape: Sequence[int]) -> float:
    """The factor that gives an orthogonal step of this shape the root mean square of a step of AdamW."""
    return 0.2 * math.sqrt(max(shape[-2:]))
