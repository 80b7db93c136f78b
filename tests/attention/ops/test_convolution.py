"""The convolutions after the projections: tap by tap, before the SiLU, of the chosen projections alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention import Attention
from attnlab.attention.mamba2 import Mamba2
from attnlab.attention.ops.convolution import Convolutions
from attnlab.tensors import LayerInputs
from tests.builders import attention_of, layer_context, noise

MIXERS = ["gla", "linear", "mamba2"]
LETTERS = {"q": "query", "k": "key", "v": "value"}


def slow(rows_TD: Tensor, taps_DK: Tensor) -> Tensor:
    """Each channel of each token, as a sum over itself and the three tokens before."""
    out = torch.zeros_like(rows_TD)
    for t in range(len(rows_TD)):
        for lag in range(min(t, 3) + 1):
            out[t] += taps_DK[:, 3 - lag] * rows_TD[t - lag]
    return out


def heads_of(attention: Attention, x_BTD: Tensor) -> list[Tensor]:
    """Queries, keys and values as they are projected, T x (H C)."""
    qkv = attention.project(x_BTD, LayerInputs())
    return [part[0].transpose(-3, -2).flatten(-2) for part in qkv[:3]]


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("conv", ["none", "k", "qkv"])
@torch.no_grad()
def test_the_chosen_projections_are_convolved_before_their_silu(name: str, conv: str) -> None:
    attention, x_BTD = attention_of(name, {"conv": conv}).double(), noise(1, 9, 8)
    assert isinstance(attention.convolutions, Convolutions)
    for found, (letter, field) in zip(heads_of(attention, x_BTD), LETTERS.items(), strict=True):
        rows_TD = x_BTD[0] @ getattr(attention, field).weight.T
        if letter in conv and conv != "none":
            rows_TD = slow(rows_TD, attention.convolutions.taps[letter][:, 0])
            rows_TD = functional.silu(rows_TD)
        elif isinstance(attention, Mamba2):
            rows_TD = functional.silu(rows_TD)
        torch.testing.assert_close(found, rows_TD, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [*MIXERS, "delta", "gated-delta", "kda"])
def test_without_the_option_nothing_is_added(name: str) -> None:
    assert not any(key.startswith("convolutions") for key in attention_of(name).state_dict())


def test_taps_start_between_minus_and_plus_a_half() -> None:
    taps = Convolutions(layer_context(width=64), "qv", {"q": 64, "k": 64, "v": 128}).taps
    assert {name: tuple(tap.shape) for name, tap in taps.items()} == {"q": (64, 1, 4), "v": (128, 1, 4)}
    for tap in taps.values():
        assert 0.45 < tap.abs().max() <= 0.5
        assert float(tap.detach().std()) == pytest.approx(0.2887, rel=0.1)  # that of U(-1/2, 1/2)
