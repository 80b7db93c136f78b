"""Jacobian row norms: equal to those of an explicit Jacobian, exactly or in the mean over random directions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attnlab.metrics.row_norms import as_weights, jacobian_row_norms, random_directions
from tests.builders import noise, seeded

BATCH, TOKENS, WIDTH = 2, 5, 6


def gru() -> Callable[[Tensor], Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.GRU(WIDTH, WIDTH, batch_first=True).double()
    return lambda x_BTD: module(x_BTD)[0]


def softmax_attention(x_BTD: Tensor) -> Tensor:
    scores = x_BTD @ x_BTD.mT
    mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return scores.masked_fill(~mask, -torch.inf).softmax(-1) @ x_BTD.tanh()


def causal_mean(x_BTD: Tensor) -> Tensor:
    return x_BTD.cumsum(1) / torch.arange(1, x_BTD.shape[1] + 1)[:, None]


def explicit_norms(function: Callable[[Tensor], Tensor], x_BTD: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(function, x_BTD)
    return torch.stack([jacobian[row, :, :, row].square().sum((1, 3)).sqrt() for row in range(len(x_BTD))])


@pytest.mark.parametrize("independent", [True, False])
@pytest.mark.parametrize("function", [gru(), softmax_attention, causal_mean], ids=["gru", "softmax", "mean"])
def test_with_as_many_directions_as_channels_norms_are_those_of_the_explicit_jacobian(
    function: Callable[[Tensor], Tensor], independent: bool
) -> None:
    x_BTD = noise(BATCH, TOKENS, WIDTH)
    found = jacobian_row_norms(function, x_BTD, directions=WIDTH, rows_are_independent=independent)
    torch.testing.assert_close(found, explicit_norms(function, x_BTD), rtol=1e-10, atol=1e-12)


def test_fewer_directions_are_right_in_the_mean_of_the_squares() -> None:
    x_BTD, function = noise(1, 4, WIDTH), gru()
    draws = [jacobian_row_norms(function, x_BTD, directions=2, seed=seed).square() for seed in range(300)]
    expected = explicit_norms(function, x_BTD).square()
    error = torch.stack(draws).std(0) / len(draws) ** 0.5
    assert bool(((torch.stack(draws).mean(0) - expected).abs() <= 4 * error + 1e-12).all())
    assert not torch.allclose(draws[0], expected, rtol=1e-3)


def test_the_seed_decides_the_directions() -> None:
    one, two, other = random_directions(9, 3, 1), random_directions(9, 3, 1), random_directions(9, 3, 2)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    torch.testing.assert_close(one @ one.mT, torch.eye(3, dtype=torch.float64))


def test_a_causal_mean_reads_all_earlier_tokens_alike() -> None:
    weights_B1TS = as_weights(jacobian_row_norms(causal_mean, noise(BATCH, TOKENS, WIDTH)))
    rows_T = torch.arange(1, TOKENS + 1, dtype=torch.float64)
    expected = torch.ones(TOKENS, TOKENS, dtype=torch.float64).tril() / rows_T[:, None]
    torch.testing.assert_close(weights_B1TS, expected.expand(BATCH, 1, -1, -1))


def test_a_row_that_reads_nothing_stays_zeros() -> None:
    kept_T1 = (torch.arange(TOKENS) != 2).double()[:, None]
    weights_B1TS = as_weights(jacobian_row_norms(lambda x_BTD: x_BTD * kept_T1, noise(BATCH, TOKENS, WIDTH)))
    assert weights_B1TS[0, 0, 2].tolist() == [0.0] * TOKENS
    assert weights_B1TS[0, 0, 3].tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]


def test_an_output_without_gradient_is_an_error() -> None:
    with pytest.raises(ValueError, match="its output has no gradient"):
        jacobian_row_norms(lambda x_BTD: x_BTD.detach(), noise(BATCH, TOKENS, WIDTH))


def test_weights_and_their_gradients_are_left_as_they_are() -> None:
    linear = nn.Linear(WIDTH, WIDTH, dtype=torch.float64)
    nn.init.normal_(linear.weight, generator=seeded())
    jacobian_row_norms(linear, noise(BATCH, TOKENS, WIDTH))
    assert linear.weight.grad is None
