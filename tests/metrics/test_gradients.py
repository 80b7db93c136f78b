"""Gradients by layer: against plain autograd, at the scores against their closed form, and for every attention."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention import ATTENTIONS, Attention
from attnlab.metrics.gradients import (
    Gradient,
    collect_gradients,
    gradients,
    query_to_value,
    recorded_scores,
    weight_groups,
)
from attnlab.model.transformer import Block, Transformer
from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.builders import all_positions, attention_of, model_of, noise, position_of, tokens

TIGHT = 1e-12


def blocks(model: Transformer) -> list[Block]:
    return [block for block in model.blocks if isinstance(block, Block)]


def losses(model: Transformer, batches: int = 1) -> list[Callable[[], Tensor]]:
    """Cross-entropy of random targets."""

    def loss(seed: int) -> Tensor:
        inputs = tokens(3, 8, seed)
        return functional.cross_entropy(
            model(inputs, all_positions(inputs)).logits_NV, tokens(3, 8, seed + 99).flatten()
        )

    return [lambda seed=seed: loss(seed) for seed in range(batches)]  # type: ignore[misc]  # bound now


def model_gradients(model: Transformer, losses: list[Callable[[], Tensor]]) -> tuple[Gradient, ...]:
    """The gradients of a model's own weights, grouped by their declared roles."""
    return gradients(model, losses, weight_groups(model.parameter_roles()))


def by_layer_and_kind(grads: tuple[Gradient, ...]) -> dict[tuple[int, str], Gradient]:
    return {(one.layer, one.kind): one for one in grads}


def test_norms_are_those_of_autograd() -> None:
    model = model_of(layers=2)
    grads = by_layer_and_kind(model_gradients(model, losses(model)))
    losses(model)[0]().backward()
    for layer, block in enumerate(blocks(model), 1):
        for name, kind in Attention.parameter_roles.items():
            weight = getattr(block.attention, name).weight
            one = grads[layer, kind]
            assert one.norm == pytest.approx(float(weight.grad.norm()), rel=TIGHT)
            assert one.relative == pytest.approx(float(weight.grad.norm() / weight.detach().norm()), rel=TIGHT)
        assert block.mlp is not None
        both = [block.mlp.up_proj.weight, block.mlp.down_proj.weight]
        weight_norm = math.hypot(*(float(w.detach().norm()) for w in both))
        assert grads[layer, "mlp"].norm == pytest.approx(
            math.hypot(*(float(w.grad.norm()) for w in both if w.grad is not None)), rel=TIGHT
        )
        assert grads[layer, "mlp"].weight_norm == pytest.approx(weight_norm, rel=TIGHT)


def test_layers_are_in_order_and_parameters_outside_the_blocks_are_left_out() -> None:
    model = model_of(Part(name="gpam"), layers=2)
    kinds = ["query", "key", "value", "output", "mlp", "extra", "scores"]
    assert [(one.layer, one.kind) for one in model_gradients(model, losses(model))] == [
        (layer, kind) for layer in (1, 2) for kind in kinds
    ]


def test_the_model_is_left_as_it_was() -> None:
    model = model_of()
    before = [weight.clone() for weight in model.parameters()]
    inputs = tokens(2, 8)
    logits = model(inputs, all_positions(inputs)).logits_NV
    model_gradients(model, losses(model))
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.equal(logits, model(inputs, all_positions(inputs)).logits_NV)
    assert all(block.attention.fast and "scores" not in vars(block.attention) for block in blocks(model))


def test_a_loss_that_fails_leaves_the_model_as_it_was() -> None:
    model = model_of()
    with pytest.raises(ZeroDivisionError), recorded_scores(model):
        1 / 0  # noqa: B018  # the failure
    assert all(block.attention.fast and "scores" not in vars(block.attention) for block in blocks(model))


def test_the_gradient_at_the_scores_is_its_closed_form() -> None:
    """``dS = P (G - rowsum(P G))`` with ``G = dL/dO V^T``; masked cells are zero."""
    attention, position, x = attention_of("softmax").double(), position_of("none"), noise(2, 6, 8)
    target = noise(2, 6, 8, seed=1)
    with recorded_scores(attention) as recorded:
        loss = (attention(x, position, LayerInputs()).output_BTD * target).sum()
        (gradient,) = torch.autograd.grad(loss, recorded[1])
    qkv = attention.prepare(x, position, LayerInputs())
    weights = attention.weights(qkv, position)
    outer = attention.split(target @ attention.out_proj.weight) @ qkv.values_BHSC.mT
    expected = weights * (outer - (weights * outer).sum(-1, keepdim=True))
    assert (gradient - expected).abs().max() <= TIGHT
    assert not gradient.triu(1).any()


@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_every_attention_has_gradients(name: str) -> None:
    """Also at the scores, where it has scores."""
    model = model_of(Part(name=name), layers=2)
    grads = by_layer_and_kind(model_gradients(model, losses(model)))
    has_scores = ATTENTIONS.entry(name).cls.has_scores
    assert {layer for layer, kind in grads} == {1, 2}
    assert all(math.isfinite(one.norm) and one.norm >= 0 for one in grads.values())
    assert ((1, "scores") in grads) == ((2, "scores") in grads) == has_scores
    assert not has_scores or grads[1, "scores"].norm > 0


def test_noise_is_the_relative_deviation_of_the_batches() -> None:
    weights = {"blocks.0.attention.query.weight": torch.tensor([3.0, 4.0])}
    batches = [{"blocks.0.attention.query.weight": torch.tensor(one)} for one in ([1.0, 2.0], [3.0, 2.0], [2.0, 5.0])]
    groups = {"blocks.0.attention.query.weight": (1, "query")}
    (one,) = collect_gradients(weights, batches, groups)
    # The mean is (2, 3); squared distances 2, 2 and 4.
    assert one.noise == pytest.approx(math.sqrt((2 + 2 + 4) / 2) / math.sqrt(13))
    assert one.norm == pytest.approx((math.sqrt(5) + math.sqrt(13) + math.sqrt(29)) / 3)
    assert one.relative == pytest.approx(one.norm / 5)
    assert math.isnan(collect_gradients(weights, batches[:1], groups)[0].noise)


def test_equal_batches_have_no_noise() -> None:
    model = model_of()
    one, same = model_gradients(model, losses(model)), model_gradients(model, losses(model) * 3)
    assert [a.norm for a in one] == pytest.approx([a.norm for a in same], rel=TIGHT)
    assert max(a.noise for a in same if a.kind != "scores") < 1e-7
    assert min(a.noise for a in model_gradients(model, losses(model, 3)) if a.kind != "scores") > 0.1


def test_an_unused_weight_has_a_gradient_of_zero() -> None:
    model = model_of()
    grads = model_gradients(model, [lambda: blocks(model)[0].attention.query.weight.square().sum()])
    rest = [one.norm for one in grads if (one.layer, one.kind) != (1, "query")]
    assert rest
    assert not any(rest)


def test_query_to_value_is_of_relative_norms() -> None:
    grads = [Gradient(1, "query", 2.0, 4.0), Gradient(1, "value", 3.0, 1.0), Gradient(2, "query", 1.0, 1.0)]
    assert query_to_value(grads) == {1: pytest.approx(0.5 / 3)}


def test_the_weights_of_another_model_are_grouped_by_its_user() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    groups = {"0.weight": (1, "value"), "1.weight": (2, "value")}
    grads = gradients(model, [lambda: model(noise(2, 3)).square().sum()], groups)
    assert [(one.layer, one.kind) for one in grads] == [(1, "value"), (2, "value")]
