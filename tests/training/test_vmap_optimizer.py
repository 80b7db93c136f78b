"""AdamW on a block of vmapped runs, compared with torch's on each run; Muon, compared with the single optimizer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.specs import TrainSpec
from attnlab.tensors import ParameterRole
from attnlab.training._optimizer import Optimizer
from attnlab.training._vmap_optimizer import VmapOptimizer

CPU = torch.device("cpu")
PLANS = [
    TrainSpec(weight_decay=0.0, grad_clip=None),
    TrainSpec(weight_decay=0.3, grad_clip=0.05),
    TrainSpec(weight_decay=0.1, grad_clip=100.0),
]
SHAPES: dict[str, tuple[int, ...]] = {
    "matrix": (3, 4),
    "vector": (5,),
    "number": (),
    "filter": (2, 1, 3),
    "unused": (2, 2),
}


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def models() -> list[dict[str, Tensor]]:
    return [{name: noise(10 * run + i, shape) for i, (name, shape) in enumerate(SHAPES.items())} for run in range(3)]


def gradients_at(step: int) -> list[Tensor | None]:
    """A gradient for each weight, K x its shape; None for the one that is not used."""
    grads = [noise(1000 * (step + 1) + i, (3, *shape)) for i, shape in enumerate(SHAPES.values())]
    return [None if name == "unused" else grad for name, grad in zip(SHAPES, grads, strict=True)]


def rates_at(step: int) -> list[float]:
    return [1e-2 / (step + 1), 3e-3, 0.1]


def torch_weights(run: int, steps: int) -> dict[str, Tensor]:
    """The weights of a run after steps of torch's own AdamW and clipping."""
    weights = {name: torch.nn.Parameter(weight) for name, weight in models()[run].items()}
    plan = PLANS[run]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights.values() if weight.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [weight for weight in weights.values() if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=plan.betas)
    for step in range(steps):
        for weight, grad in zip(weights.values(), gradients_at(step), strict=True):
            weight.grad = None if grad is None else grad[run].clone()
        if plan.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(weights.values(), plan.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = rates_at(step)[run]
        optimizer.step()
    return {name: weight.detach() for name, weight in weights.items()}


@pytest.mark.parametrize("steps", [1, 5])
def test_each_run_takes_the_steps_of_torchs_adamw(steps: int) -> None:
    block = VmapOptimizer(models(), PLANS, CPU, {})
    for step in range(steps):
        block.step(gradients_at(step), rates_at(step))
    for run in range(3):
        for name, expected in torch_weights(run, steps).items():
            torch.testing.assert_close(block.leaves[name][run].detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_each_run_takes_the_steps_it_would_take_alone(optimizer: str) -> None:
    plans = [plan.model_copy(update={"optimizer": optimizer, "grad_clip": None}) for plan in PLANS]
    named = [{f"blocks.0.{name}": weight for name, weight in model.items()} for model in models()]
    roles = {name: ParameterRole(1, "extra") for name in named[0]}
    block = VmapOptimizer(named, plans, CPU, roles)
    for run, plan in enumerate(plans):
        own = {name: torch.nn.Parameter(weight) for name, weight in named[run].items()}
        alone = Optimizer(own, plan, roles)
        for step in range(4):
            for weight, grad in zip(own.values(), gradients_at(step), strict=True):
                weight.grad = None if grad is None else grad[run]
            alone.step(rates_at(step)[run])
            if run == 0:
                block.step(gradients_at(step), rates_at(step))
        for name, expected in own.items():
            torch.testing.assert_close(block.leaves[name][run].detach(), expected.detach(), rtol=1e-10, atol=1e-10)


def test_weights_are_views_of_the_block() -> None:
    block = VmapOptimizer(models(), PLANS, CPU, {})
    block.weights_KP[1] = 7.0
    assert all(bool((leaf[1] == 7).all()) and not bool((leaf[0] == 7).any()) for leaf in block.leaves.values())
    assert {name: tuple(leaf.shape[1:]) for name, leaf in block.leaves.items()} == SHAPES


def test_a_repacked_block_continues_unchanged() -> None:
    block = VmapOptimizer(models(), PLANS, CPU, {})
    for step in range(2):
        block.step(gradients_at(step), rates_at(step))
    block.keep([1, 2])
    assert block.weights_KP.untyped_storage().nbytes() == 2 * 8 * sum(weight.numel() for weight in models()[0].values())
    for step in range(2, 5):
        grads = [None if grad is None else grad[1:] for grad in gradients_at(step)]
        block.step(grads, rates_at(step)[1:])
    for row, run in enumerate((1, 2)):
        for name, expected in torch_weights(run, 5).items():
            torch.testing.assert_close(block.leaves[name][row].detach(), expected, rtol=1e-12, atol=1e-12)


def test_an_infinite_gradient_affects_its_own_run_alone() -> None:
    block, clean = VmapOptimizer(models(), PLANS, CPU, {}), VmapOptimizer(models(), PLANS, CPU, {})
    grads = gradients_at(0)
    clean.step(gradients_at(0), rates_at(0))
    assert grads[0] is not None
    grads[0][1, 0, 0] = torch.inf
    block.step(grads, rates_at(0))
    assert torch.equal(block.weights_KP[[0, 2]], clean.weights_KP[[0, 2]])
    assert not bool(block.weights_KP[1].isfinite().all())
