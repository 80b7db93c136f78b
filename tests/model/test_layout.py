"""Weights that are views with other strides: each is moved by its own gradient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from attnlab.experiments.plan import plan
from attnlab.experiments.request import parse_request
from attnlab.model._layout import make_contiguous
from attnlab.model.module import MODULES
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.stepper import SingleStepper
from attnlab.training.vmap_stepper import VmapStepper

CPU = torch.device("cpu")
STEPS = 3
RATE = 0.1
FILE = '''
import torch
from torch import nn
from torch.nn import functional

class Plain(nn.Module):
    """A mixer of two tokens whose weights are laid out as usual."""

    def __init__(self, vocab_size):
        super().__init__()
        self.embedding = nn.Parameter(self.laid_out(torch.randn(vocab_size, 4)))
        self.taps = nn.Parameter(self.laid_out(torch.randn(2, 4)))
        self.head = nn.Parameter(self.laid_out(torch.randn(4, vocab_size)))

    def laid_out(self, weight):
        return weight

    def forward(self, tokens):
        x = functional.embedding(tokens, self.embedding)
        before = functional.pad(x, (0, 0, 1, 0))[:, :-1]
        return (self.taps[0] * x + self.taps[1] * before) @ self.head

class Views(Plain):
    """The same; its matrices are transposes."""

    def laid_out(self, weight):
        return weight.t().contiguous().t()
'''


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    entries = dict(MODULES._entries)
    yield
    MODULES._entries.clear()
    MODULES._entries.update(entries)


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[RunSpec]]:
    """Two runs of each class."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(FILE)
    train = {"train": {"max_steps": STEPS, "batch_size": 8}}
    return {
        name: plan(parse_request("copy", modules=f"own.py:{name}", complexity=4, seeds=range(2), settings=train))
        for name in ("Plain", "Views")
    }


def test_views_are_trained_as_copies_are(specs: dict[str, list[RunSpec]]) -> None:
    weights = []
    for (spec, _), source in ((own, Source(own[0].task, own[0].seed)) for own in specs.values()):
        stepper = SingleStepper(spec, source, CPU)
        start = {name: weight.detach().clone() for name, weight in stepper.model.named_parameters()}
        for step in range(STEPS):
            stepper.step({0: source.training(step, 8)}, {0: RATE})
        weights.append(dict(stepper.model.named_parameters()))
        assert all((weights[-1][name] != start[name]).any() for name in start)
    plain, views = weights
    torch.testing.assert_close(views, plain, rtol=0, atol=0)


def test_views_are_trained_stacked_as_alone(specs: dict[str, list[RunSpec]]) -> None:
    own = specs["Views"]
    sources = [Source(spec.task, spec.seed) for spec in own]
    stacked = VmapStepper(own, sources, CPU)
    alone = [SingleStepper(spec, source, CPU) for spec, source in zip(own, sources, strict=True)]
    for step in range(STEPS):
        batches = {index: source.training(step, 8) for index, source in enumerate(sources)}
        stacked.step(batches, dict.fromkeys(batches, RATE))
        for index, batch in batches.items():
            alone[index].step({0: batch}, {0: RATE})
    for index, stepper in enumerate(alone):
        torch.testing.assert_close(
            stacked.model_of(index).state_dict(), stepper.model.state_dict(), rtol=1e-5, atol=1e-6
        )


def test_every_element_has_memory_of_its_own() -> None:
    layer = torch.nn.Linear(4, 3)
    layer.weight = torch.nn.Parameter(torch.randn(1, 4).expand(3, -1))
    before_OI = layer.weight.detach().clone()
    make_contiguous(layer)
    assert layer.weight.untyped_storage().nbytes() == before_OI.untyped_storage().nbytes()
    torch.testing.assert_close(layer.weight.detach(), before_OI, rtol=0, atol=0)
