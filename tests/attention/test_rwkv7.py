"""RWKV-7: against the token-by-token recurrence; the first layer's values in later layers; the initialization."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS
from attnlab.attention.rwkv7 import LowRank, Rwkv7
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import LayerContext, LayerInputs
from tests.builders import attention_of, model_of, noise, position_of, seeded, tokens

H, C = 2, 4
shifting = pytest.mark.parametrize("shift", [True, False])


def built(layer: int = 0, **options: Any) -> Rwkv7:
    context = LayerContext(width=H * C, heads=H, layer=layer, layers=2, generator=seeded(layer))
    attention = Rwkv7(context, **{"rank": 3, **options}).double()
    generator = seeded(7)
    with torch.no_grad():
        for name, weight in attention.named_parameters():
            if name.endswith("_D") and weight.std() == 0:
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return attention


def mapped(low: LowRank, x_D: Tensor, tanh: bool = False) -> Tensor:
    inner = low.narrow.weight @ x_D
    return low.start_D + low.widen.weight @ (inner.tanh() if tanh else inner)


@torch.no_grad()
def recurrence(attention: Rwkv7, x_TD: Tensor, first_TD: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The layer's output for one sequence, and its values, from the formulas."""
    before_D = torch.zeros_like(x_TD[0])
    state = torch.zeros(H, C, C, dtype=torch.float64)  # values x keys, as in the paper
    outs, values = [], []
    for t, x_D in enumerate(x_TD):
        blends = attention.blends if len(attention.blends) else [torch.zeros(())] * 5
        xr, xw, xk, xv, xa = (x_D + blend * (before_D - x_D) for blend in blends)
        before_D = x_D
        r, k, v = attention.query.weight @ xr, attention.key.weight @ xk, attention.value.weight @ xv
        w = torch.exp(-math.exp(-0.5) * torch.sigmoid(mapped(attention.decay, xw, tanh=True)))
        a = torch.sigmoid(mapped(attention.strength, xa))
        if first_TD is not None:
            assert attention.share is not None
            v = v + (first_TD[t] - v) * torch.sigmoid(mapped(attention.share, xv))
        values.append(v)
        kappa = k * attention.direction_D
        k = k * (1 + (a - 1) * attention.replaced_D)
        rho = attention.bonus_D
        heads = []
        for h in range(H):
            own = slice(h * C, h * C + C)
            hat = kappa[own] / (kappa[own].square().sum() + 1e-6).sqrt()
            state[h] = state[h] @ (torch.diag(w[own]) - torch.outer(hat, a[own] * hat)) + torch.outer(v[own], k[own])
            output = state[h] @ r[own] + (r[own] * rho[own] * k[own]).sum() * v[own]
            centered = output - output.mean()
            normed = centered / (centered.square().mean() + 1e-5 * C).sqrt()
            heads.append(normed * attention.gain_D[own] + attention.offset_D[own])
        outs.append(attention.out_proj.weight @ torch.cat(heads))
    return torch.stack(outs), torch.stack(values)


def no_position() -> Position:
    return position_of("none")


@shifting
@pytest.mark.parametrize("fast", [True, False])
def test_the_layer_is_its_recurrence(shift: bool, fast: bool) -> None:
    attention, x_BTD = built(shift=shift), noise(1, 23, H * C)
    attention.fast = fast
    out = attention(x_BTD, no_position(), LayerInputs()).output_BTD
    assert (out[0] - recurrence(attention, x_BTD[0])[0]).abs().max() < 1e-9


@shifting
def test_later_layers_interpolate_with_the_values_of_the_first(shift: bool) -> None:
    first, second = built(shift=shift), built(layer=1, shift=shift)
    x_BTD, other_BTD = noise(1, 12, H * C), noise(1, 12, H * C, seed=1)
    heads = first(x_BTD, no_position(), LayerInputs()).qkv
    mixed = second(other_BTD, no_position(), LayerInputs((heads,)))
    out_TD, values_TD = recurrence(second, other_BTD[0], recurrence(first, x_BTD[0])[1])
    assert (mixed.output_BTD[0] - out_TD).abs().max() < 1e-9
    assert (second.join(mixed.qkv.values_BHSC)[0] - values_TD).abs().max() < 1e-12
    alone = second(other_BTD, no_position(), LayerInputs()).qkv.values_BHSC
    assert (alone - mixed.qkv.values_BHSC).abs().max() > 0.1


def test_the_strongest_decay_is_bounded_and_nothing_overflows() -> None:
    attention = built()
    torch.nn.init.constant_(attention.decay.start_D, 50.0)
    attention.float()
    qkv = attention.prepare(noise(1, 300, H * C, dtype=torch.float32), no_position(), LayerInputs())
    assert qkv.extra[1].unique().tolist() == pytest.approx([-0.6065], abs=1e-4)
    assert attention.attend(qkv, no_position()).isfinite().all()
    torch.testing.assert_close(
        attention.weights(qkv, no_position()) @ qkv.values_BHSC, attention.attend(qkv, no_position())
    )


def test_a_rotation_rotates_both_keys_alike() -> None:
    """A rotation applies to h as to k: with constant xi and alpha both are one key, scaled per channel."""
    attention = Rwkv7(LayerContext(width=H * C, heads=H, generator=seeded()), shift=False).double()
    torch.nn.init.constant_(attention.replaced_D, 0.0)
    qkv = attention.prepare(noise(1, 9, H * C), position_of("rotary"), LayerInputs())
    writes, directions = qkv.keys_BHSC.unbind(-4)
    torch.testing.assert_close(directions, 0.71 * writes, rtol=1e-6, atol=1e-7)


def test_the_bonus_is_on_the_diagonal_of_the_matrix() -> None:
    attention = built()
    qkv = attention.prepare(noise(1, 9, H * C), no_position(), LayerInputs())
    with_bonus = attention.effective_matrix(qkv, no_position()).detach()
    torch.nn.init.zeros_(attention.bonus_D)
    difference = with_bonus - attention.effective_matrix(qkv, no_position()).detach()
    assert not difference.tril(-1).any()
    assert difference.diagonal(dim1=-2, dim2=-1).abs().min() > 0


@pytest.mark.parametrize(("shift", "blends"), [(True, 5), (False, 0)])
@pytest.mark.parametrize("layer", [0, 1])
def test_parameter_count_is_the_formula_and_more_in_later_layers(shift: bool, blends: int, layer: int) -> None:
    context = LayerContext(width=16, heads=4, layer=layer, layers=2, generator=seeded())
    count = sum(weight.numel() for weight in Rwkv7(context, rank=5, shift=shift).parameters())
    assert count == 4 * 16 * 16 + 4 * 16 * 5 + (7 + blends) * 16 + layer * (2 * 16 * 5 + 16)
    assert Rwkv7.num_parameters(16, 4, 64, layer, rank=5, shift=shift) == count


def test_initial_values_are_the_documented_ones() -> None:
    attention = attention_of("rwkv7", width=64)
    assert isinstance(attention, Rwkv7)
    assert attention.direction_D.unique().tolist() == pytest.approx([0.71])
    assert attention.replaced_D.unique().tolist() == pytest.approx([1.02])
    assert attention.bonus_D.unique().tolist() == pytest.approx([-0.04])
    assert -6 <= attention.decay.start_D.min() < -5
    assert -1 < attention.decay.start_D.max() <= 0
    assert all(0 <= blend.min() < blend.max() <= 1 for blend in attention.blends)


def test_every_parameter_of_a_stack_has_a_gradient() -> None:
    model, inputs_BT = model_of(Part(name="rwkv7", options={"rank": 2})), tokens(2, 7)
    model(inputs_BT, torch.arange(14)).logits_NV.square().mean().backward()
    assert any(name.startswith("blocks.1.attention.share") for name, _ in model.named_parameters())
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


def test_it_has_an_alias() -> None:
    assert ATTENTIONS.entry("rwkv-7") is ATTENTIONS.entry("rwkv7")
