"""Numbers below the smallest normal one: zero within steps, and as the thread had them after."""

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
from attnlab.training.denormals import flush_denormals, tiny_is_zero
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper

CPU = torch.device("cpu")
SPEC = RunSpec(task=TaskSpec(name="copy", options={"symbols": 3}))


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Other tests of this process count small numbers."""
    yield
    torch.set_flush_denormal(False)


def product() -> float:
    return float(torch.tensor([1e-30]) * 1e-10)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot")
def test_they_are_zero_while_it_is_open_and_only_then() -> None:
    assert product() > 0
    with flush_denormals():
        assert tiny_is_zero()
        assert product() == 0
        with flush_denormals():
            assert product() == 0
        assert product() == 0
    assert not tiny_is_zero()
    assert product() > 0


def test_it_closes_where_what_it_holds_fails() -> None:
    with pytest.raises(KeyError), flush_denormals():
        raise KeyError
    assert not tiny_is_zero()


def test_who_asked_torch_for_it_keeps_it() -> None:
    can = torch.set_flush_denormal(True)
    with flush_denormals():
        pass
    assert tiny_is_zero() == can


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot")
@pytest.mark.parametrize("runs", [1, 2])
def test_steps_and_answers_are_taken_within_it(runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    read = Transformer.read

    def watched(self: Transformer, stream_BTD: Tensor, *rest: object) -> object:
        seen.append(tiny_is_zero())
        return read(self, stream_BTD, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Transformer, "read", watched)
    specs = [SPEC.model_copy(update={"seed": seed}) for seed in range(runs)]
    sources = [Source(spec.task, spec.seed) for spec in specs]
    stepper = SingleStepper(specs[0], sources[0], CPU) if runs == 1 else VmapStepper(specs, sources, CPU)
    batches = {lane: source.training(0, 4) for lane, source in enumerate(sources)}
    before = len(seen)
    stepper.step(batches, dict.fromkeys(batches, 1e-3))
    stepped = len(seen)
    stepper.predict_each({lane: [batch] for lane, batch in batches.items()})
    assert before < stepped < len(seen)
    assert all(seen[before:])
    assert not tiny_is_zero()


TRAINED = 'train("recall", train={"max_steps": 2}, store=None)'
MATCHED = """
parts = [(Part(name=name),) for name in ("gpam", "softmax")]
plan(Request(task=Part(name="recall"), attentions=parts[:1], match="flops", reference=parts[1]))
"""
ELSEWHERE = """
import torch
from attnlab import train
from attnlab.specs import Part
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
torch.set_num_threads(2)
{}
torch.set_flush_denormal(True)
one = torch.full((2_000_000,), 1e-30) * 1e-10
print(int(torch.count_nonzero(one)))
"""


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot")
@pytest.mark.parametrize("begun", [TRAINED, MATCHED], ids=["trained", "matched"])
def test_the_threads_of_a_training_inherit_it(begun: str) -> None:
    """Those that torch starts; whatever comes before a first step must not start them without."""
    done = subprocess.run([sys.executable, "-c", ELSEWHERE.format(begun)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "0"
