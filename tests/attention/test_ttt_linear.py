"""TTT-linear: gradients by automatic differentiation of the loss, token by token; its identities and limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.ttt_linear import TttLinear
from attnlab.specs import ModelSpec, Modifiers, Part
from attnlab.tensors import LayerInputs
from tests.builders import model_of, noise, pair_of, tokens


def layer(**options: Any) -> tuple[TttLinear, Any]:
    """An attention of two heads of four channels whose weights are all noisy, and no position."""
    attention, no_position = pair_of(Part(name="ttt-linear", options=options), Part(name="none"))
    assert isinstance(attention, TttLinear)
    with torch.no_grad():
        for seed, weight in enumerate(attention.parameters()):  # numbers that all start alike would hide a mistake
            weight.add_(noise(*weight.shape, seed=seed), alpha=0.3)
    return attention, no_position


def recurrence(attention: TttLinear, x_TD: Tensor) -> Tensor:
    """The whole layer for one sequence: every gradient is that of the loss, at the state before the batch."""
    width = x_TD.shape[-1]
    heads, channels = attention.num_heads, width // attention.num_heads
    out = torch.zeros_like(x_TD)
    for head in range(heads):
        own = slice(head * channels, (head + 1) * channels)
        gain, bias = attention.gain_H1C[head, 0], attention.bias_H1C[head, 0]

        def model(x_C: Tensor, matrix: Tensor, offset: Tensor, gain: Tensor = gain, bias: Tensor = bias) -> Tensor:
            read = x_C @ matrix + offset
            normed = (read - read.mean()) / torch.sqrt(((read - read.mean()) ** 2).mean() + 1e-6)
            return x_C + gain * normed + bias

        before = attention.start_HCC[head].detach(), attention.offset_H1C[head, 0].detach()
        sums = [torch.zeros_like(tensor) for tensor in before]
        for t, x_D in enumerate(x_TD):
            q, k, v = (part.weight[own] @ x_D for part in (attention.query, attention.key, attention.value))
            variables = [tensor.clone().requires_grad_() for tensor in before]
            loss = (model(k, *variables) - v).square().sum() / 2
            rate = torch.sigmoid(attention.rate.weight[head] @ x_D + attention.rate.bias[head]) / channels
            grads = torch.autograd.grad(loss, variables)
            sums = [total + rate.detach() * grad for total, grad in zip(sums, grads, strict=True)]
            place = t % attention.batch
            share = max(0.0, 1 / (place + 1) + float(attention.place_L[place].detach()))
            now = [tensor - share * total for tensor, total in zip(before, sums, strict=True)]
            out[t, own] = model(q, now[0], now[1]).detach()
            if place == attention.batch - 1:
                before, sums = (now[0], now[1]), [torch.zeros_like(total) for total in sums]
    normed = functional.layer_norm(out, (width,), attention.norm.weight, attention.norm.bias, 1e-6)
    return normed @ attention.out_proj.weight.T


@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("fast", [True, False])
def test_the_layer_is_gradient_descent_on_the_loss(batch: int, fast: bool) -> None:
    attention, no_position = layer(batch=batch)
    attention.fast = fast
    x_BTD = noise(1, 37, 8)
    with torch.no_grad():
        out = attention(x_BTD, no_position, LayerInputs()).output_BTD
    assert (out[0] - recurrence(attention, x_BTD[0])).abs().max() < 1e-9


def test_the_effective_matrix_is_that_of_the_updates() -> None:
    """What a head reads beyond the answer of the start is the matrix times the updates; rows of the future are zero."""
    attention, no_position = layer(batch=4)
    qkv = attention.prepare(noise(1, 11, 8), no_position, LayerInputs())
    matrix = attention.effective_matrix(qkv, no_position)
    torch.testing.assert_close(matrix, attention.weights(qkv, no_position), rtol=0, atol=1e-12)
    assert not matrix.triu(1).any()
    rows = attention.weights(qkv._replace(queries_BHTC=qkv.queries_BHTC[..., 5:9, :], start=5), no_position)
    torch.testing.assert_close(rows, matrix[..., 5:9, :], rtol=0, atol=1e-12)


def test_a_share_below_zero_counts_as_zero() -> None:
    attention, no_position = layer(batch=4)
    with torch.no_grad():
        attention.place_L.fill_(-5.0)
    qkv = attention.prepare(noise(1, 11, 8), no_position, LayerInputs())
    assert not attention.weights(qkv, no_position).any()


def test_a_batch_longer_than_the_sequence_takes_every_gradient_at_the_start() -> None:
    attention, no_position = layer(batch=64)
    x_BTD = noise(1, 20, 8)
    alone = [attention.prepare(x_BTD[:, t : t + 1], no_position, LayerInputs()).values_BHSC for t in range(20)]
    together = attention.prepare(x_BTD, no_position, LayerInputs()).values_BHSC
    torch.testing.assert_close(together, torch.cat(alone, -2), rtol=0, atol=1e-12)


def test_the_state_within_a_batch_is_twice_as_large() -> None:
    attention, _ = layer(batch=4)
    assert [attention.state_size(tokens) for tokens in (0, 3, 4, 7, 8)] == [0, 40, 40, 80, 40]


@pytest.mark.parametrize("modifiers", [Modifiers(value_residual="learned"), Modifiers(exclusive=True)])
def test_modifiers_of_values_act_on_the_updates(modifiers: Modifiers) -> None:
    model = model_of(Part(name="ttt-linear"), modifiers=modifiers)
    assert isinstance(model.spec, ModelSpec)
    assert model(tokens(2, 40), None).logits_NV.isfinite().all()
