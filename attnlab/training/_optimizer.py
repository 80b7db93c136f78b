"""What turns the gradients of one model into steps: AdamW, or Muon for the matrices inside its blocks.

    adamw   m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   w <- w (1 - r d) - r m' / (sqrt(v') + 1e-8)
    muon    m <- .95 m + .05 g,   w <- w (1 - r d) - r 0.2 sqrt(max(I, O)) orthogonal(.05 g + .95 m)

with rate r, decay d (of matrices only), and m', v' freed of their start at zero. The factor gives a step of Muon the
root mean square of one of AdamW, so that one rate means the same to both; embeddings, heads, vectors and filters are
AdamW's under either name.

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
from attnlab.training._newton_schulz import newton_schulz

EPSILON = 1e-8
MOMENTUM = 0.95
"""How much of its momentum Muon keeps."""


@final
class Optimizer:
    """The weights of a model, and what is remembered of their gradients.

    The functional form of torch's AdamW is used, which runs the same kernel: its class imports the compiler, and that
    takes longer than a small model's first hundred steps.

    Args:
        weights: By name; those that take no gradient are left alone.
        plan: Which optimizer, its betas and its decay.
    """

    def __init__(self, weights: Mapping[str, Tensor], plan: TrainSpec) -> None:
        self.weights = {name: weight for name, weight in weights.items() if weight.requires_grad}
        self.plan = plan
        self.turned = muon_parameters({name: tuple(weight.shape) for name, weight in self.weights.items()}, plan)
        self.held: dict[str, dict[str, Tensor]] = {}
        """By name, what is remembered: ``exp_avg``, and of AdamW's weights ``exp_avg_sq`` and ``step``."""

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """A step along the gradients that stand in the weights; a weight without one is left alone."""
        moving = [name for name, weight in self.weights.items() if weight.grad is not None]
        for name in moving:
            if name not in self.held:
                self.held[name] = self._nothing(name)
        plain = [name for name in moving if name not in self.turned]
        self._adamw([name for name in plain if self.weights[name].ndim >= 2], rate, self.plan.weight_decay)
        self._adamw([name for name in plain if self.weights[name].ndim < 2], rate, 0.0)
        self._muon([name for name in moving if name in self.turned], rate)

    def clear(self) -> None:
        """Forget the gradients."""
        for weight in self.weights.values():
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Everything that is remembered: ``exp_avg/NAME`` and so on."""
        return {f"{key}/{name}": tensor for name, stored in self.held.items() for key, tensor in stored.items()}

    def restore(self, arrays: Mapping[str, Tensor]) -> None:
        """Remember what another one of its kind did; other names are ignored."""
        for name in self.weights:
            saved = {key: arrays.get(f"{key}/{name}") for key in self._nothing(name)}
            device = self.weights[name].device
            if all(tensor is not None for tensor in saved.values()):
                self.held[name] = {
                    key: tensor.clone().to(device) for key, tensor in saved.items() if tensor is not None
                }

    def _nothing(self, name: str) -> dict[str, Tensor]:
        weight = self.weights[name]
        if name in self.turned:
            return {"exp_avg": torch.zeros_like(weight)}
        count = torch.zeros((), dtype=torch.float32, device=weight.device)
        return {"step": count, "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}

    def _adamw(self, names: Sequence[str], rate: float, decay: float) -> None:
        if not names:
            return
        weights = [self.weights[name] for name in names]
        grads = [weight.grad for weight in weights if weight.grad is not None]
        first, second, counts = ([self.held[name][key] for name in names] for key in ("exp_avg", "exp_avg_sq", "step"))
        low, high = self.plan.betas
        adamw(
            weights,
            grads,
            first,
            second,
            [],
            counts,
            fused=True,
            amsgrad=False,
            beta1=low,
            beta2=high,
            lr=rate,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )

    def _muon(self, names: Sequence[str], rate: float) -> None:
        """Matrices of one shape are turned together."""
        shapes = dict.fromkeys(self.weights[name].shape for name in names)
        for shape in shapes:
            alike = [name for name in names if self.weights[name].shape == shape]
            leaning = [self._leaning(name) for name in alike]
            steps_NIO = newton_schulz(torch.stack(leaning)) * (rate * size(shape))
            for name, step in zip(alike, steps_NIO.unbind(), strict=True):
                self.weights[name].mul_(1 - rate * self.plan.weight_decay).sub_(step)

    def _leaning(self, name: str) -> Tensor:
        """Where the gradient and its momentum point (Nesterov's)."""
        grad, momentum = self.weights[name].grad, self.held[name]["exp_avg"]
        assert grad is not None
        momentum.lerp_(grad, 1 - MOMENTUM)
        return grad.lerp(momentum, MOMENTUM)


def muon_parameters(shapes: Mapping[str, tuple[int, ...]], plan: TrainSpec) -> Collection[str]:
    """Names of the weights that are Muon's: matrices of a block, which map the stream onto itself."""
    if plan.optimizer != "muon":
        return ()
    return frozenset(name for name, shape in shapes.items() if len(shape) == 2 and name.startswith("blocks."))


def size(shape: Sequence[int]) -> float:
    """What gives an orthogonal step of that shape the root mean square of a step of AdamW."""
    return 0.2 * math.sqrt(max(shape[-2:]))
