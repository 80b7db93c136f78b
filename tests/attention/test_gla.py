"""GLA: a decay per channel, entry by entry and token by token; its temper, and gates that would overflow."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.attention.gla import Gla, half_even
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

TOKENS = 9


def built(tokens: int = TOKENS, temper: float = 16.0) -> tuple[Gla, Position, QKV]:
    attention, position = pair_of(Part(name="gla", options={"temper": temper}), Part(name="none"), width=16)
    assert isinstance(attention, Gla)
    with torch.no_grad():
        attention.widen.bias.copy_(noise(8, seed=7))
    return attention, position, attention.prepare(noise(2, tokens, 16), position, LayerInputs())


@torch.no_grad()
def decays(attention: Gla, tokens: int, temper: float) -> torch.Tensor:
    """The logarithm of every gate, B x T x H x F, from the weights."""
    gate = noise(2, tokens, 16) @ attention.narrow.weight.T @ attention.widen.weight.T
    return -torch.log1p(torch.exp(-(gate + attention.widen.bias))).unflatten(-1, (2, 4)) / temper


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("temper", [16.0, 1.0])
def test_weights_are_those_of_a_loop(fast: bool, temper: float) -> None:
    attention, position, qkv = built(temper=temper)
    attention.fast = fast
    decay = decays(attention, TOKENS, temper)
    expected = torch.zeros(2, TOKENS, TOKENS, dtype=torch.float64)
    for head in range(2):
        for i in range(TOKENS):
            for j in range(i + 1):
                remaining = [math.exp(sum(decay[0, j + 1 : i + 1, head, channel].tolist())) for channel in range(4)]
                query, key = qkv.queries_BHTC[0, head, i].tolist(), qkv.keys_BHSC[0, head, j].tolist()
                terms = (q * k * fraction for q, k, fraction in zip(query, key, remaining, strict=True))
                expected[head, i, j] = sum(terms) / math.sqrt(4)
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-11, atol=1e-12)


def test_the_scan_is_the_token_by_token_recurrence_over_many_chunks() -> None:
    attention, position, qkv = built(100)
    decay = decays(attention, 100, 16.0)
    state, read = torch.zeros(2, 2, 4, 8, dtype=torch.float64), []
    for token in range(100):
        written = qkv.keys_BHSC[..., token, :, None] * qkv.values_BHSC[..., token, None, :]
        state = decay[:, token].exp()[..., None] * state + written
        read.append((qkv.queries_BHTC[..., token, None, :] @ state).squeeze(-2) / 2)
    torch.testing.assert_close(attention.attend(qkv, position), torch.stack(read, -2), rtol=1e-10, atol=1e-10)


def test_gates_that_overflow_when_factored_do_not_overflow() -> None:
    attention, position = pair_of(Part(name="gla", options={"temper": 0.01}), Part(name="none"), width=16)
    attention.float()
    x_BTD = noise(1, 200, 16, dtype=torch.float32)
    qkv = attention.prepare(x_BTD, position, LayerInputs())
    assert qkv.extra[0].sum(-2).min() < -88 * 10, "exp(-G) of a factored form would be infinite"
    exact, _ = pair_of(Part(name="gla", options={"temper": 0.01}), Part(name="none"), width=16)
    expected = exact.weights(exact.prepare(x_BTD.double(), position, LayerInputs()), position)
    expected = expected @ exact.split(exact.value(x_BTD.double()))
    assert (attention.attend(qkv, position).double() - expected).abs().max() < 1e-5 * expected.abs().max()


def test_without_the_temper_the_memory_is_a_few_tokens_long() -> None:
    start = math.log(1 / 2)
    assert -1 / start == pytest.approx(1.44, abs=0.01), "tokens until 1/e is left, with a gate of 1/2"
    assert -16 / start == pytest.approx(23.1, abs=0.1)
    attention = attention_of("gla")
    assert isinstance(attention, Gla)
    assert attention.temper == 16


def test_half_of_the_channels_rounded_up_to_even() -> None:
    assert [half_even(channels) for channels in (1, 2, 3, 4, 6, 8, 10, 16)] == [1, 2, 2, 2, 4, 4, 6, 8]


def test_the_parameter_formula() -> None:
    attention = attention_of("gla", width=32, heads=4)
    count = sum(weight.numel() for weight in attention.parameters())
    assert count == 2 * 32**2 + 2 * 32 * 16 + 32 * 16 + 16 * 16 + 16
