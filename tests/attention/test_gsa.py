"""Gated slot attention: the memory token by token; with the gates of ABC it is ABC; rows of averages."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.abc import Abc
from attnlab.attention.gsa import Gsa, slot_scan
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.attention.loop_reference import prepared
from tests.builders import attention_of, noise


def built(tokens: int, slots: int = 5, temper: float = 8.0) -> tuple[Gsa, Position, QKV]:
    attention, position, qkv = prepared(Part(name="gsa", options={"slots": slots, "temper": temper}), tokens)
    assert isinstance(attention, Gsa)
    return attention, position, qkv


@torch.no_grad()
def recurrence(attention: Gsa, x_BTD: Tensor, temper: float) -> Tensor:
    """Two memories with a gate per slot, token by token, from the weights alone: B x H x T x C."""
    maps = (attention.query, attention.key, attention.value)
    queries, keys, values = (functional.silu(attention.split(x_BTD @ one.weight.T)) for one in maps)
    gates = attention.split(x_BTD @ attention.forget.weight.T).sigmoid() ** (1 / temper)
    slots, channels = gates.shape[-1], keys.shape[-1]
    key_memory = torch.zeros(*keys.shape[:2], slots, channels, dtype=torch.float64)
    value_memory, mixed = torch.zeros_like(key_memory), torch.zeros_like(values)
    for i in range(values.shape[-2]):
        gate = gates[..., i, :, None]
        key_memory = gate * key_memory + (1 - gate) * keys[..., i, None, :]
        value_memory = gate * value_memory + (1 - gate) * values[..., i, None, :]
        read = (key_memory @ queries[..., i, :, None]).softmax(-2)
        mixed[..., i, :] = (read * value_memory).sum(-2)
    return mixed


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("tokens", "temper"), [(1, 8.0), (2, 1.0), (8, 8.0), (37, 8.0), (65, 1.0)])
def test_closed_form_and_scan_are_the_recurrence(tokens: int, temper: float, fast: bool) -> None:
    attention, position, qkv = built(tokens, temper=temper)
    attention.fast = fast
    expected = recurrence(attention, noise(2, tokens, 8), temper)
    torch.testing.assert_close(attention.attend(qkv, position), expected, rtol=1e-11, atol=1e-12)


def test_with_the_gates_of_abc_it_is_abc() -> None:
    abc, position, qkv = prepared(Part(name="abc", options={"slots": 5}), 30)
    assert isinstance(abc, Abc)
    controls = abc.split(abc.control(noise(2, 30, 8)))
    totals = controls.logcumsumexp(-2)
    decays = functional.pad(totals[..., :-1, :] - totals[..., 1:, :], (0, 0, 1, 0))
    writes = (controls - totals).exp()
    queries = qkv.queries_BHTC / math.sqrt(4)
    mixed = slot_scan(queries, qkv.keys_BHSC, writes, decays, qkv.values_BHSC)
    torch.testing.assert_close(mixed, abc.attend(qkv, position), rtol=1e-11, atol=1e-12)


def test_a_row_sums_to_what_the_slots_did_not_forget() -> None:
    attention, position, qkv = built(6, slots=1)
    matrix = attention.effective_matrix(qkv, position)
    kept = qkv.extra[0].cumsum(-2).exp().squeeze(-1)
    torch.testing.assert_close(matrix.sum(-1), 1 - kept)
    assert matrix.min() >= 0


def test_slots_that_never_forget_are_never_written() -> None:
    attention, position, qkv = built(6)
    open_gates = qkv._replace(extra=(torch.zeros_like(qkv.extra[0]),))
    assert not attention.attend(open_gates, position).any()


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_gates_of_any_size_are_accurate_in_single_precision(size: float) -> None:
    attention = attention_of("gsa")
    single = attention.prepare(noise(1, 100, 8).float(), prepared(Part(name="gsa"), 1)[1], LayerInputs())
    single = single._replace(extra=(size * single.extra[0],))
    outputs = []
    for fast in (True, False):
        attention.fast = fast
        outputs.append(attention.attend(single, prepared(Part(name="gsa"), 1)[1]).detach())
    assert outputs[0].isfinite().all()
    assert (outputs[0] - outputs[1]).abs().max() / single.values_BHSC.abs().max() < 1e-5


def test_the_gates_add_their_parameters() -> None:
    attention = attention_of("gsa", {"slots": 16}, width=64, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 64 * 64 + 4096
