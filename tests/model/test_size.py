"""The memory of a model, counted without its content."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from attnlab.attention.named import attention_words
from attnlab.model.size import LAYER_OVERHEAD, model_bytes
from attnlab.model.transformer import build_model
from attnlab.sizes import TOO_MANY
from attnlab.specs import ModelSpec, Part

SIZES = {"vocabulary": 11, "length": 13}


def real_bytes(spec: ModelSpec) -> int:
    model = build_model(spec, **SIZES, seed=0)
    return sum(one.numel() * one.element_size() for one in [*model.parameters(), *model.buffers()])


@pytest.mark.parametrize("attention", ["softmax", "dape", "mamba2", "performer", "rwkv7", "latent"])
@pytest.mark.parametrize("position", ["learned", "none"])
def test_the_count_is_that_of_the_built_model(attention: str, position: str) -> None:
    spec = ModelSpec(width=16, heads=2, layers=3, attention=(Part(name=attention),), position=Part(name=position))
    assert model_bytes(spec, **SIZES) == real_bytes(spec) + 3 * LAYER_OVERHEAD


def test_a_deep_model_is_extrapolated() -> None:
    spec = ModelSpec(width=4, heads=1, layers=70)
    assert model_bytes(spec, **SIZES) == real_bytes(spec) + 70 * LAYER_OVERHEAD


def test_an_option_of_a_part_is_counted() -> None:
    part = Part(name="dape", options={"width": 10**9})
    counted = model_bytes(ModelSpec(width=16, heads=2, attention=(part,)), **SIZES)
    assert counted is not None
    assert counted > 4 * 10**9


def test_sizes_that_overflow_are_too_many_and_a_broken_model_is_left_to_the_builder() -> None:
    assert (model_bytes(ModelSpec(width=2**40), **SIZES) or 0) >= TOO_MANY
    assert (model_bytes(ModelSpec(mlp_ratio=1e300), **SIZES) or 0) >= TOO_MANY
    assert model_bytes(ModelSpec(width=5, heads=2), **SIZES) is None


def test_counting_draws_nothing() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    model_bytes(ModelSpec(), **SIZES)
    assert torch.equal(before, torch.random.get_rng_state())


class Mixer(nn.Module):
    """A module of a user that remembers where it was called."""

    devices: ClassVar[list[str]] = []

    def __init__(self, width: int) -> None:
        super().__init__()
        self.line = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        self.devices.append(x_BTD.device.type)
        mixed_BTD: Tensor = self.line(x_BTD)
        return mixed_BTD


def test_counting_calls_no_module_of_a_user() -> None:
    """A gated recurrent unit of torch 2.13 takes seconds for a few tokens on the meta device."""
    spec = ModelSpec(layers=3, attention=(Part(name=attention_words([Mixer])[0]),))
    assert model_bytes(spec, **SIZES) == real_bytes(spec) + 3 * LAYER_OVERHEAD
    assert "meta" not in Mixer.devices
    assert "cpu" in Mixer.devices
