"""Weighted sums under z^2 / (1 + z^2) by tiles: sums and gradients of the weights written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention.expressive import rational
from attnlab.attention.ops import rational as rational_module
from attnlab.attention.ops import tiles
from attnlab.attention.ops.rational import rational_sums
from tests.builders import noise

SCALES = [1e-25, 3e-20, 1e-12, 0.1, 30.0, 1e4]


@pytest.fixture(autouse=True)
def torch_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rational_module, "usable", lambda *_: False)


def drawn(tokens: int, dtype: torch.dtype) -> list[Tensor]:
    return [noise(2, 3, tokens, 8, seed=seed, dtype=dtype).requires_grad_() for seed in range(3)]


def differentiated(mixed: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    weighted = mixed * noise(*mixed.shape, seed=7).to(mixed.dtype)
    return [mixed.detach(), *torch.autograd.grad(weighted.sum(), leaves)]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("tokens", [2, 64, 65, 128, 131, 300, 515])
def test_sums_and_gradients_are_those_of_the_weights_written_out(tokens: int, scale: float) -> None:
    # A product rounded to float32 is off by 1e-7 of the largest: at a scale of 1e4, that is 1e-3 where f is steep.
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 2e-5 if scale < 100 else 5e-3)):
        leaves = drawn(tokens, dtype)
        exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
        expected = differentiated(rational(exact[0] @ exact[1].mT * scale) @ exact[2], exact)
        queries, keys, values = leaves
        results = differentiated(rational_sums(queries, keys, values, scale), leaves)
        for result, reference in zip(results, expected, strict=True):
            assert result.dtype == dtype
            assert (result - reference).abs().max() <= tolerance * reference.abs().max()


@pytest.mark.parametrize("tokens", [5, 70])
def test_a_row_of_zeros_is_uniform_and_a_huge_product_has_weight_one(tokens: int) -> None:
    queries, keys = torch.zeros(1, 1, tokens, 2), torch.zeros(1, 1, tokens, 2)
    queries[..., 1:, 0], keys[..., 1, 0] = 1e19, 1e12
    queries[..., 3, 0] = 0.0
    values = torch.eye(tokens).expand(1, 1, tokens, tokens)
    weights = rational_sums(queries, keys, values, 1.0)[0, 0]
    assert torch.equal(weights[0], values[0, 0, 0])
    assert torch.allclose(weights[3], (torch.arange(tokens) <= 3) / 4)
    assert torch.allclose(weights[-1], values[0, 0, 1], atol=1e-20)


def test_gradients_are_finite_where_products_overflow() -> None:
    queries, keys, values = drawn(66, torch.float32)
    with torch.no_grad():
        queries.mul_(1e15), keys.mul_(1e15)
    for tokens in (60, 66):
        mixed = rational_sums(queries[..., :tokens, :], keys[..., :tokens, :], values[..., :tokens, :], 1.0)
        assert all(one.isfinite().all() for one in differentiated(mixed, [queries, keys, values]))


@pytest.mark.parametrize("tokens", [9, 70])
def test_vmapped_runs_are_each_as_alone(tokens: int) -> None:
    tensors = [noise(3, 2, 2, tokens, 4, seed=seed).requires_grad_() for seed in range(2)]
    shared = noise(2, 2, tokens, 4, seed=5).requires_grad_()
    together = torch.func.vmap(lambda queries, values: rational_sums(queries, shared, values, 0.5))(*tensors)
    alone = torch.stack([rational_sums(one, shared, other, 0.5) for one, other in zip(*tensors, strict=True)])
    for one, other in zip(
        differentiated(together, [*tensors, shared]), differentiated(alone, [*tensors, shared]), strict=True
    ):
        assert (one - other).abs().max() <= 1e-12


@pytest.mark.parametrize("tokens", [9, 70])
def test_half_precision_rounds_the_result_alone(tokens: int) -> None:
    leaves = [leaf.detach().bfloat16().requires_grad_() for leaf in drawn(tokens, torch.float32)]
    exact = [leaf.detach().float().requires_grad_() for leaf in leaves]
    mixed, expected = (rational_sums(one[0], one[1], one[2], 0.3) for one in (leaves, exact))
    assert torch.equal(mixed, expected.bfloat16())
    for one, other in zip(differentiated(mixed, leaves)[1:], differentiated(expected, exact)[1:], strict=True):
        assert one.dtype == torch.bfloat16
        assert (one - other).abs().max() <= 0.02 * other.abs().max()


def test_tiles_cover_every_allowed_pair_once() -> None:
    counts = torch.zeros(70, 70)
    for tile in tiles.tiles(70, 16):
        counts[tile.rows, tile.keys] += 1
        assert tile.first == (tile.keys.start == 0)
    assert (counts.tril() == torch.ones(70, 70).tril()).all()
