"""Denormal numbers are zero within steps, and the setting of the thread is restored afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from attnlab.model.transformer import Transformer
from attnlab.specs import RunSpec, TaskSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.denormals import flush_denormals, flushes_denormals
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper

CPU = torch.device("cpu")
SPEC = RunSpec(task=TaskSpec(name="copy", options={"symbols": 3}))


@pytest.fixture(autouse=True)
def restore_setting() -> Iterator[None]:
    """Other tests of this process need denormal numbers."""
    yield
    torch.set_flush_denormal(False)


def product() -> float:
    return float(torch.tensor([1e-30]) * 1e-10)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormals")
def test_denormals_are_zero_within_the_context_and_only_there() -> None:
    assert product() > 0
    with flush_denormals():
        assert flushes_denormals()
        assert product() == 0
        with flush_denormals():
            assert product() == 0
        assert product() == 0
    assert not flushes_denormals()
    assert product() > 0


def test_the_setting_is_restored_after_an_error() -> None:
    with pytest.raises(KeyError), flush_denormals():
        raise KeyError
    assert not flushes_denormals()


def test_a_setting_that_was_on_before_stays_on() -> None:
    supported = torch.set_flush_denormal(True)
    with flush_denormals():
        pass
    assert flushes_denormals() == supported


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormals")
@pytest.mark.parametrize("runs", [1, 2])
def test_steps_and_predictions_flush_denormals(runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    hidden_states = Transformer.hidden_states

    def recording(self: Transformer, residual_BTD: Tensor, *rest: object) -> object:
        seen.append(flushes_denormals())
        return hidden_states(self, residual_BTD, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Transformer, "hidden_states", recording)
    specs = [SPEC.model_copy(update={"seed": seed}) for seed in range(runs)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    stepper = SingleStepper(specs[0], sources[0], CPU) if runs == 1 else VmapStepper(specs, sources, CPU)
    batches = {index: source.training(0, 4) for index, source in enumerate(sources)}
    before = len(seen)
    stepper.step(batches, dict.fromkeys(batches, 1e-3))
    stepped = len(seen)
    stepper.predict_each({index: [batch] for index, batch in batches.items()})
    assert before < stepped < len(seen)
    assert all(seen[before:])
    assert not flushes_denormals()


TRAINING = 'train("recall", train={"max_steps": 2}, store=None)'
BUDGET_MATCHING = """
parts = [(Part(name=name),) for name in ("gpam", "softmax")]
plan(Request(task=Part(name="recall"), attentions=parts[:1], match="flops", reference=parts[1]))
"""
SCRIPT = """
import torch
from attnlab import train
from attnlab.specs import Part
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
torch.set_num_threads(2)
{start}
{statement}
torch.set_flush_denormal(True)
one = torch.full((2_000_000,), 1e-30) * 1e-10
print(int(torch.count_nonzero(one)))
"""


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormals")
@pytest.mark.parametrize("start", ["", "torch.full((2_000_000,), 1e-30).mul_(2)"], ids=["none", "started"])
@pytest.mark.parametrize("statement", [TRAINING, BUDGET_MATCHING], ids=["training", "matching"])
def test_the_threads_of_torch_have_the_setting(statement: str, start: str) -> None:
    """Those that a step starts inherit it; those that were started before are given it."""
    script = SCRIPT.format(start=start, statement=statement)
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.split()[-1] == "0"
