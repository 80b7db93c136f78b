"""Norms, MLPs and blocks in every way in which a step is taken: vmapped, compiled, in bfloat16, with patterns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from attnlab.mlp import MLPS
from attnlab.norm import NORMS
from attnlab.specs import ModelSpec, Part, RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import tiny

CPU = torch.device("cpu")
ROTARY_THEN_NONE = Part(name="rotary", then=(Part(name="none"),))
PARTS: list[dict[str, Any]] = [
    *({"norm_layer": Part(name=entry.name)} for entry in NORMS),
    *({"mlp": (Part(name=entry.name),)} for entry in MLPS),
    {"block": Part(name="parallel")},
    {"block": Part(name="parallel", options={"shared_norm": False})},
    {"block": Part(name="parallel"), "mlp": (Part(name="swiglu"), Part(name="none")), "layers": 3},
    {"position": ROTARY_THEN_NONE, "layers": 2},
    {"position": Part(name="t5", then=(Part(name="t5"), Part(name="fire"), Part(name="kerple"))), "layers": 5},
]


def label(parts: dict[str, Any]) -> str:
    return "-".join(ModelSpec(**parts).model_dump_json(include=set(parts)).split('"')[1::2])


@pytest.fixture
def double_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def runs(parts: dict[str, Any], count: int = 3, **train: Any) -> list[RunSpec]:
    """Runs of one shape with a seed and a learning rate each."""
    specs = [tiny(seed=seed, lr=1e-3 * (seed + 1), **train) for seed in range(count)]
    return [spec.model_copy(update={"model": spec.model.model_copy(update=parts)}) for spec in specs]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("parts", PARTS, ids=label)
def test_vmapped_runs_take_the_steps_of_single_runs(parts: dict[str, Any]) -> None:
    specs = runs(parts)
    sources = [Source(spec.task, spec.seed) for spec in specs]
    vmapped = VmapStepper(specs, sources, CPU)
    singles = [SingleStepper(spec, source, CPU) for spec, source in zip(specs, sources, strict=True)]
    for step in range(3):
        batches = {index: source.training(step, 4) for index, source in enumerate(sources)}
        rates = {index: spec.train.lr for index, spec in enumerate(specs)}
        vmapped.step(batches, rates)
        for index, single in enumerate(singles):
            single.step({0: batches[index]}, {0: rates[index]})
    losses = vmapped.losses()
    for index, single in enumerate(singles):
        assert losses[index] == pytest.approx(single.losses()[0], rel=1e-9)
        weights = vmapped.model_of(index).state_dict()
        for name, expected in single.model.state_dict().items():
            torch.testing.assert_close(weights[name], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("parts", PARTS, ids=label)
def test_steps_are_finite_and_reach_every_weight(parts: dict[str, Any], precision: str) -> None:
    (spec,) = runs(parts, 1, precision=precision)
    source = Source(spec.task, spec.seed)
    stepper = SingleStepper(spec, source, CPU)
    before = {name: weight.clone() for name, weight in stepper.model.named_parameters()}
    for step in range(2):
        stepper.step({0: source.training(step, 8)}, {0: 1e-2})
    for name, weight in stepper.model.named_parameters():
        assert weight.isfinite().all(), name
        assert not torch.equal(weight, before[name]), name


@pytest.mark.parametrize(
    "parts",
    [
        {"norm_layer": Part(name="rmsnorm"), "mlp": (Part(name="swiglu"),), "block": Part(name="parallel")},
        {"norm_layer": Part(name="dyt"), "mlp": (Part(name="squared-relu"), Part(name="none")), "layers": 2},
        {"position": ROTARY_THEN_NONE, "layers": 2},
    ],
    ids=label,
)
def test_the_whole_model_is_one_graph_for_the_compiler(parts: dict[str, Any]) -> None:
    """The compiler captures the loss without a break; what it makes of the graph is the compiler's."""
    (spec,) = runs(parts, 1)
    source = Source(spec.task, spec.seed)
    model, batch = SingleStepper(spec, source, CPU).model, source.training(0, 4)
    inputs_BT, positions = torch.from_numpy(batch.inputs_BT.copy()), torch.from_numpy(batch.query_positions())
    targets_N = torch.from_numpy(batch.query_targets())
    compiled = torch.compile(model.losses, backend="aot_eager", fullgraph=True)
    results = []
    for losses in (model.losses, compiled):
        loss, _ = losses(inputs_BT, positions, targets_N)
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
