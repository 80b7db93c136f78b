"""ABC: the recurrence token by token, its gated form, its rank, and large logits of the control."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.attention.abc import Abc, causal_product
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.attention.loop_reference import prepared
from tests.builders import attention_of, noise


@torch.no_grad()
def recurrence(qkv: QKV, controls: Tensor) -> Tensor:
    """Slots filled by decay and write weight, ``z = logcumsumexp(s)``, token by token: B x H x T x C."""
    queries, keys, values = qkv.queries_BHTC, qkv.keys_BHSC, qkv.values_BHSC
    z = controls.logcumsumexp(-2)
    slots = controls.shape[-1]
    key_memory = torch.zeros(*keys.shape[:2], slots, keys.shape[-1], dtype=torch.float64)
    value_memory = torch.zeros(*values.shape[:2], slots, values.shape[-1], dtype=torch.float64)
    mixed = torch.zeros_like(values)
    for i in range(values.shape[-2]):
        decay = torch.exp(z[..., i - 1, :] - z[..., i, :]) if i else torch.zeros_like(z[..., 0, :])
        write = torch.exp(controls[..., i, :] - z[..., i, :])
        key_memory = decay[..., None] * key_memory + write[..., None] * keys[..., i, None, :]
        value_memory = decay[..., None] * value_memory + write[..., None] * values[..., i, None, :]
        read = (key_memory @ queries[..., i, :, None] / math.sqrt(queries.shape[-1])).softmax(-2)
        mixed[..., i, :] = (read * value_memory).sum(-2)
    return mixed


def built(tokens: int, slots: int = 5) -> tuple[Abc, QKV, Tensor]:
    attention, _, qkv = prepared(Part(name="abc", options={"slots": slots}), tokens)
    assert isinstance(attention, Abc)
    return attention, qkv, attention.split(attention.control(noise(2, tokens, 8)))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("tokens", [1, 2, 37, 64, 65, 150])
def test_closed_form_and_scan_are_the_recurrence(fast: bool, tokens: int) -> None:
    attention, qkv, controls = built(tokens)
    attention.fast = fast
    position = prepared(Part(name="abc"), 1)[1]
    torch.testing.assert_close(attention.attend(qkv, position), recurrence(qkv, controls), rtol=1e-11, atol=1e-12)


def test_the_matrix_is_the_sum_over_slots_of_read_weight_times_write_share() -> None:
    attention, qkv, controls = built(14)
    with torch.no_grad():
        queries, keys = qkv.queries_BHTC[0, 0], qkv.keys_BHSC[0, 0]
        written = controls[0, 0].exp()
        expected = torch.zeros(14, 14, dtype=torch.float64)
        for i in range(14):
            share = written[: i + 1] / written[: i + 1].sum(0)
            read = ((share.T @ keys[: i + 1]) @ queries[i] / 2).softmax(0)
            for j in range(i + 1):
                expected[i, j] = sum(float(read[r] * share[j, r]) for r in range(5))
    position = prepared(Part(name="abc"), 1)[1]
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0, 0], expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(expected.sum(-1), torch.ones(14, dtype=torch.float64))


def test_slots_do_not_bound_the_rank() -> None:
    attention, qkv, _ = built(14, slots=3)
    matrix = attention.effective_matrix(qkv, prepared(Part(name="abc"), 1)[1])
    assert torch.linalg.matrix_rank(matrix, rtol=1e-12).tolist() == [[14, 14], [14, 14]]


def test_every_earlier_token_has_weight() -> None:
    attention, qkv, _ = built(9)
    matrix = attention.effective_matrix(qkv, prepared(Part(name="abc"), 1)[1])
    assert matrix[..., *torch.tril_indices(9, 9)].min() > 0


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_a_control_of_any_size_is_accurate_in_single_precision(size: float) -> None:
    attention = attention_of("abc")
    position = prepared(Part(name="abc"), 1)[1]
    x_BTD = size * noise(1, 100, 8)
    single = attention.prepare(x_BTD.float(), position, LayerInputs())
    mixed = [attended(attention, single, fast) for fast in (True, False)]
    scale = single.values_BHSC.abs().max()
    assert mixed[0].isfinite().all()
    assert (mixed[0] - mixed[1]).abs().max() / scale < 1e-5


def attended(attention: object, qkv: QKV, fast: bool) -> Tensor:
    assert isinstance(attention, Abc)
    attention.fast = fast
    return attention.attend(qkv, prepared(Part(name="abc"), 1)[1]).detach()


def test_the_causal_product_in_chunks_is_a_masked_product() -> None:
    queries, keys, values = noise(130, 3), noise(130, 3, seed=1), noise(130, 4, seed=2)
    torch.testing.assert_close(causal_product(queries, keys, values), (queries @ keys.T).tril() @ values)


def test_the_control_adds_its_parameters() -> None:
    attention = attention_of("abc", {"slots": 16}, width=64, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 64 * 64 + 4096
