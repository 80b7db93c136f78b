"""Steps in bf16 are close to float32 ones but not equal, with float32 weights throughout; tf32 needs a GPU."""

from __future__ import annotations

import pytest
import torch

from attnlab.errors import DeviceError
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.precision import check_precision, matmul_precision
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
def test_bf16_is_close_to_float32_in_single_and_vmapped_runs(attention: str) -> None:
    exact, _, source = steppers(tiny(attention))
    single, vmapped, _ = steppers(tiny(attention, precision="bf16"))
    expected, rounded, stacked = (losses(stepper, source) for stepper in (exact, single, vmapped))
    assert rounded != expected
    assert rounded == pytest.approx(expected, rel=0.03)
    assert stacked == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary", "alibi"])
def test_weights_moments_and_predictions_stay_float32(position: str) -> None:
    stepper, vmapped, source = steppers(tiny(position=position, precision="bf16"))
    losses(stepper, source)
    losses(vmapped, source)
    tensors = [*stepper.model.state_dict().values(), *stepper.optimizer.state().values(), vmapped.optimizer.weights_KP]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    batch = source.training(9, 8)
    exact = SingleStepper(tiny(position=position), source, CPU)
    exact.restore(0, {f"weight/{name}": array for name, array in stepper.weights(0).items()})
    assert exact.predict(0, [batch])[0].loss_sum == stepper.predict(0, [batch])[0].loss_sum


def test_tf32_holds_within_the_context() -> None:
    before = torch.get_float32_matmul_precision()
    with matmul_precision("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
    with matmul_precision("bf16"):
        assert torch.get_float32_matmul_precision() == before


def test_tf32_is_refused_without_a_gpu() -> None:
    check_precision([tiny(precision="tf32")], "cuda")
    check_precision([tiny(precision="bf16"), tiny()], "cpu")
    with pytest.raises(DeviceError) as caught:
        check_precision([tiny(), tiny(precision="tf32")], "cpu")
    assert str(caught.value) == (
        "train.precision\n  The precision tf32 needs an NVIDIA GPU; these runs are trained on the device 'cpu'.\n"
        "  Leave precision out, or set it to bf16."
    )
