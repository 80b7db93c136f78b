"""The distributions of initial weights, the causal mask, and a masked softmax without NaN."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.tensors import QKV, AttentionOutput, at_least_float32, broadcast_shape, causal_mask, masked_softmax
from tests.builders import layer_context, noise, seeded


def test_channels_per_head() -> None:
    assert layer_context(width=12, heads=3).channels == 4


@pytest.mark.parametrize(("inputs", "gain"), [(64, 1.0), (256, 1.0), (64, 0.5)])
def test_a_linear_map_has_variance_gain_squared_over_inputs(inputs: int, gain: float) -> None:
    layer = layer_context().linear(inputs, 400, gain=gain)
    assert layer.weight.shape == (400, inputs)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert layer.weight.std().item() == pytest.approx(gain / math.sqrt(inputs), rel=0.02)
    assert layer.weight.mean().item() == pytest.approx(0.0, abs=0.01 * gain)


def test_a_bias_starts_at_zero() -> None:
    layer = layer_context().linear(4, 3, bias=True)
    assert torch.equal(layer.bias, torch.zeros(3))


def test_a_linear_map_is_the_product_with_its_weights() -> None:
    layer = layer_context().linear(4, 3).double()
    x = noise(2, 4)
    torch.testing.assert_close(layer(x), torch.einsum("bi,oi->bo", x, layer.weight))


def test_weights_are_drawn_from_the_generator_of_the_context_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (layer_context(seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.normal(5, std=1.0), same.normal(5, std=1.0))
    assert torch.equal(one.linear(3, 3).weight, same.linear(3, 3).weight)
    assert not torch.equal(one.uniform(5, bound=1.0), other.uniform(5, bound=1.0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_uniform_lies_within_its_bound_and_fills_it() -> None:
    drawn = layer_context().uniform(10_000, bound=0.25)
    assert drawn.abs().max() <= 0.25
    assert drawn.std().item() == pytest.approx(0.25 / math.sqrt(3), rel=0.02)


def test_normal_has_its_standard_deviation() -> None:
    assert layer_context().normal(10_000, std=0.3).std().item() == pytest.approx(0.3, rel=0.02)


def test_the_causal_mask_allows_what_is_not_after_the_query() -> None:
    mask = causal_mask(2, 5, 2, torch.device("cpu"))
    assert mask.tolist() == [[True, True, True, False, False], [True, True, True, True, False]]
    whole = causal_mask(6, 6, 0, torch.device("cpu"))
    assert torch.equal(whole, torch.tensor([[j <= i for j in range(6)] for i in range(6)]))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_at_least_float32(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == expected


def test_the_masked_softmax_is_the_softmax_of_the_allowed_keys() -> None:
    scores = noise(2, 3, 5)
    mask = torch.rand(2, 3, 5, generator=seeded(1)) < 0.6
    weights = masked_softmax(scores, mask)
    for batch in range(2):
        for row in range(3):
            allowed = mask[batch, row]
            assert not weights[batch, row, ~allowed].any()
            if allowed.any():
                expected = scores[batch, row, allowed].exp() / scores[batch, row, allowed].exp().sum()
                torch.testing.assert_close(weights[batch, row, allowed], expected)


def test_a_row_with_nothing_allowed_is_zero_with_a_zero_gradient() -> None:
    scores = noise(2, 4).requires_grad_()
    mask = torch.tensor([[False] * 4, [True, True, False, False]])
    weights = masked_softmax(scores, mask)
    assert torch.equal(weights[0], torch.zeros(4, dtype=torch.float64))
    weights.square().sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert not scores.grad[~mask].any()
    assert scores.grad[1, :2].any()


def test_the_masked_softmax_does_not_overflow() -> None:
    scores = torch.tensor([[3e38, -3e38, 0.0]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    assert masked_softmax(scores, everything).tolist() == [[1.0, 0.0, 0.0]]
    assert masked_softmax(scores, torch.tensor([[False, True, True]])).tolist() == [[0.0, 0.0, 1.0]]
    assert masked_softmax(scores, torch.tensor([[False, True, False]])).tolist() == [[0.0, 1.0, 0.0]]


def test_missing_tensors_are_empty_tuples() -> None:
    x = torch.zeros(1)
    qkv = QKV(x, x, x)
    assert qkv.extra == ()
    assert qkv.start == 0
    mixed = AttentionOutput(x, qkv, x)
    assert mixed.scores_BHTS == ()
    assert mixed.weights_BHTS == ()


@pytest.mark.parametrize(
    ("one", "other"), [((), ()), ((3,), ()), ((2, 1), (2, 1)), ((4, 1, 2), (3, 1)), ((1,), (5, 2)), ((2, 3), (1, 3))]
)
def test_broadcast_shapes_are_those_of_torch(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert broadcast_shape(one, other) == broadcast_shape(other, one) == torch.broadcast_shapes(one, other)
