"""The optimizer of one model: torch's AdamW bit for bit, Muon by its formula, and which weights each trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnlab.specs import TrainSpec
from attnlab.tensors import ParameterRole
from attnlab.training._newton_schulz import newton_schulz
from attnlab.training._optimizer import Optimizer, muon_parameters

SHAPES: dict[str, tuple[int, ...]] = {
    "embedding.weight": (7, 4),
    "blocks.0.query": (4, 4),
    "blocks.0.rise": (12, 4),
    "blocks.1.query": (4, 4),
    "blocks.0.norm": (4,),
    "blocks.0.filter": (2, 1, 3),
    "blocks.0.unused": (4, 4),
    "head": (4, 7),
}
ROLES = {
    name: ParameterRole(int(name.split(".")[1]) + 1, "extra") if "blocks" in name else ParameterRole(None, "head")
    for name in SHAPES
}
MUON_NAMES = {"blocks.0.query", "blocks.0.rise", "blocks.1.query", "blocks.0.unused"}


def noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weights() -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(noise(index, shape)) for index, (name, shape) in enumerate(SHAPES.items())}


def gradients(step: int) -> dict[str, Tensor | None]:
    grads = {name: noise(100 * (step + 1) + i, shape) for i, (name, shape) in enumerate(SHAPES.items())}
    return {name: None if name.endswith("unused") else grad for name, grad in grads.items()}


def take_steps(optimizer: Optimizer, own: dict[str, nn.Parameter], steps: range) -> None:
    for step in steps:
        for name, grad in gradients(step).items():
            own[name].grad = grad
        optimizer.step(0.1 / (step + 1))


def test_adamw_equals_torchs_bit_for_bit() -> None:
    own, theirs = weights(), weights()
    take_steps(Optimizer(own, TrainSpec(weight_decay=0.3), ROLES), own, range(4))
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in theirs.values() if weight.ndim >= 2], "weight_decay": 0.3},
        {"params": [weight for weight in theirs.values() if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=TrainSpec().betas, fused=True)
    for step in range(4):
        for name, grad in gradients(step).items():
            theirs[name].grad = grad
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (step + 1)
        optimizer.step()
    assert all(torch.equal(own[name], theirs[name]) for name in SHAPES)


def test_muon_trains_the_matrices_of_blocks_and_nothing_else() -> None:
    assert muon_parameters(SHAPES, TrainSpec(optimizer="muon"), ROLES) == MUON_NAMES
    assert not muon_parameters(SHAPES, TrainSpec(), ROLES)
    own, theirs = weights(), weights()
    take_steps(Optimizer(own, TrainSpec(optimizer="muon"), ROLES), own, range(3))
    take_steps(Optimizer(theirs, TrainSpec(), ROLES), theirs, range(3))
    unchanged_by_muon = {name for name in SHAPES if torch.equal(own[name], theirs[name])}
    assert unchanged_by_muon == (SHAPES.keys() - MUON_NAMES) | {"blocks.0.unused"}


def test_muon_takes_the_steps_of_its_formula() -> None:
    own = weights()
    expected = {name: own[name].detach().clone() for name in MUON_NAMES}
    momenta = {name: torch.zeros_like(weight) for name, weight in expected.items()}
    take_steps(Optimizer(own, TrainSpec(optimizer="muon", weight_decay=0.3), ROLES), own, range(3))
    for step in range(3):
        for name, grad in gradients(step).items():
            if name in MUON_NAMES and grad is not None:
                rate = 0.1 / (step + 1)
                momenta[name] = 0.95 * momenta[name] + 0.05 * grad
                direction = 0.05 * grad + 0.95 * momenta[name]
                update = 0.2 * max(grad.shape) ** 0.5 * newton_schulz(direction[None])[0]
                expected[name] = expected[name] * (1 - rate * 0.3) - rate * update
    for name in MUON_NAMES:
        torch.testing.assert_close(own[name].detach(), expected[name], rtol=1e-4, atol=1e-5)


def test_a_weight_without_gradient_is_left_unchanged() -> None:
    own = weights()
    own["head"].requires_grad_(False)
    optimizer = Optimizer(own, TrainSpec(), ROLES)
    assert "head" not in optimizer.weights
    take_steps(optimizer, own, range(1))
    assert torch.equal(own["head"], weights()["head"])


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_restored_optimizer_continues_bit_for_bit(name: str) -> None:
    plan = TrainSpec.model_validate({"optimizer": name})
    own = weights()
    one = Optimizer(own, plan, ROLES)
    take_steps(one, own, range(2))
    others = {name: nn.Parameter(weight.detach().clone()) for name, weight in own.items()}
    other = Optimizer(others, plan, ROLES)
    other.restore(one.state())
    take_steps(one, own, range(2, 4))
    take_steps(other, others, range(2, 4))
    assert all(torch.equal(own[name], others[name]) for name in SHAPES)
    assert one.state().keys() == other.state().keys()


def test_cleared_gradients_change_no_weight() -> None:
    own = weights()
    optimizer = Optimizer(own, TrainSpec(), ROLES)
    take_steps(optimizer, own, range(1))
    before = {name: weight.detach().clone() for name, weight in own.items()}
    optimizer.clear()
    optimizer.step(0.1)
    assert all(torch.equal(own[name], before[name]) for name in SHAPES)
