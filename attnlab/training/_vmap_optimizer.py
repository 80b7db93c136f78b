"""The learned numbers of K models as one block, and AdamW or Muon on that block, lane by lane.

    weights    K x P, a row per lane; every weight of the model is a window into it, K x its own shape
    clipping   g <- g min(1, c / |g|), with |g| over all of a lane's numbers
    moments    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    decay      w <- w (1 - r d) where the weight is a matrix
    step       w <- w - r m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + 1e-8)

with rate r, decay d and clip c of each lane. VmapWidth take their steps together, so n is one number for all of them.
What is Muon's (see :mod:`attnlab.training._optimizer`) keeps a momentum of its own and takes orthogonal steps.

Letters  K lanes, P numbers that one lane learns, N matrices of one shape, I rows, O columns.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from attnlab.specs import TrainSpec
from attnlab.training._newton_schulz import newton_schulz
from attnlab.training._optimizer import EPSILON, MOMENTUM, muon_parameters, size
from attnlab.training._transfer import to_device


@final
class VmapOptimizer:
    """Weights and moments of K models of one shape.

    Args:
        models: The learned weights of each lane, by name.
        plans: How each lane is trained; they differ in decay and clip at most.
        device: Where to keep the block.
    """

    def __init__(
        self, models: Sequence[Mapping[str, Tensor]], plans: Sequence[TrainSpec], device: torch.device
    ) -> None:
        self.shapes = {name: tuple(weight.shape) for name, weight in models[0].items()}
        rows = [torch.cat([weight.detach().flatten() for weight in model.values()]) for model in models]
        self.weights_KP = torch.stack(rows).to(device)
        self.first_KP, self.second_KP = torch.zeros_like(self.weights_KP), torch.zeros_like(self.weights_KP)
        self.taken = 0
        """Steps behind the moments."""
        self.betas = plans[0].betas
        self.turned = muon_parameters(self.shapes, plans[0])
        self.low_P = self._spread({name: MOMENTUM if name in self.turned else self.betas[0] for name in self.shapes})
        clips = [math.inf if plan.grad_clip is None else plan.grad_clip for plan in plans]
        self.clip_K1 = self._column(clips)
        self.decay_K1 = self._column([plan.weight_decay for plan in plans])
        self._spared: frozenset[str] | None = None
        self._window()

    def windows(self, block_KP: Tensor) -> dict[str, Tensor]:
        """A block of numbers as weights by name, K x their shape each."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = block_KP.split(sizes, dim=1)
        return {name: part.view(-1, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def keep(self, slots: Sequence[int]) -> None:
        """Repack: only these lanes are left, and the memory of the others is free."""
        chosen = torch.tensor(slots, device=self.weights_KP.device)
        self.weights_KP, self.first_KP, self.second_KP, self.clip_K1, self.decay_K1 = (
            block.index_select(0, chosen)
            for block in (self.weights_KP, self.first_KP, self.second_KP, self.clip_K1, self.decay_K1)
        )
        self._window()

    @torch.no_grad()
    def step(self, grads: Sequence[Tensor | None], rates: Sequence[float]) -> None:
        """One step of every lane at its rate.

        Args:
            grads: A gradient for each of the ``leaves``; a weight without one is left alone, as torch leaves it.
            rates: A learning rate for each lane.
        """
        self.taken += 1
        (low, high), taken = self.betas, self.taken
        named = dict(zip(self.leaves, grads, strict=True))
        decayed_P = self._decayed(frozenset(name for name, grad in named.items() if grad is None))
        whole = [torch.zeros_like(self.leaves[name]) if grad is None else grad for name, grad in named.items()]
        slope_KP = torch.cat([grad.flatten(1) if grad.ndim > 1 else grad[:, None] for grad in whole], dim=1)
        shrink_K1 = (self.clip_K1 / (slope_KP.norm(dim=1, keepdim=True) + 1e-6)).clamp_max(1.0)
        slope_KP *= shrink_K1.masked_fill(self.clip_K1.isinf(), 1.0)
        self.first_KP.lerp_(slope_KP, 1 - self.low_P)
        self.second_KP.mul_(high).addcmul_(slope_KP, slope_KP, value=1 - high)
        rate_K1 = self._column(rates)
        self.weights_KP.mul_(1 - rate_K1 * self.decay_K1 * decayed_P)
        root_KP = (self.second_KP.sqrt() / math.sqrt(1 - high**taken)).add_(EPSILON)
        step_KP = (self.first_KP / root_KP).div_(1 - low**taken)
        self._turn(step_KP, slope_KP)
        self.weights_KP.sub_(step_KP.mul_(rate_K1))

    def _turn(self, step_KP: Tensor, slope_KP: Tensor) -> None:
        """Put the steps of Muon where they belong; matrices of one shape are turned together."""
        steps, grads, momenta = (self.windows(block) for block in (step_KP, slope_KP, self.first_KP))
        for shape in dict.fromkeys(self.shapes[name] for name in self.turned):
            alike = [name for name in self.turned if self.shapes[name] == shape]
            leaning_NKIO = torch.stack([grads[name].lerp(momenta[name], MOMENTUM) for name in alike])
            for name, step_KIO in zip(alike, newton_schulz(leaning_NKIO) * size(shape), strict=True):
                steps[name].copy_(step_KIO)

    def _column(self, numbers: Sequence[float]) -> Tensor:
        """A number for each lane."""
        column_K = torch.tensor(numbers, dtype=self.weights_KP.dtype)
        return to_device(column_K.numpy(), self.weights_KP.device)[:, None]

    def _spread(self, numbers: Mapping[str, float]) -> Tensor:
        """A number for each weight, over all of its numbers."""
        sizes = torch.tensor([math.prod(shape) for shape in self.shapes.values()])
        spread_P = torch.tensor([numbers[name] for name in self.shapes], dtype=torch.float64).repeat_interleave(sizes)
        return spread_P.to(self.weights_KP)

    def _window(self) -> None:
        windows = self.windows(self.weights_KP)
        self.leaves = {name: window.detach().requires_grad_() for name, window in windows.items()}
        """The weights by name, as a forward pass takes them; they share the block's memory."""

    def _decayed(self, spared: Collection[str]) -> Tensor:
        """1 where a number decays: in matrices that take part."""
        if spared != self._spared:
            marks = {name: float(len(shape) >= 2 and name not in spared) for name, shape in self.shapes.items()}
            self._mark_P = self._spread(marks)
            self._spared = frozenset(spared)
        return self._mark_P
