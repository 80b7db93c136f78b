"""Log-linear attention: levels that partition the past, scales per level, and a scan that sums the levels."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from attnlab.attention import ATTENTIONS
from attnlab.attention.log_linear import LogLinear, depth, level
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

CPU = torch.device("cpu")


def built(tokens: int, length: int = 16, **options: Any) -> tuple[LogLinear, Position, QKV]:
    attention, position = pair_of(Part(name="log-linear", options=options), Part(name="none"), length=length)
    assert isinstance(attention, LogLinear)
    with torch.no_grad():
        attention.gain_HL.copy_(noise(*attention.gain_HL.shape, seed=5))
    return attention, position, attention.prepare(noise(1, tokens, 8), position, LayerInputs())


def fenwick(i: int, j: int) -> int:
    """The level as the paper defines it."""
    if i == j:
        return 0
    for tree_level in range(1, 40):
        block = 2 ** (tree_level - 1)
        if i % 2**tree_level >= block and j // block == i // block - 1:
            return tree_level
    raise AssertionError((i, j))


def test_levels_partition_the_past() -> None:
    levels = level(70, 70, 0, CPU)
    for i in range(70):
        assert [fenwick(i, j) for j in range(i + 1)] == levels[i, : i + 1].tolist()


def test_levels_of_a_chunk_are_those_of_its_rows() -> None:
    assert torch.equal(level(5, 20, 9, CPU), level(20, 20, 0, CPU)[9:14])


def test_a_token_has_one_level_per_bit_of_its_position() -> None:
    levels = level(64, 64, 0, CPU)
    for i in (0, 1, 21, 40, 63):
        assert len(set(levels[i, : i + 1].tolist())) == 1 + i.bit_count()
    assert levels.tril().max() == 6


@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize("fast", [True, False])
def test_weights_are_those_of_a_loop(decay: bool, fast: bool) -> None:
    attention, position, qkv = built(13, decay=decay)
    attention.fast = fast
    with torch.no_grad():
        x_TD = noise(1, 13, 8)[0]
        scaled = (x_TD @ attention.scale.weight.T * attention.gain_HL).unflatten(-1, (2, 5))
        scale_THL = torch.log1p(scaled.exp())
        step_TH, rate_H = torch.ones(13, 2), torch.zeros(2)
        if attention.clock is not None:
            step_TH = torch.log1p(torch.exp(x_TD @ attention.clock.step.weight.T + attention.clock.start_H))
            rate_H = -attention.clock.rate_H.exp()
    expected = torch.zeros(2, 13, 13, dtype=torch.float64)
    for head in range(2):
        for i in range(13):
            for j in range(i + 1):
                decayed = math.exp(float(rate_H[head]) * sum(step_TH[j + 1 : i + 1, head].tolist()))
                product = float((qkv.queries_BHTC[0, head, i] @ qkv.keys_BHSC[0, head, j]).detach()) / math.sqrt(4)
                scale = float(scale_THL[i, head, fenwick(i, j)])
                expected[head, i, j] = scale * decayed * float(step_TH[j, head]) * product
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 128, 129, 300])
def test_the_scan_sums_the_levels(decay: bool, tokens: int) -> None:
    attention, position, qkv = built(tokens, length=300, decay=decay)
    fast = attention.attend(qkv, position)
    attention.fast = False
    torch.testing.assert_close(fast, attention.attend(qkv, position), rtol=1e-10, atol=1e-10)


def test_beyond_the_longest_sequence_the_last_level_is_used() -> None:
    attention, position, qkv = built(300, length=100)
    fast = attention.attend(qkv, position)
    attention.fast = False
    torch.testing.assert_close(fast, attention.attend(qkv, position), rtol=1e-10, atol=1e-10)


def test_scales_of_one_give_the_recurrence_without_levels() -> None:
    attention, position, qkv = built(100, length=128)
    unscaled = qkv._replace(extra=(torch.ones_like(qkv.extra[0]), *qkv.extra[1:]))
    expected = super(LogLinear, attention).attend(unscaled, position)
    attention.fast = True
    torch.testing.assert_close(attention.attend(unscaled, position), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("length", "levels"), [(1, 1), (2, 2), (16, 5), (17, 6), (512, 10)])
def test_the_number_of_levels_follows_from_the_longest_sequence(length: int, levels: int) -> None:
    assert depth(length) == levels == math.ceil(math.log2(length)) + 1


@pytest.mark.parametrize("decay", [True, False])
def test_parameter_count_is_the_formula(decay: bool) -> None:
    attention = attention_of("log-linear", {"decay": decay}, width=16, heads=4, length=64)
    expected = 4 * 16**2 + 16 * 4 * 7 + 4 * 7 + (16 * 4 + 2 * 4 if decay else 0)
    assert sum(weight.numel() for weight in attention.parameters()) == expected
    assert ATTENTIONS.entry("log-linear").cls.num_parameters(16, 4, 64, decay=decay) == expected
