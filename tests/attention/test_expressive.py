"""Expressive attention: the rational form, over forty orders of magnitude."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnlab.attention import Attention
from attnlab.attention.expressive import Expressive
from attnlab.attention.expressive import rational as fused
from attnlab.errors import InvalidValueError
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs, causal_mask_at
from tests.builders import attention_of, noise, pair_of, position_of, seeded

Array = NDArray[np.float64]

N = 24
RANGES = {"all": (-20, 20), "tiny": (-20, -16), "huge": (16, 20), "small": (-4, 0), "around one": (-1, 1)}


def rational(z: Array, factor: Array | float = 1.0) -> Array:
    """The definition, row by row over the keys not after the query: no logarithm, no shift."""
    magnitude = np.abs(z)
    with np.errstate(divide="ignore"):
        f = np.where(magnitude <= 1, magnitude**2 / (1 + magnitude**2), 1 / (1 + (1 / magnitude) ** 2))
    unnormalized = np.tril(f * factor)
    return unnormalized / unnormalized.sum(-1, keepdims=True)


def gradients(z: Array, weights: Array, loss: Array) -> tuple[Array, Array]:
    """f'(z_j) / S of the allowed keys, and the gradient of ``sum(loss * weights)``: that times (loss_j - mean loss)."""
    f = np.tril(1 / (1 + np.abs(z) ** -2.0))
    scale = np.tril(2 * f * f / np.abs(z) ** 3) / f.sum(-1, keepdims=True)
    return scale, np.sign(z) * scale * (loss - (weights * loss).sum(-1, keepdims=True))


def reading(z_TS: Tensor) -> tuple[Attention, QKV]:
    """An attention of scale one, with queries and keys of which the products are exactly the given numbers."""
    attention = attention_of("expressive", {"scale": 1.0}, width=z_TS.shape[-1], heads=1)
    identity = torch.eye(z_TS.shape[-1], dtype=z_TS.dtype)[None, None]
    return attention, QKV(z_TS[None, None], identity, identity)


def log_uniform(low: float, high: float, seed: int) -> Tensor:
    """Numbers of either sign and log-uniform size, float32."""
    size = 10 ** (low + (high - low) * torch.rand(N, N, generator=seeded(seed), dtype=torch.float64))
    return (size * (torch.randint(2, (N, N), generator=seeded(seed + 1)) * 2 - 1)).float()


@pytest.mark.parametrize("magnitude", RANGES)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fast", [True, False])
def test_weights_are_the_rational_form_over_forty_orders_of_magnitude(magnitude: str, seed: int, fast: bool) -> None:
    z_TS = log_uniform(*RANGES[magnitude], seed).requires_grad_()
    attention, qkv = reading(z_TS)
    attention.fast = fast
    weights = attention.weights(qkv, position_of("none"))[0, 0]
    expected = rational(z_TS.detach().double().numpy())
    assert np.abs(weights.detach().double().numpy() - expected).max() <= 1e-6
    loss_TS = torch.rand(N, N, generator=seeded(9))
    (weights * loss_TS).sum().backward()
    assert z_TS.grad is not None
    assert z_TS.grad.isfinite().all()
    assert not z_TS.grad.triu(1).any()
    scale_TS, grad_TS = gradients(z_TS.detach().double().numpy(), expected, loss_TS.double().numpy())
    tolerance_TS = np.where(expected > 1e-15, 1e-4, 2.0) * scale_TS  # a key without weight may lose its own gradient
    assert (np.abs(z_TS.grad.double().numpy() - grad_TS) <= tolerance_TS + 1e-30).all()


@pytest.mark.parametrize("size", [1e-20, 1e-10, 1e-4, 1.0, 1e4, 1e10, 1e20])
def test_equal_magnitudes_have_equal_weights(size: float) -> None:
    attention, qkv = reading(torch.full((4, 4), size))
    weights = attention.weights(qkv, position_of("none"))[0, 0]
    assert np.abs(weights.double().numpy() - np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]).max() <= 1e-7


def test_small_scores_are_weighted_by_their_squares() -> None:
    row = torch.tensor([[1.0, 2.0, 3.0]]).expand(3, 3)
    for size in (1e-3, 1e-8, 1e-18):
        attention, qkv = reading(row * size)
        weights = attention.weights(qkv, position_of("none"))[0, 0, 2]
        torch.testing.assert_close(weights, torch.tensor([1.0, 4.0, 9.0]) / 14, rtol=1e-5, atol=1e-6)


def test_a_row_of_zeros_is_uniform_and_its_gradient_finite() -> None:
    z_TS = torch.zeros(4, 4, requires_grad=True)
    attention, qkv = reading(z_TS)
    weights = attention.weights(qkv, position_of("none"))[0, 0]
    torch.testing.assert_close(weights, torch.ones(4, 4).tril() / torch.arange(1, 5)[:, None])
    weights.square().sum().backward()
    assert z_TS.grad is not None
    assert z_TS.grad.isfinite().all()


def test_an_orthogonal_key_has_no_weight() -> None:
    attention, qkv = reading(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 1e-9, 0.0]]))
    weights = attention.weights(qkv, position_of("none"))[0, 0]
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    assert (weights - expected).abs().max() <= 1e-28


def test_a_masked_key_of_any_size_changes_nothing() -> None:
    z_TS = noise(5, 5, dtype=torch.float32)
    attention, qkv = reading(z_TS)
    weights = attention.weights(qkv, position_of("none"))
    for size in (0.0, 1e-30, 1e20):
        attention, qkv = reading(torch.where(torch.ones(5, 5).tril() > 0, z_TS, torch.tensor(size)))
        assert torch.equal(attention.weights(qkv, position_of("none")), weights)


def test_the_sign_of_a_score_has_no_effect() -> None:
    z_TS = noise(7, 7)
    sign_TS = torch.randint(2, (7, 7), generator=seeded(5)) * 2.0 - 1
    attention, qkv = reading(z_TS)
    _, flipped = reading(z_TS * sign_TS)
    position = position_of("none")
    assert torch.equal(attention.weights(qkv, position), attention.weights(flipped, position))


def test_reversed_queries_give_the_same_output() -> None:
    attention, position = pair_of(Part(name="expressive"), Part(name="none"))
    x_BTD = noise(2, 6, 8)
    before = attention(x_BTD, position, LayerInputs()).output_BTD
    with torch.no_grad():
        attention.query.weight.neg_()
    assert torch.equal(attention(x_BTD, position, LayerInputs()).output_BTD, before)


@pytest.mark.parametrize(("options", "factor"), [({}, 0.5), ({"scale": 1.0}, 1.0), ({"scale": 3.0}, 3.0)])
def test_the_scale_is_applied_before_the_square(options: dict[str, float], factor: float) -> None:
    attention, position = pair_of(Part(name="expressive", options=options), Part(name="none"))
    qkv = attention.prepare(noise(2, 6, 8), position, LayerInputs())
    weights = attention.weights(qkv, position).detach().numpy()
    products = (qkv.queries_BHTC @ qkv.keys_BHSC.mT).detach().numpy()
    assert np.abs(weights - rational(factor * products)).max() <= 1e-12


def test_larger_scores_flatten_the_rows() -> None:
    z_TS = noise(8, 8)
    entropies = []
    for scale in (0.1, 1.0, 10.0, 1000.0):
        attention, qkv = reading(scale * z_TS)
        last = attention.weights(qkv, position_of("none"))[0, 0, -1]
        entropies.append(-(last * last.log()).sum().item() / math.log(8))
    assert entropies == sorted(entropies)
    assert entropies[-1] > 0.99


def test_alibi_multiplies_after_the_square() -> None:
    attention, position = pair_of(Part(name="expressive"), Part(name="alibi"))
    qkv = attention.prepare(noise(2, 9, 8), position, LayerInputs())
    weights = attention.weights(qkv, position).detach().numpy()
    z = (qkv.queries_BHTC @ qkv.keys_BHSC.mT / 2).detach().numpy()
    far = np.arange(9)[:, None] - np.arange(9)
    factor = np.exp(-np.array([2.0**-4, 2.0**-8])[:, None, None] * far)
    assert np.abs(weights - rational(z, factor)).max() <= 1e-12


def test_a_slope_of_almost_nothing_is_no_position() -> None:
    attention, position = pair_of(Part(name="expressive"), Part(name="alibi", options={"octaves": 900.0}))
    qkv = attention.prepare(noise(1, 6, 8), position, LayerInputs())
    assert torch.equal(attention.weights(qkv, position), attention.weights(qkv, position_of("none")))


def test_the_jacobian_is_the_one_of_the_rational_form() -> None:
    z_S = noise(6)

    def weights(row_S: Tensor) -> Tensor:
        attention, qkv = reading(torch.cat([torch.ones(5, 6, dtype=torch.float64), row_S[None]]))
        return attention.weights(qkv, position_of("none"))[0, 0, 5]

    jacobian = torch.autograd.functional.jacobian(weights, z_S)
    f = z_S.square() / (1 + z_S.square())
    grad, total, w = 2 * z_S / (1 + z_S.square()).square(), f.sum(), f / f.sum()
    expected = (torch.eye(6, dtype=torch.float64) - w[:, None]) * grad / total
    torch.testing.assert_close(jacobian, expected, rtol=1e-11, atol=1e-12)


def test_it_has_as_many_parameters_as_softmax() -> None:
    count = {
        name: sum(weight.numel() for weight in attention_of(name).parameters()) for name in ("softmax", "expressive")
    }
    assert count["softmax"] == count["expressive"]


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_scale_that_is_not_positive_is_refused(scale: float) -> None:
    with pytest.raises(InvalidValueError) as caught:
        attention_of("expressive", {"scale": scale})
    assert str(caught.value) == (
        f"  Option 'scale' cannot be {scale!r}.\n  Input should be greater than 0. Default: None."
    )


def test_the_backward_agrees_with_finite_differences() -> None:
    z_TS = noise(1, 2, 6, 6).requires_grad_()
    assert torch.autograd.gradcheck(fused, z_TS)
    chunk_TS = noise(1, 2, 3, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: fused(z, 3), chunk_TS)


def test_a_row_of_zeros_is_uniform_on_both_paths() -> None:
    attention, qkv = reading(torch.zeros(4, 4))
    for fast in (True, False):
        attention.fast = fast
        weights = attention.weights(qkv, position_of("none"))[0, 0]
        torch.testing.assert_close(weights, torch.ones(4, 4).tril() / torch.arange(1, 5)[:, None])


def test_the_fast_path_under_vmap_equals_the_loop() -> None:
    z_KTS = noise(3, 5, 5)

    def loss(z_TS: Tensor) -> Tensor:
        return fused(z_TS).square().sum()

    together = torch.func.vmap(torch.func.grad(loss))(z_KTS)
    alone = torch.stack([torch.func.grad(loss)(z_TS) for z_TS in z_KTS])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    first_TS = z_KTS[0].clone().requires_grad_()
    torch.testing.assert_close(alone[0], torch.autograd.grad(loss(first_TS), first_TS)[0])


def test_query_rows_have_no_weight_on_later_keys() -> None:
    z_BHPS = noise(2, 1, 3, 7)
    mask = causal_mask_at(torch.tensor([[0, 3, 6], [5, 1, 2]]), 7, 4)
    f = (z_BHPS.square() / (1 + z_BHPS.square())).masked_fill(~mask, 0.0)
    weights = fused(z_BHPS.masked_fill(~mask, torch.inf), mask=mask)
    torch.testing.assert_close(weights, f / f.sum(-1, keepdim=True), rtol=1e-12, atol=1e-12)


def test_query_rows_beyond_the_limit_are_computed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, position = pair_of(Part(name="expressive"), Part(name="none"))
    assert isinstance(attention, Expressive)
    query_positions_BP = torch.tensor([[1, 4, 9], [0, 2, 3]])
    qkv = attention.prepare(noise(2, 12, 8), position, LayerInputs())
    with torch.no_grad():
        expected = attention.attend_queries(qkv, position, query_positions_BP)
        monkeypatch.setattr(attention, "max_score_elements", 2 * 2 * 12 * 2)
        rows: list[int] = []
        products = attention.products

        def recorded(chunk: QKV) -> Tensor:
            rows.append(chunk.queries_BHTC.shape[-2])
            return products(chunk)

        monkeypatch.setattr(attention, "products", recorded)
        torch.testing.assert_close(
            attention.attend_queries(qkv, position, query_positions_BP), expected, rtol=1e-12, atol=1e-12
        )
    assert rows == [2, 1]
