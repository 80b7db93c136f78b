"""Blocks of queries with the keys of their windows, against one call over all keys."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention.ops.banded import ROWS, banded, takes_blocks
from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.attention.loop_reference import prepared
from tests.builders import noise


@pytest.mark.parametrize("tokens", [1, 2, 31, 32, 33, 64, 65, 100, 257])
@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (1, 3), (16, 4), (33, 0), (40, 2), (5, 60)])
def test_outputs_and_gradients_are_those_of_all_keys(tokens: int, window: int, sinks: int) -> None:
    queries, keys, values = tensors = [noise(2, 3, tokens, 4, seed=seed).requires_grad_() for seed in range(3)]
    rows = torch.arange(tokens)
    apart = rows[:, None] - rows
    allowed = (apart >= 0) & ((apart < window) | (rows < sinks))
    whole = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed)
    found, upstream = banded(QKV(queries, keys, values), window, sinks), noise(2, 3, tokens, 4, seed=3)
    torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-12)
    grads = [torch.autograd.grad(outputs, tensors, upstream) for outputs in (found, whole)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_short_sequences_are_left_to_one_call() -> None:
    keys = ROWS + 16 - 1 + 4
    assert [takes_blocks(tokens, 16, 4) for tokens in (64, 5 * keys - 1, 5 * keys)] == [False, False, True]


@pytest.mark.parametrize("options", [{"window": 4, "sinks": 2}, {"window": 40, "sinks": 0}])
def test_a_window_takes_them_where_it_is_long(options: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def noted(qkv: QKV, window: int, sinks: int) -> torch.Tensor:
        calls.append(qkv.keys_BHSC.shape[-2])
        return banded(qkv, window, sinks)

    monkeypatch.setattr("attnlab.attention.window.banded", noted)
    for tokens in (50, 500):
        attention, position, qkv = prepared(Part(name="window", options=options), tokens)
        expected = attention.weights(qkv, position) @ qkv.values_BHSC
        torch.testing.assert_close(attention.attend(qkv, position), expected, rtol=1e-10, atol=1e-12)
    assert calls == [500]


def test_stacked_runs_give_what_each_gives_alone() -> None:
    tensors = [noise(4, 2, 3, 70, 4, seed=seed) for seed in range(3)]

    def run(*single: torch.Tensor) -> torch.Tensor:
        return banded(QKV(single[0], single[1], single[2]), 5, 2)

    stacked = torch.func.vmap(run)(*tensors)
    for index in range(4):
        torch.testing.assert_close(stacked[index], run(*(one[index] for one in tensors)), rtol=1e-12, atol=1e-12)
