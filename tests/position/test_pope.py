"""PoPE: the angle of a product depends on the distance alone, its size on the content."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.attention.expressive import Expressive
from attnlab.errors import IncompatiblePartsError
from attnlab.experiments.compatibility import check_position
from attnlab.position import Position
from attnlab.position.per_layer import LayerPosition
from attnlab.position.pope import Pope
from attnlab.specs import ModelSpec, Part
from attnlab.tensors import LayerInputs
from tests.builders import attention_of, model_of, noise, pair_of, position_of, tokens


def shifts_of(position: Position, layer: int = 0) -> Tensor:
    """The shifts of one layer, without a gradient."""
    assert isinstance(position, Pope)
    return position.shift_LHC[layer].detach()


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(("base", "shift"), [(10_000.0, "zero"), (10.0, "uniform")])
def test_scores_are_sums_of_cosines(base: float, shift: str) -> None:
    attention, position = pair_of(Part(name="softmax"), Part(name="pope", options={"base": base, "shift": shift}))
    x = noise(1, 6, 8)
    plain, _ = pair_of(Part(name="softmax"), Part(name="none"))
    before = plain.prepare(x, position_of("none"), LayerInputs())
    scores = attention.scores(attention.prepare(x, position, LayerInputs()), position)
    shifts = shifts_of(position)
    assert scores.requires_grad
    scores = scores.detach()
    before = before._replace(queries_BHTC=before.queries_BHTC.detach(), keys_BHSC=before.keys_BHSC.detach())
    for head in range(2):
        for i in range(6):
            for j in range(6):
                expected = sum(
                    softplus(float(before.queries_BHTC[0, head, i, c]))
                    * softplus(float(before.keys_BHSC[0, head, j, c]))
                    * math.cos((j - i) * base ** (-c / 4) + float(shifts[head, c]))
                    for c in range(4)
                )
                assert float(scores[0, head, i, j]) == pytest.approx(expected / math.sqrt(4), abs=1e-12)


def test_what_a_query_holds_does_not_change_the_angle() -> None:
    position = position_of("pope", {"shift": "uniform"}).double()
    rotation = position.for_input(noise(1, 9, 8), 0)
    for seed in range(2):
        # With one channel that matters, the score is a positive number times a cosine of the distance.
        content = torch.full((1, 2, 9, 4), -60.0, dtype=torch.float64)
        content[..., 1] = noise(1, 2, 9, seed=seed)
        products = rotation.rotate(content) @ rotation.rotate_keys(content).mT
        signs = products.sign()
        for distance in range(1, 9):
            assert len(set(signs[0, 0].diagonal(-distance).tolist())) == 1


def test_shifts_are_clamped_and_start_where_the_option_says() -> None:
    zero, uniform = position_of("pope"), position_of("pope", {"shift": "uniform"})
    assert not shifts_of(zero).any()
    started = shifts_of(uniform)
    assert -2 * math.pi <= started.min() < started.max() <= 0
    keys = noise(1, 2, 5, 4, dtype=torch.float32)
    x = noise(1, 5, 8, dtype=torch.float32)
    at_zero = zero.for_input(x, 0).rotate_keys(keys)
    shifts_of(zero).fill_(1.0)
    assert torch.equal(zero.for_input(x, 0).rotate_keys(keys), at_zero)


def test_every_layer_has_shifts_of_its_own() -> None:
    model, inputs = model_of(position=Part(name="pope")), tokens(2, 6)
    before = model(inputs, None, trace=True).trace[0].scores_BHTS
    shifts_of(model.position, 1).fill_(-1.0)
    after = model(inputs, None, trace=True).trace[0].scores_BHTS
    assert torch.equal(before[0][0], after[0][0])
    assert (before[1][0] - after[1][0]).abs().max() > 1e-3


def test_a_chunk_of_queries_has_the_angles_from_its_start() -> None:
    rotation = position_of("pope").double().for_input(noise(1, 9, 8), 0)
    x = noise(1, 2, 9, 4)
    assert torch.equal(rotation.rotate(x[..., 5:, :], 5), rotation.rotate(x)[..., 5:, :])


@pytest.mark.parametrize("attention", ["linear", "gla", "delta", "latent", "parallax", "wall", "path", "mgk", "coda"])
def test_it_is_refused_where_queries_and_keys_are_more_than_their_products(attention: str) -> None:
    with pytest.raises(IncompatiblePartsError, match="'pope' defines products of queries and keys") as caught:
        check_position(ModelSpec(attention=(Part(name=attention),), position=Part(name="pope")))
    assert "rotary" in str(caught.value)


@pytest.mark.parametrize("name", ["softmax", "expressive", "differential", "grouped", "sparse", "moba", "gpam"])
def test_single_precision_agrees_on_fast_and_plain_paths(name: str) -> None:
    check_position(ModelSpec(attention=(Part(name=name),), position=Part(name="pope")))
    attention, position = attention_of(name, width=32, heads=4, length=96), position_of("pope", width=32, heads=4)
    x = noise(2, 96, 32, dtype=torch.float32)
    fast = attention(x, position, LayerInputs()).output_BTD
    attention.fast = False
    assert (attention(x, position, LayerInputs()).output_BTD - fast).abs().max() < 1e-4


def test_the_product_of_expressive_attention_keeps_its_scale() -> None:
    attention, position = pair_of(Part(name="expressive", options={"scale": 1.0}), Part(name="pope"))
    assert isinstance(attention, Expressive)
    qkv = attention.prepare(noise(1, 5, 8), position, LayerInputs())
    softmax, _ = pair_of(Part(name="softmax"), Part(name="pope"))
    torch.testing.assert_close(attention.products(qkv), math.sqrt(4) * softmax.score(qkv), rtol=1e-12, atol=1e-12)


def test_layers_with_other_positions_between_have_the_shifts_in_their_order() -> None:
    position = Part(name="none", then=(Part(name="pope", options={"shift": "uniform"}),))
    model, inputs = model_of(position=position, layers=4), tokens(2, 6)
    before = model(inputs, None, trace=True).trace[0].scores_BHTS
    inner = model.position.of_layer(3)
    assert isinstance(inner, LayerPosition)
    assert len(list(inner.inner.parameters())) == 2
    shifts_of(inner.inner, 1).mul_(0.5)
    after = model(inputs, None, trace=True).trace[0].scores_BHTS
    assert all(torch.equal(one[0], other[0]) for one, other in zip(before[:3], after[:3], strict=True))
    assert (before[3][0] - after[3][0]).abs().max() > 1e-3
