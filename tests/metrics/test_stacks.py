"""Twelve random layers: the residuals of published stacks, measured on models of attnlab, in float64.

The stacks have no MLP, because the reference does not say which kind it has. Its output projections have variance 1/D;
ours start smaller by sqrt(2 L) and are scaled to it. The reference values are means over five runs, so a mean over ten
of ours may differ from them by three standard errors of the difference.
"""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.metrics.decay import decay
from attnlab.metrics.gradients import gradients, weight_groups
from attnlab.metrics.measure import LayerValue, measure_trace
from attnlab.model.transformer import Block, Transformer, build
from attnlab.specs import ModelSpec, Part
from attnlab.tensors import ActivationTrace
from tests.builders import all_positions, noise, seeded

LAYERS, LENGTH, SEEDS = 12, 32, 10
LAYERS_COMPARED = (1, 2, 3, 6, 12)
SOFTMAX = Part(name="softmax")


def random_model(
    seed: int, attention: Part, *, residual: bool, norm: str, mlp_ratio: float, batch: int = 1
) -> Transformer:
    """A stack with branches of the scale of their inputs, and an embedding for each token."""
    spec = ModelSpec.model_validate(
        {"layers": LAYERS, "width": 64, "heads": 4, "mlp_ratio": mlp_ratio, "norm": norm, "residual": residual}
        | {"attention": attention, "position": "none"}
    )
    model = build(spec, vocabulary=batch * LENGTH, length=LENGTH, seed=seed).double()
    with torch.no_grad():
        for block in model.blocks:
            assert isinstance(block, Block)
            block.attention.out_proj.weight.mul_(math.sqrt(2 * LAYERS))
            if block.mlp is not None:
                block.mlp.down_proj.weight.mul_(math.sqrt(2 * LAYERS))
    return model


def distinct_tokens(seed: int, batch: int = 1) -> Tensor:
    """Sequences in which no token repeats."""
    return torch.randperm(batch * LENGTH, generator=seeded(seed)).view(batch, LENGTH)


@cache
def layer_values(residual: bool, norm: str, name: str) -> tuple[tuple[LayerValue, ...], ...]:
    """Ten runs of a metric."""
    result = []
    for seed in range(SEEDS):
        inputs = distinct_tokens(seed)
        model = random_model(seed, SOFTMAX, residual=residual, norm=norm, mlp_ratio=0.0)
        with torch.no_grad():
            trace: ActivationTrace = model(inputs, all_positions(inputs), trace=True).trace[0]
        result.append(measure_trace(trace, [name])[name])
    return tuple(result)


def compare(values: Tensor, known: float) -> None:
    """Means over ten runs and five."""
    assert abs(float(values.mean()) - known) <= 3 * float(values.std()) * math.sqrt(1 / SEEDS + 1 / 5) + 5e-4


@pytest.mark.parametrize(
    ("residual", "norm", "residuals", "cosine"),
    [
        (False, "none", (0.82, 0.62, 0.44, 0.13, 0.005), 1.000),
        (False, "post", (0.81, 0.57, 0.42, 0.13, 0.004), 1.000),
        (True, "pre", (0.95, 0.91, 0.83, 0.64, 0.50), 0.687),
    ],
)
def test_causal_stacks_collapse_as_published(
    residual: bool, norm: str, residuals: tuple[float, ...], cosine: float
) -> None:
    for layer, known in zip(LAYERS_COMPARED, residuals, strict=True):
        result = [run[layer].value for run in layer_values(residual, norm, "residual-composite")]
        compare(torch.tensor(result, dtype=torch.float64), known)
    result = [run[12].value for run in layer_values(residual, norm, "cosine")]
    compare(torch.tensor(result, dtype=torch.float64), cosine)


def test_a_causal_stack_decays_steadily_without_residual_connections_and_not_with_them() -> None:
    without, with_residual = (
        [decay([one.value for one in run], start=1) for run in layer_values(residual, norm, "residual-composite")]
        for residual, norm in ((False, "post"), (True, "pre"))
    )
    assert all(0.5 < one.rate < 0.75 and one.fit > 0.95 and not one.below for one in without)
    assert all(one.rate > 0.9 for one in with_residual)


def bidirectional(seed: int, norm: bool) -> list[Tensor]:
    """The residual streams of a bidirectional stack without residual connections."""
    x_BTD, width, heads = noise(1, LENGTH, 64, seed=seed), 64, 4
    states = [x_BTD]
    for layer in range(LAYERS):
        maps = [noise(width, width, seed=1000 * (seed + 1) + 10 * layer + kind) / math.sqrt(width) for kind in range(4)]
        query, key, value = ((x_BTD @ one).unflatten(-1, (heads, -1)).transpose(1, 2) for one in maps[:3])
        weights = (query @ key.mT / math.sqrt(width // heads)).softmax(-1)
        x_BTD = (weights @ value).transpose(1, 2).flatten(-2) @ maps[3]
        x_BTD = functional.layer_norm(x_BTD, (width,)) if norm else x_BTD
        states.append(x_BTD)
    return states


@pytest.mark.parametrize(("norm", "known"), [(False, (0.73, 0.018)), (True, (0.76, 0.18, 0.0043))])
def test_bidirectional_stacks_fall_below_the_floor_within_a_few_layers(norm: bool, known: tuple[float, ...]) -> None:
    runs = []
    for seed in range(SEEDS):
        result = measure_trace(ActivationTrace(tuple(bidirectional(seed, norm)), (), ()), ["residual-composite"])[
            "residual-composite"
        ]
        assert all(one.below for one in result[7:])
        assert not any(one.below for one in result[:3])
        runs.append([one.value for one in result])
    values = torch.tensor(runs, dtype=torch.float64)
    for layer, one in enumerate(known, 1):
        compare(values[:, layer], one)


def test_a_generalized_softmax_raises_the_gradient_of_the_queries() -> None:
    """This test does not separate the effect of its gain."""

    def mean(attention: Part) -> Tensor:
        runs = []
        for seed in range(3):
            model = random_model(seed, attention, residual=True, norm="pre", mlp_ratio=4.0, batch=4)
            inputs = distinct_tokens(seed, 4)
            targets = torch.randint(inputs.numel(), (inputs.numel(),), generator=seeded(seed))

            def loss(model: Transformer = model, inputs: Tensor = inputs, targets: Tensor = targets) -> Tensor:
                return functional.cross_entropy(model(inputs, all_positions(inputs)).logits_NV, targets)

            runs.append(
                [
                    one.norm
                    for one in gradients(model, [loss], weight_groups(model.parameter_roles()))
                    if one.kind == "query"
                ]
            )
        return torch.tensor(runs, dtype=torch.float64).mean(0)

    softmax = mean(SOFTMAX)
    half, whole = (mean(Part(name="gpam", options={"lambdas": "tied", "plus": plus})) / softmax for plus in (0.5, 1.0))
    assert float(half.min()) > 1.3
    assert 1.5 < float(half.mean()) < float(whole.mean()) < 4.0
