"""Mamba-2: step and decay, heads that share queries and keys, the weight of the own value, and the initialization."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention import ATTENTIONS
from attnlab.attention.mamba2 import Mamba2, StepAndDecay
from attnlab.position import Position
from attnlab.specs import Modifiers, Part
from attnlab.tensors import QKV, LayerContext, LayerInputs
from tests.builders import attention_of, layer_context, noise, pair_of, seeded


def built(tokens: int) -> tuple[Mamba2, Position, QKV, Tensor]:
    attention, position = pair_of(Part(name="mamba2", options={"state": 6}), Part(name="none"))
    assert isinstance(attention, Mamba2)
    with torch.no_grad():
        attention.skip_H.copy_(torch.tensor([0.5, -2.0]))
    x_BTD = noise(1, tokens, 8)
    return attention, position, attention.prepare(x_BTD, position, LayerInputs()), x_BTD[0]


@torch.no_grad()
def steps(attention: Mamba2, x_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Steps, T x H, and rates, H."""
    start_H, rate_H = attention.clock.start_H.double(), attention.clock.rate_H.double()
    return torch.log1p(torch.exp(x_TD @ attention.clock.step.weight.T + start_H)), -rate_H.exp()


@pytest.mark.parametrize("fast", [True, False])
def test_weights_are_those_of_a_loop(fast: bool) -> None:
    attention, position, qkv, x_TD = built(9)
    attention.fast = fast
    step_TH, rate_H = steps(attention, x_TD)
    with torch.no_grad():
        queries, keys = (functional.silu(x_TD @ projection.weight.T) for projection in (attention.query, attention.key))
    expected = torch.zeros(2, 9, 9, dtype=torch.float64)
    for head in range(2):
        for i in range(9):
            for j in range(i + 1):
                decayed = math.exp(float(rate_H[head]) * sum(step_TH[j + 1 : i + 1, head].tolist()))
                expected[head, i, j] = float(queries[i] @ keys[j]) * decayed * float(step_TH[j, head])
            expected[head, i, i] += (0.5, -2.0)[head]
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-11, atol=1e-12)


def test_the_scan_is_the_token_by_token_recurrence_over_many_chunks() -> None:
    attention, position, qkv, x_TD = built(150)
    step_TH, rate_H = steps(attention, x_TD)
    state, outputs = torch.zeros(2, 6, 8, dtype=torch.float64), []
    queries, keys, values = qkv.queries_BHTC[0, 0], qkv.keys_BHSC[0, 0], qkv.values_BHSC[0]
    for token in range(150):
        step_H11 = step_TH[token, :, None, None]
        update = step_H11 * keys[token, :, None] * values[:, token, None, :]
        state = torch.exp(rate_H[:, None, None] * step_H11) * state + update
        outputs.append(queries[token] @ state + attention.skip_H[:, None] * values[:, token])
    torch.testing.assert_close(attention.attend(qkv, position)[0], torch.stack(outputs, -2), rtol=1e-10, atol=1e-10)


def test_values_pass_through_a_silu_and_heads_share_queries_and_keys() -> None:
    attention, _, qkv, x_TD = built(5)
    expected = functional.silu(x_TD @ attention.value.weight.T).unflatten(-1, (2, 8)).transpose(0, 1)
    torch.testing.assert_close(qkv.values_BHSC[0], expected)
    assert qkv.queries_BHTC.shape == qkv.keys_BHSC.shape == (1, 1, 5, 6)


def test_steps_and_rates_start_as_in_public_code() -> None:
    clock = StepAndDecay(layer_context(1024, 512))
    step_H, rate_H = functional.softplus(clock.start_H).detach(), clock.rate_H.exp().detach()
    assert 0.001 <= step_H.min() < 0.0011
    assert 0.09 < step_H.max() <= 0.1 + 1e-6
    assert float(step_H.log().mean()) == pytest.approx(math.log(0.01), abs=0.15)
    assert 1 <= rate_H.min() < 1.2
    assert 15.8 < rate_H.max() <= 16
    assert float(rate_H.mean()) == pytest.approx(8.5, abs=0.5)


def test_it_has_about_six_widths_squared_parameters_with_its_gate() -> None:
    ungated = attention_of("mamba2", width=64, heads=4)
    count = sum(weight.numel() for weight in ungated.parameters())
    assert count == 4 * 64**2 + 2 * 64 * 64 + 64 * 4 + 3 * 4
    context = LayerContext(width=256, heads=4, generator=seeded(), modifiers=Modifiers(gate="element"))
    entry = ATTENTIONS.entry("ssd")
    gated = sum(weight.numel() for weight in entry.cls(context, **entry.complete({})).parameters())
    assert gated / 256**2 == pytest.approx(6.5, abs=0.05), "half a width squared is for the shared queries and keys"


def test_a_long_step_decays_fully_and_a_short_one_hardly() -> None:
    attention, position, qkv, _ = built(6)
    long, short = torch.full((1, 2, 6, 1), 50.0).double(), torch.full((1, 2, 6, 1), 1e-9).double()
    rate_H11 = attention.clock.rate_H.double().exp()[:, None, None]
    decayed = attention.effective_matrix(qkv._replace(extra=(long, -rate_H11 * long)), position)
    assert decayed.tril(-1).abs().max() < 1e-15
    kept = attention.effective_matrix(qkv._replace(extra=(short, -rate_H11 * short)), position).tril(-1)
    expected = (1e-9 * qkv.queries_BHTC @ qkv.keys_BHSC.mT).tril(-1).expand_as(kept)
    torch.testing.assert_close(kept, expected, rtol=1e-6, atol=1e-15)
