"""DeltaNet, gated and per channel: the recurrence token by token, overwriting of keys, initial decay, parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention import ATTENTIONS
from attnlab.attention.delta import Delta, DeltaNet, GatedDelta, Kda
from attnlab.attention.ops.delta_rule import Rule, closed_form, unit_length
from attnlab.attention.ops.modifiers import rms_norm
from attnlab.specs import Modifiers, Part
from attnlab.tensors import QKV, LayerContext, LayerInputs
from tests.builders import attention_of, noise, pair_of, position_of, seeded

MODES = [
    Part(name="delta"),
    Part(name="delta", options={"negative": True}),
    Part(name="gated-delta"),
    Part(name="gated-delta", options={"expand": 2, "negative": True}),
    Part(name="kda"),
]
over_modes = pytest.mark.parametrize("part", MODES, ids=str)


def built(part: Part, **where: Any) -> DeltaNet:
    attention, _ = pair_of(part, Part(name="none"), **where)
    assert isinstance(attention, DeltaNet)
    return attention


def unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().sum() + 1e-6).sqrt()


@torch.no_grad()
def recurrence(attention: DeltaNet, x_TD: Tensor, heads: int) -> Tensor:
    """The whole layer for one sequence, head by head and token by token, from its weights alone."""
    rows, width = [], x_TD.shape[-1] // heads
    for x_D in x_TD:
        rows.append(
            [functional.silu(layer.weight @ x_D) for layer in (attention.query, attention.key, attention.value)]
        )
    out = []
    for head in range(heads):
        keys = slice(head * width, (head + 1) * width)
        values = len(attention.gain_V)
        state = torch.zeros(width, values, dtype=torch.float64)
        read = []
        for x_D, (q_D, k_D, v_D) in zip(x_TD, rows, strict=True):
            query, key, value = unit(q_D[keys]), unit(k_D[keys]), v_D[head * values : (head + 1) * values]
            strength = attention.max_strength * torch.sigmoid(attention.strength.weight[head] @ x_D)
            state = decay(attention, x_D, head, keys)[:, None] * state
            state = state + strength * torch.outer(key, value - key @ state)
            mixed = query @ state
            read.append(attention.gain_V * mixed / (mixed.square().mean() + 1e-5).sqrt())
        out.append(torch.stack(read))
    return torch.cat(out, -1) @ attention.out_proj.weight.T


def decay(attention: DeltaNet, x_D: Tensor, head: int, keys: slice) -> Tensor:
    if isinstance(attention, GatedDelta):
        step = functional.softplus(attention.forget.weight[head] @ x_D + attention.step_H[head])
        return torch.exp(-attention.rate_H[head].exp() * step).reshape(1)
    if isinstance(attention, Kda):
        raw_D = attention.forget.weight @ (attention.narrow.weight @ x_D) + attention.step_D
        return torch.exp(-attention.rate_H[head].exp() * functional.softplus(raw_D[keys]))
    return torch.ones(1, dtype=torch.float64)


@over_modes
@pytest.mark.parametrize("fast", [True, False])
def test_the_layer_is_its_recurrence(part: Part, fast: bool) -> None:
    attention = built(part)
    attention.fast = fast
    x_BTD = noise(1, 21, 8)
    out = attention(x_BTD, position_of("none"), LayerInputs()).output_BTD
    assert (out[0] - recurrence(attention, x_BTD[0], 2)).abs().max() < 1e-9


def test_a_key_written_twice_stores_its_second_value_alone() -> None:
    attention = built(Part(name="delta"))
    one, two, three = 100.0 * torch.eye(4, dtype=torch.float64)[:3]
    keys = torch.stack([one, two, one, three])[None, None]
    queries = torch.stack([one, two, one, one])[None, None] / 100.0
    strength = torch.ones(1, 1, 4, 1, dtype=torch.float64)
    matrix = attention.effective_matrix(QKV(queries, keys, noise(1, 1, 4, 4), (strength,)), position_of("none"))[0, 0]
    expected = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-6)


def test_a_strength_of_two_changes_the_sign_of_the_stored_value() -> None:
    attention = built(Part(name="delta", options={"negative": True}))
    key = torch.tensor([100.0, 0, 0, 0], dtype=torch.float64).expand(1, 1, 5, 4)
    strength = torch.full((1, 1, 5, 1), 2.0, dtype=torch.float64)
    matrix = attention.effective_matrix(QKV(key / 100, key, noise(1, 1, 5, 4), (strength,)), position_of("none"))[0, 0]
    torch.testing.assert_close(matrix[4], torch.tensor([2.0, -2, 2, -2, 2], dtype=torch.float64), rtol=0, atol=1e-6)


def test_keys_are_of_unit_length_even_under_qk_norm() -> None:
    context = LayerContext(width=32, heads=2, generator=seeded(), modifiers=Modifiers(qk_norm=True))
    attention = Delta(context, negative=True).double()
    no_position = position_of("none", width=32)
    qkv = attention.prepare(noise(1, 200, 32), no_position, LayerInputs())
    assert float(qkv.keys_BHSC.norm(dim=-1).detach().mean()) > 3.9
    assert float(attention.effective_matrix(qkv, no_position).detach().abs().max()) < 10


@over_modes
def test_qk_norm_has_no_effect_beyond_the_epsilons(part: Part) -> None:
    plain = built(part, width=16)
    modified = built(part, width=16)
    no_position = position_of("none", width=16)
    qkv = plain.prepare(noise(2, 50, 16), no_position, LayerInputs())
    gain_H11 = torch.tensor([0.5, 3.0], dtype=torch.float64)[:, None, None]
    # With values a million times as large the epsilon of the norm is negligible.
    scaled = qkv._replace(values_BHSC=1e6 * qkv.values_BHSC)
    normed = scaled._replace(queries_BHTC=gain_H11 * rms_norm(qkv.queries_BHTC), keys_BHSC=rms_norm(qkv.keys_BHSC))
    before, after = (
        one.output(one.attend(qkv, no_position), noise(2, 50, 16)) for one, qkv in ((plain, scaled), (modified, normed))
    )
    assert (after - before).abs().max() < 1e-3 * before.abs().max()
    assert "qk_norm" in plain.unsupported_modifiers


def test_longer_keys_would_make_the_weights_grow_without_bound() -> None:
    keys = unit_length(noise(1, 1, 60, 4))
    assert closed_form(Rule(keys, keys, 0.9 * keys)).abs().max() < 3
    assert closed_form(Rule(keys, 2 * keys, 0.9 * 2 * keys)).abs().max() > 1e6


@pytest.mark.parametrize("name", ["gated-delta", "kda"])
def test_states_start_with_short_and_long_memories(name: str) -> None:
    attention = attention_of(name, width=64, heads=16)
    with torch.no_grad():
        forgetting = attention.prepare(noise(4, 32, 64, dtype=torch.float32), position_of("none"), LayerInputs()).extra[
            1
        ]
    assert forgetting.max() < 0
    horizons = 1 / -forgetting.flatten()
    assert float(horizons.quantile(0.9)) > 20
    assert float(horizons.quantile(0.1)) < 5


@pytest.mark.parametrize("name", ["gated-delta", "kda"])
def test_rates_and_steps_start_in_their_ranges(name: str) -> None:
    attention = attention_of(name, width=64, heads=32)
    named = dict(attention.named_parameters())
    rate, step = named["rate_H"].exp(), functional.softplus(named["step_H" if name == "gated-delta" else "step_D"])
    assert 1 <= rate.min() < 4
    assert 14 < rate.max() <= 16
    assert 0.999e-3 < step.min() < 3e-3
    assert 0.03 < step.max() <= 0.1001


def test_a_state_that_decays_at_once_leaves_the_token_itself() -> None:
    attention = built(Part(name="gated-delta"))
    assert isinstance(attention, GatedDelta)
    nn.init.constant_(attention.step_H, 1e4)
    no_position = position_of("none")
    matrix = attention.effective_matrix(attention.prepare(noise(1, 9, 8), no_position, LayerInputs()), no_position)
    assert not matrix.tril(-1).any()
    assert matrix.diagonal(dim1=-2, dim2=-1).all()


@pytest.mark.parametrize(
    ("name", "expand", "more"),
    [("delta", 1, 0), ("delta", 3, 0), ("gated-delta", 2, 16 * 4 + 8), ("kda", 1, 2 * 16 * 4 + 16 + 4)],
)
def test_its_parameters_are_counted(name: str, expand: int, more: int) -> None:
    attention = attention_of(name, {"expand": expand}, width=16, heads=4)
    count = sum(weight.numel() for weight in attention.parameters())
    assert count == 2 * 16 * 16 + 2 * expand * 16 * 16 + 16 * 4 + 4 * expand + more


def test_aliases() -> None:
    assert ATTENTIONS.entry("deltanet") is ATTENTIONS.entry("delta")
    assert ATTENTIONS.entry("gdn") is ATTENTIONS.entry("gated-deltanet") is ATTENTIONS.entry("gated-delta")
    assert ATTENTIONS.entry("kimi-delta") is ATTENTIONS.entry("kda")
