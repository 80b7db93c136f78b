"""Steps in bfloat16: near those in float32 and not equal to them, weights float32 throughout; tf32 where it exists."""

from __future__ import annotations

import pytest
import torch

from attnlab.errors import DeviceError
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.precision import check_precision, products
from attnlab.training.stepper import SingleStepper, Stepper
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import tiny

CPU = torch.device("cpu")
VARIANTS = ["softmax", "expressive", "dape", "gpam", "linear", "delta"]


def steppers(spec: RunSpec) -> tuple[SingleStepper, VmapStepper, Source]:
    source = Source(spec.task, spec.seed)
    return SingleStepper(spec, source, CPU), VmapStepper([spec], [source], CPU), source


def losses(stepper: Stepper, source: Source, steps: int = 3) -> list[float]:
    for index in range(steps):
        stepper.step({0: source.training(index, 8)}, {0: 1e-2})
    return stepper.losses()[0]


@pytest.mark.parametrize("attention", VARIANTS)
def test_bf16_is_near_float32_alone_and_in_lanes(attention: str) -> None:
    exact, _, source = steppers(tiny(attention))
    alone, runs, _ = steppers(tiny(attention, precision="bf16"))
    true, rough, stacked = (losses(stepper, source) for stepper in (exact, alone, runs))
    assert rough != true
    assert rough == pytest.approx(true, rel=0.03)
    assert stacked == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary", "alibi"])
def test_weights_moments_and_answers_stay_float32(position: str) -> None:
    stepper, runs, source = steppers(tiny(position=position, precision="bf16"))
    losses(stepper, source)
    losses(runs, source)
    stored = [*stepper.model.state_dict().values(), *stepper.optimizer.state().values(), runs.block.weights_KP]
    assert {tensor.dtype for tensor in stored} == {torch.float32}
    batch = source.training(9, 8)
    exact = SingleStepper(tiny(position=position), source, CPU)
    exact.restore({f"weight/{name}": array for name, array in stepper.weights(0).items()})
    assert exact.predict(0, [batch])[0].loss_sum == stepper.predict(0, [batch])[0].loss_sum


def test_products_are_less_exact_for_as_long_as_asked() -> None:
    before = torch.get_float32_matmul_precision()
    with products("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
    with products("bf16"):
        assert torch.get_float32_matmul_precision() == before


def test_tf32_is_refused_where_there_is_none() -> None:
    check_precision([tiny(precision="tf32")], "cuda")
    check_precision([tiny(precision="bf16"), tiny()], "cpu")
    with pytest.raises(DeviceError) as caught:
        check_precision([tiny(), tiny(precision="tf32")], "cpu")
    assert str(caught.value) == (
        "train.precision\n  tf32 is a precision of NVIDIA's GPUs, and the steps would be taken on: cpu.\n"
        "  Leave precision out, or set it to bf16."
    )
