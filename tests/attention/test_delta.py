"""DeltaNet, gated and per channel: the recurrence token by token, overwriting of keys, initial decay, parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention import ATTENTIONS
from attnlab.attention.delta import Delta, DeltaNet
from attnlab.attention.gated_delta import GatedDelta
from attnlab.attention.kda import Kda
from attnlab.attention.ops.delta_rule import Rule, closed_form
from attnlab.attention.ops.rms_norm import rms_norm
from attnlab.attention.ops.unit import unit_length
from attnlab.specs import Modifiers, Part
from attnlab.tensors import QKV, LayerContext, LayerInputs
from tests.builders import attention_of, noise, pair_of, position_of, seeded

MODES = [
    Part(name="delta"),
    Part(name="delta", options={"negative": True}),
    Part(name="gated-delta"),
    Part(name="gated-delta", options={"expand": 2, "negative": True}),
    Part(name="kda"),
    Part(name="delta", options={"householders": 3, "negative": True}),
    Part(name="gated-delta", options={"householders": 2, "expand": 2, "conv": "qkv"}),
    Part(name="kda", options={"conv": "k", "expand": 2, "erase": "channel", "write": "channel"}),
    Part(name="kda", options={"erase": "channel", "negative": True}),
    Part(name="kda", options={"write": "channel"}),
]
over_modes = pytest.mark.parametrize("part", MODES, ids=str)


def built(part: Part, **where: Any) -> DeltaNet:
    attention, _ = pair_of(part, Part(name="none"), **where)
    assert isinstance(attention, DeltaNet)
    return attention


def unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().sum() + 1e-6).sqrt()


def projected(attention: DeltaNet, layer: nn.Linear, x_TD: Tensor, letter: str) -> list[Tensor]:
    """One projection of each token after its convolution and SiLU, channel by channel."""
    rows = [layer.weight @ x_D for x_D in x_TD]
    if letter in attention.convolutions.taps:
        taps_DK = attention.convolutions.taps[letter][:, 0]
        rows = [
            sum((taps_DK[:, 3 - lag] * rows[t - lag] for lag in range(min(t, 3) + 1)), torch.zeros_like(rows[t]))
            for t in range(len(rows))
        ]
    return [functional.silu(row) for row in rows]


@torch.no_grad()
def recurrence(attention: DeltaNet, x_TD: Tensor, heads: int) -> Tensor:
    """The whole layer for one sequence, head by head and token by token, from its weights alone."""
    width, values, steps = x_TD.shape[-1] // heads, len(attention.gain_V), attention.steps
    layers = {"q": attention.query, "k": attention.key, "v": attention.value}
    rows = [projected(attention, layer, x_TD, letter) for letter, layer in layers.items()]
    out = []
    for head in range(heads):
        channels = slice(head * width, (head + 1) * width)
        state = torch.zeros(width, values, dtype=torch.float64)
        read = []
        for x_D, q_D, k_D, v_D in zip(x_TD, *rows, strict=True):
            state = decay(attention, x_D, head, channels)[:, None] * state
            for step in range(head * steps, (head + 1) * steps):
                key, value = unit(k_D[step * width :][:width]), v_D[step * values :][:values]
                erase, write = gates(attention, x_D, step)
                state = state + torch.outer(key, write * value - (erase * key) @ state)
            mixed = unit(q_D[channels]) @ state
            read.append(attention.gain_V * mixed / (mixed.square().mean() + 1e-5).sqrt())
        out.append(torch.stack(read))
    return torch.cat(out, -1) @ attention.out_proj.weight.T


def gates(attention: DeltaNet, x_D: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """The strengths of erasing and writing of one step of one head: numbers, or one for each channel."""
    found = []
    for name in ("erase_gate", "write_gate"):
        layer = getattr(attention, name, None)
        rows = (layer or attention.strength).weight
        size = len(rows) // attention.num_heads if layer else 1
        found.append(attention.max_strength * torch.sigmoid(rows[step * size : (step + 1) * size] @ x_D))
    return found[0], found[1]


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


@pytest.mark.parametrize("name", ["delta", "gated-delta"])
def test_one_householder_has_the_weights_and_digits_of_none(name: str) -> None:
    plain, single = (attention_of(name, options) for options in ({}, {"householders": 1, "conv": "none"}))
    x_BTD, no_position = noise(2, 9, 8, dtype=torch.float32), position_of("none")
    assert plain.state_dict().keys() == single.state_dict().keys()
    assert torch.equal(*(one(x_BTD, no_position, LayerInputs()).output_BTD for one in (plain, single)))
    assert ATTENTIONS.entry(name).non_default({"householders": 1, "conv": "none"}) == {}


def test_equal_steps_at_full_strength_write_once() -> None:
    """A second write with the same key and value changes nothing: two steps are then one."""
    one, two = built(Part(name="delta")), built(Part(name="delta", options={"householders": 2}))
    keys, values, queries = noise(1, 2, 6, 4), noise(1, 2, 6, 4, seed=1), noise(1, 2, 6, 4, seed=2)
    strength = torch.ones(1, 2, 6, 1, dtype=torch.float64)
    single = one.attend(QKV(queries, 100 * keys, values, (strength,)), position_of("none"))
    twice = (part.repeat_interleave(2, 1) for part in (100 * keys, values, strength))
    keys, values, strength = twice
    double = two.attend(QKV(queries, keys, values, (strength,)), position_of("none")).unflatten(1, (2, 2)).sum(2)
    torch.testing.assert_close(double, single, rtol=0, atol=1e-5)


def test_two_reflections_turn_what_is_stored() -> None:
    """Negative strengths alone give one reflection per token; two give a rotation, here by a quarter turn."""
    attention = built(Part(name="delta", options={"householders": 2, "negative": True}), width=2, heads=1)
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]).sqrt()
    keys = torch.stack([torch.stack([first, second])] * 5, 1).double()[None] * 1e3
    values = torch.zeros(1, 2, 5, 2, dtype=torch.float64)
    values[0, 0, 0] = torch.tensor([1.0, 0.0])
    strength = torch.full((1, 2, 5, 1), 2.0, dtype=torch.float64)
    query = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, 1, 5, 2)
    mixed = attention.attend(QKV(query, keys, values, (strength,)), position_of("none"))
    read = mixed.sum(1)[0, :, 0]
    # The first value is stored at (2, 0); its token turns it to (0, -2), the next ones to (2, 0), (0, 2), (-2, 0).
    torch.testing.assert_close(read, torch.tensor([0.0, 2, 0, -2, 0], dtype=torch.float64), rtol=0, atol=1e-5)


def test_equal_gates_per_channel_are_a_strength_per_head() -> None:
    """GDN-2 with b = w = beta is KDA."""
    plain = built(Part(name="kda"))
    gated = built(Part(name="kda", options={"erase": "channel", "write": "channel"}))
    assert isinstance(gated, Kda)
    assert gated.erase_gate is not None
    assert gated.write_gate is not None
    weights = {name: weight for name, weight in plain.state_dict().items() if name != "strength.weight"}
    gated.load_state_dict(weights, strict=False)
    with torch.no_grad():
        for gate in (gated.erase_gate, gated.write_gate):
            gate.weight.copy_(plain.strength.weight.repeat_interleave(4, 0))
    x_BTD, no_position = noise(2, 30, 8), position_of("none")
    plain_BTD, gated_BTD = (one(x_BTD, no_position, LayerInputs()).output_BTD for one in (plain, gated))
    torch.testing.assert_close(gated_BTD, plain_BTD, rtol=0, atol=1e-12)


def test_aliases() -> None:
    assert ATTENTIONS.entry("deltanet") is ATTENTIONS.entry("delta")
    assert ATTENTIONS.entry("gdn") is ATTENTIONS.entry("gated-deltanet") is ATTENTIONS.entry("gated-delta")
    assert ATTENTIONS.entry("kimi-delta") is ATTENTIONS.entry("kda")
