"""The chunked scan against the token-by-token recurrence and the closed form; sums of spans; rows of zeros."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from attnlab.attention.ops.scan import (
    MIN_ROW_SUM,
    averaging_scan,
    closed_form,
    divide_rows,
    head_norm,
    no_decay,
    remaining_decay,
    scan,
    segment_sums,
)
from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.builders import attention_of, noise, pair_of, position_of

BATCH, HEADS, KEYS, VALUES = 2, 3, 4, 5
LENGTHS = [1, 2, 7, 8, 9, 63, 64, 65, 131]
SCANNED = ["linear", "based", "hedgehog", "performer", "cosformer", "retention", "gla", "mamba2", "log-linear"]


def random_inputs(
    tokens: int, channels: int, strength: float = 1.0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, ...]:
    """Queries, keys, decay and values."""
    queries, keys = (noise(BATCH, HEADS, tokens, KEYS, seed=seed, dtype=dtype) for seed in (1, 2))
    decay = -strength * noise(BATCH, HEADS, tokens, channels, seed=3, dtype=dtype).square()
    return queries, keys, decay, noise(BATCH, HEADS, tokens, VALUES, seed=4, dtype=dtype)


def recurrence(queries: Tensor, keys: Tensor, decay: Tensor, values: Tensor) -> Tensor:
    """The recurrence token by token: decay, write, read."""
    state = torch.zeros(*queries.shape[:-2], queries.shape[-1], values.shape[-1], dtype=queries.dtype)
    read = []
    for token in range(queries.shape[-2]):
        remaining = decay[..., token, :, None].exp()
        state = remaining * state + keys[..., token, :, None] * values[..., token, None, :]
        read.append((queries[..., token, :, None] * state).sum(-2))
    return torch.stack(read, dim=-2)


@pytest.mark.parametrize("channels", [1, KEYS])
@pytest.mark.parametrize("tokens", LENGTHS)
def test_scan_and_closed_form_are_the_recurrence(tokens: int, channels: int) -> None:
    queries, keys, decay, values = random_inputs(tokens, channels, 0.3)
    expected = recurrence(queries, keys, decay, values)
    torch.testing.assert_close(scan(queries, keys, decay, values), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(closed_form(queries, keys, decay) @ values, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, KEYS])
def test_single_precision_is_accurate_when_strong_decay_comes_before_weak(channels: int) -> None:
    queries, keys, decay, values = random_inputs(131, channels)
    strong = torch.where(torch.arange(131)[:, None] % 40 == 7, 1e5, 1e-3)
    decay = strong * decay
    expected = recurrence(queries, keys, decay, values)
    single = queries.float(), keys.float(), decay.float()
    assert (scan(*single, values.float()).double() - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (closed_form(*single).double() @ values - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("channels", [1, KEYS])
def test_nothing_overflows_where_the_whole_state_decays(channels: int) -> None:
    queries, keys, decay, values = random_inputs(70, channels, 1e6, torch.float32)
    queries, keys, decay, values = (tensor.requires_grad_() for tensor in (queries, keys, decay - 1e3, values))
    mixed = scan(queries, keys, decay, values)
    mixed.square().sum().backward()
    expected = (queries * keys).sum(-1, keepdim=True) * values
    torch.testing.assert_close(mixed, expected)
    for tensor in (queries, keys, decay, values):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("channels", [1, KEYS])
def test_gradients_are_those_of_the_recurrence(channels: int) -> None:
    grads = []
    for run in (scan, recurrence):
        inputs = [tensor.requires_grad_() for tensor in random_inputs(37, channels, 0.3)]
        wanted = noise(BATCH, HEADS, 37, VALUES, seed=9)
        grads.append(torch.autograd.grad((run(*inputs) * wanted).sum(), inputs))
    for grad, expected in zip(*grads, strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [1, KEYS])
def test_a_chunk_of_rows_is_part_of_the_closed_form(channels: int) -> None:
    queries, keys, decay, _ = random_inputs(12, channels)
    whole = closed_form(queries, keys, decay)
    for start, end in ((0, 5), (5, 12), (11, 12)):
        rows = closed_form(queries[..., start:end, :], keys, decay, start)
        torch.testing.assert_close(rows, whole[..., start:end, :], rtol=1e-14, atol=1e-14)


def test_a_decay_for_all_sequences_or_heads_broadcasts() -> None:
    queries, keys, decay, values = random_inputs(70, 1)
    shared = decay[0, :, :, :]
    expected = recurrence(queries, keys, shared.expand_as(decay), values)
    torch.testing.assert_close(scan(queries, keys, shared, values), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(closed_form(queries, keys, shared) @ values, expected, rtol=1e-12, atol=1e-12)


def test_segment_sums_by_hand() -> None:
    decay = torch.tensor([1.0, 10.0, 100.0])
    assert segment_sums(decay).tolist() == [[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [110.0, 100.0, 0.0]]
    assert remaining_decay(decay[:, None])[:, 0].tolist() == [110.0, 100.0, 0.0]


def test_an_average_is_a_scan_divided_by_its_rows() -> None:
    queries, keys, _, values = random_inputs(70, 1)
    queries, keys = queries.exp(), keys.exp()
    weights = (queries @ keys.mT).tril()
    expected = weights / weights.sum(-1, keepdim=True) @ values
    torch.testing.assert_close(averaging_scan(queries, keys, no_decay(keys), values), expected, rtol=1e-12, atol=1e-12)


def test_rows_without_weight_are_zero_with_a_gradient_of_zero() -> None:
    weights = torch.tensor([[1.0, 3.0], [0.0, 0.0], [MIN_ROW_SUM / 4, MIN_ROW_SUM / 4]], requires_grad=True)
    rows = divide_rows(weights, weights.sum(-1, keepdim=True))
    rows.square().sum().backward()
    assert rows.tolist() == [[0.25, 0.75], [0.0, 0.0], [0.0, 0.0]]
    assert weights.grad is not None
    assert weights.grad[1:].tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("size", [1e-1, 1.0, 1e18])
def test_head_norm_gives_unit_size_for_any_size(size: float) -> None:
    read = (size * noise(1, 2, 3, 8, dtype=torch.float32)).requires_grad_()
    normed = head_norm(read)
    normed.sum().backward()
    assert normed.square().mean(-1).sub(1).abs().max() < 1e-3
    assert read.grad is not None
    assert read.grad.isfinite().all()


def test_head_norm_of_zeros_is_zero() -> None:
    assert not head_norm(torch.zeros(1, 2, 3, 8)).any()


@pytest.mark.parametrize("name", SCANNED)
@pytest.mark.parametrize("tokens", [3, 64, 150])
def test_the_scan_is_the_plain_path_to_the_last_digits(name: str, tokens: int) -> None:
    fast, position = pair_of(Part(name=name), Part(name="none"), length=256)
    plain, _ = pair_of(Part(name=name), Part(name="none"), length=256)
    plain.fast = False
    qkv = fast.prepare(noise(2, tokens, 8), position, LayerInputs())
    torch.testing.assert_close(fast.attend(qkv, position), plain.attend(qkv, position), rtol=1e-10, atol=1e-10)
    assert torch.equal(plain.effective_matrix(qkv, position), plain.weights(qkv, position))


@pytest.mark.parametrize("name", SCANNED)
def test_the_scan_under_vmap_equals_the_loop(name: str) -> None:
    models = [attention_of(name, length=128, seed=seed).double() for seed in (0, 1)]
    weights, buffers = stack_module_state(models)
    no_position, x_BTD = position_of("none"), noise(2, 70, 8)

    def output(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return functional_call(models[0], (weights, buffers), (x_BTD, no_position, LayerInputs())).output_BTD

    together = vmap(output)(weights, buffers)
    for run, model in enumerate(models):
        expected = model(x_BTD, no_position, LayerInputs()).output_BTD
        torch.testing.assert_close(together[run], expected, rtol=1e-10, atol=1e-10)


def test_a_constant_decay_is_a_geometric_sum() -> None:
    ones, decay = torch.ones(1, 1, 200, 1, dtype=torch.float64), torch.full((200, 1), math.log(0.9))
    expected = (1 - 0.9 ** torch.arange(1, 201, dtype=torch.float64)) / 0.1
    torch.testing.assert_close(scan(ones, ones, decay.double(), ones).flatten(), expected, rtol=1e-6, atol=1e-6)
