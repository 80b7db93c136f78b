"""Steps in bf16 are close to float32 ones but not equal, with float32 weights throughout; tf32 needs a GPU."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention import ATTENTIONS
from attnlab.block import Block
from attnlab.choices import NormPlace
from attnlab.errors import AttnlabError, DeviceError
from attnlab.specs import Modifiers, Part, RunSpec, TaskSpec
from attnlab.tasks import Batch
from attnlab.tasks.io.streams import Source
from attnlab.training.precision import check_precision, matmul_precision
from attnlab.training.stepper import SingleStepper, Stepper, batch_to_device
from attnlab.training.vmap_stepper import VmapStepper
from tests.training.runs import tiny

CPU = torch.device("cpu")
VARIANTS = [entry.name for entry in ATTENTIONS]
MODIFIERS = Modifiers(qk_norm=True, gate="head", short_conv=3, value_residual="learned")


def steppers(spec: RunSpec) -> tuple[SingleStepper, VmapStepper, Source]:
    source = Source(spec.task, spec.seed)
    return SingleStepper(spec, source, CPU), VmapStepper([spec], [source], CPU), source


def losses(stepper: Stepper, source: Source, steps: int = 3) -> list[float]:
    for index in range(steps):
        stepper.step({0: source.training(index, 8)}, {0: 1e-2})
    return stepper.losses()[0]


def modified(spec: RunSpec, modifiers: Modifiers) -> RunSpec:
    return spec.model_copy(update={"model": spec.model.model_copy(update={"modifiers": modifiers})})


@pytest.mark.parametrize("modifiers", [Modifiers(), MODIFIERS], ids=["plain", "modified"])
@pytest.mark.parametrize("attention", VARIANTS)
def test_bf16_is_close_to_float32_in_single_and_vmapped_runs(attention: str, modifiers: Modifiers) -> None:
    try:
        exact, _, source = steppers(modified(tiny(attention), modifiers))
    except AttnlabError:
        assert modifiers == MODIFIERS
        pytest.skip("the attention does not take every modifier")
    single, vmapped, _ = steppers(modified(tiny(attention, precision="bf16"), modifiers))
    expected, rounded, stacked = (losses(stepper, source) for stepper in (exact, single, vmapped))
    assert rounded != expected
    assert rounded == pytest.approx(expected, rel=0.03)
    assert stacked == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("norm_layer", ["layernorm", "rmsnorm", "dyt"])
@pytest.mark.parametrize("block", ["sequential", "parallel"])
@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("residual", [True, False])
def test_the_residual_stream_is_float32_however_a_model_is_wired(
    norm: NormPlace, residual: bool, block: str, norm_layer: str
) -> None:
    wiring = {"norm": norm, "residual": residual, "block": Part(name=block), "norm_layer": Part(name=norm_layer)}
    spec = tiny(precision="bf16")
    spec = spec.model_copy(update={"model": spec.model.model_copy(update=wiring)})
    single, vmapped, source = steppers(spec)
    streams: list[torch.dtype] = []
    for one in single.model.modules():
        if isinstance(one, Block):
            one.register_forward_hook(lambda _, inputs, output: streams.extend([inputs[0].dtype, output[0].dtype]))
    alone, stacked = losses(single, source), losses(vmapped, source)
    assert set(streams) == {torch.float32}
    assert stacked == pytest.approx(alone, rel=0.03)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "fourier", "rotary", "alibi"])
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


MOSTLY_ZEROS = TaskSpec(name="recall", options={"length": 256, "vocabulary": 64, "pairs": 4, "filler": "zeros"})
"""Nearly every token is a zero: the gradient of its embedding is a sum of many small ones."""


def gradients(stepper: SingleStepper | VmapStepper, batch: Batch) -> dict[str, torch.Tensor]:
    """The gradient of each weight at the first step, by name."""
    if isinstance(stepper, SingleStepper):
        _, *found = stepper._gradients_of(*batch_to_device(batch, CPU))
        return {name: grad for name, grad in zip(stepper.optimizer.weights, found, strict=True) if grad is not None}
    _, *leaves = stepper._gradients_of([0], [1], *stepper._to_device([batch]))
    return {name: grad[0] for name, grad in zip(stepper.optimizer.leaves, leaves, strict=True) if grad is not None}


@pytest.mark.parametrize("width", [16, 64])
def test_gradients_of_frequent_tokens_and_norms_are_right(width: int) -> None:
    spec = tiny(task=MOSTLY_ZEROS)
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"width": width})})
    source = Source(spec.task, spec.seed)
    batch = source.training(0, 2048 // width)
    rounded = spec.model_copy(update={"train": spec.train.model_copy(update={"precision": "bf16"})})
    expected = gradients(SingleStepper(spec, source, CPU), batch)
    for stepper in (SingleStepper(rounded, source, CPU), VmapStepper([rounded], [source], CPU)):
        found = gradients(stepper, batch)
        assert found.keys() == expected.keys()
        for name, exact in expected.items():
            rows = (1, -1) if exact.ndim == 1 else (len(exact), -1)
            error, size = ((one.reshape(rows)).norm(dim=1) for one in (found[name] - exact, exact))
            share = error / size.clamp_min(1e-30)  # some positions and ids occur in no sequence
            assert share.median() <= 0.02, name
            assert share.max() <= 0.05, name
