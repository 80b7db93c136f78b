"""GPAM: two softmaxes, entry by entry; the exact gradient of the dual form; the values of its lambdas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS, Attention
from attnlab.attention.gpam import Gpam
from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs, causal_mask
from tests.builders import attention_of, noise, pair_of

MODES: list[dict[str, Any]] = [
    {"lambdas": "tied", "plus": 0.75},
    {"lambdas": "untied", "plus": 0.25, "minus": 1.5},
    {"lambdas": "untied", "plus": 0.375},
    {"lambdas": "trainable", "plus": 0.875},
    {"lambdas": "trainable-untied", "plus": 2.0, "minus": 0.0},
    {"lambdas": "tied", "plus": 1.0, "layers": 2},
]
over_modes = pytest.mark.parametrize("options", MODES, ids=lambda options: str(Part(name="gpam", options=options)))


def built(options: dict[str, Any], position: str = "none") -> tuple[Gpam, Position, QKV]:
    attention, built_position = pair_of(Part(name="gpam", options=options), Part(name=position))
    assert isinstance(attention, Gpam)
    return attention, built_position, attention.prepare(noise(1, 6, 8), built_position, LayerInputs())


def lambdas_of(options: dict[str, Any]) -> tuple[float, float]:
    plus = options["plus"]
    return plus, options.get("minus", plus)


def softmaxed(scores: list[float]) -> list[float]:
    parts = [math.exp(score) for score in scores]
    return [part / sum(parts) for part in parts]


@torch.no_grad()
def looped(attention: Gpam, x_TD: Tensor, plus: float, minus: float) -> list[list[list[float]]]:
    """The weights of one sequence without position, head by head, row by row."""
    matrices = []
    for head in range(2):
        rows = slice(4 * head, 4 * head + 4)
        queries, keys = x_TD @ attention.query.weight[rows].T, x_TD @ attention.key.weight[rows].T
        matrix = []
        for i in range(len(x_TD)):
            projected = queries[i]
            if len(attention.negative) == 2:
                projected = projected @ attention.negative[0][head]
            negative = torch.clamp(projected, min=0) @ attention.negative[-1][head]
            positive = softmaxed([float(queries[i] @ keys[j]) / 2 for j in range(i + 1)])
            subtracted = softmaxed([float(negative @ keys[j]) / 2 for j in range(i + 1)])
            row = [(1 + plus) * p - minus * n for p, n in zip(positive, subtracted, strict=True)]
            matrix.append(row + [0.0] * (len(x_TD) - i - 1))
        matrices.append(matrix)
    return matrices


@over_modes
def test_weights_are_those_of_a_loop(options: dict[str, Any]) -> None:
    attention, position, qkv = built(options)
    expected = torch.tensor(looped(attention, noise(1, 6, 8)[0], *lambdas_of(options)), dtype=torch.float64)
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lambdas", ["tied", "untied", "trainable", "trainable-untied"])
@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lambdas_of_zero_are_softmax_exactly(lambdas: str, position: str, dtype: torch.dtype) -> None:
    gpam, built_position = pair_of(Part(name="gpam", options={"lambdas": lambdas, "plus": 0.0}), Part(name=position))
    softmax, _ = pair_of(Part(name="softmax"), Part(name=position))
    softmax.fast = False
    softmax.load_state_dict({name: weight for name, weight in gpam.state_dict().items() if name.endswith("weight")})
    x_BTD = noise(3, 7, 8, dtype=dtype)
    outs = [one.to(dtype)(x_BTD, built_position.to(dtype), LayerInputs(), trace=True) for one in (gpam, softmax)]
    assert torch.equal(outs[0].output_BTD, outs[1].output_BTD)
    assert torch.equal(outs[0].weights_BHTS[0], outs[1].weights_BHTS[0])


@over_modes
@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_every_row_sums_to_one_plus_plus_less_minus(options: dict[str, Any], position: str) -> None:
    attention, built_position, qkv = built(options, position)
    plus, minus = lambdas_of(options)
    matrix = attention.effective_matrix(qkv, built_position)
    torch.testing.assert_close(matrix.sum(-1), torch.full_like(matrix[..., 0], 1 + plus - minus))
    torch.testing.assert_close(matrix[..., 0, 0], torch.full_like(matrix[..., 0, 0], 1 + plus - minus))


def test_entries_stay_within_their_range_and_fill_it() -> None:
    attention, position, qkv = built({"lambdas": "untied", "plus": 1.0, "minus": 0.5})
    sharp = qkv._replace(queries_BHTC=200 * qkv.queries_BHTC)
    matrix = attention.effective_matrix(sharp, position)
    assert matrix.min() >= -0.5 - 1e-12
    assert matrix.max() <= 2.0 + 1e-12
    assert matrix.min() < -0.49
    assert matrix.max() > 1.99


def test_the_backward_is_the_exact_one() -> None:
    options = {"lambdas": "trainable-untied", "plus": 0.625, "minus": 0.75}
    attention, _, qkv = built(options)
    scores = noise(1, 2, 2, 6, 6, seed=3).requires_grad_()
    mask = causal_mask(6, 6, 0, torch.device("cpu"))
    wanted = noise(1, 2, 6, 6, seed=4)
    (attention.normalize(scores, mask, qkv) * wanted).sum().backward()
    with torch.no_grad():
        positive, negative = scores.masked_fill(~mask, -torch.inf).softmax(-1).unbind(1)
    expected_positive = 1.625 * positive * (wanted - (positive * wanted).sum(-1, keepdim=True))
    expected_negative = -0.75 * negative * (wanted - (negative * wanted).sum(-1, keepdim=True))
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad[:, 0], expected_positive)
    torch.testing.assert_close(scores.grad[:, 1], expected_negative)
    assert not scores.grad[..., ~mask].any()
    torch.testing.assert_close(attention.plus_H.grad, (wanted * positive).sum((0, 2, 3)))
    torch.testing.assert_close(attention.minus_H.grad, -(wanted * negative).sum((0, 2, 3)))


def test_a_tied_lambda_has_the_gradient_of_both_branches() -> None:
    attention, _, qkv = built({"lambdas": "trainable"})
    assert attention.minus_H is attention.plus_H
    scores, wanted = noise(1, 2, 2, 6, 6, seed=3), noise(1, 2, 6, 6, seed=4)
    mask = causal_mask(6, 6, 0, torch.device("cpu"))
    (attention.normalize(scores, mask, qkv) * wanted).sum().backward()
    positive, negative = scores.masked_fill(~mask, -torch.inf).softmax(-1).unbind(1)
    torch.testing.assert_close(attention.plus_H.grad, (wanted * (positive - negative)).sum((0, 2, 3)))


def test_a_negative_query_of_zero_subtracts_the_mean() -> None:
    attention, position, qkv = built({"lambdas": "tied", "plus": 0.5})
    silent = qkv.queries_BHTC.clone()
    silent[:, 1] = 0
    matrix = attention.effective_matrix(qkv._replace(queries_BHTC=silent), position)
    softmax = (qkv.queries_BHTC[:, 0] @ qkv.keys_BHSC[:, 0].mT / 2).masked_fill(
        ~causal_mask(6, 6, 0, torch.device("cpu")), -torch.inf
    )
    mean = torch.ones(6, 6, dtype=torch.float64).tril() / torch.arange(1, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(matrix, 1.5 * softmax.softmax(-1) - 0.5 * mean)


@pytest.mark.parametrize("position", ["rotary", "alibi"])
def test_the_position_applies_to_both_branches(position: str) -> None:
    attention, built_position, qkv = built({"lambdas": "tied", "plus": 1.0}, position)
    bare = attention.project(noise(1, 6, 8), LayerInputs())
    for branch in (0, 1):
        turned = (
            built_position.rotate(bare.queries_BHTC)[:, branch] @ built_position.rotate(bare.keys_BHSC)[:, 0].mT / 2
        )
        bias = built_position.bias(turned, bare, 0)
        expected = turned if bias is None else turned + bias
        torch.testing.assert_close(attention.scores(qkv, built_position)[:, branch], expected)
        assert (expected - bare.queries_BHTC[:, branch] @ bare.keys_BHSC[:, 0].mT / 2).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("options", "learned"),
    [
        ({"lambdas": "tied"}, 0),
        ({"lambdas": "untied"}, 0),
        ({"lambdas": "trainable"}, 4),
        ({"lambdas": "trainable-untied"}, 8),
    ],
)
@pytest.mark.parametrize("layers", [1, 2])
def test_it_adds_width_times_channels_and_its_lambdas(options: dict[str, Any], learned: int, layers: int) -> None:
    attention: Attention = attention_of("gpam", {**options, "layers": layers}, width=16, heads=4)
    count = sum(weight.numel() for weight in attention.parameters() if weight.requires_grad)
    assert count == 4 * 16 * 16 + layers * 16 * 4 + learned


def test_lambdas_start_at_their_options() -> None:
    for options in MODES:
        attention, *_ = built(options)
        plus, minus = lambdas_of(options)
        assert attention.plus_H.tolist() == [plus, plus]
        assert attention.minus_H.tolist() == [minus, minus]


def test_dagpam_is_an_alias() -> None:
    assert ATTENTIONS.entry("dagpam") is ATTENTIONS.entry("gpam")
    assert "dagpam" in ATTENTIONS


@pytest.mark.parametrize("lambdas", ["tied", "trainable"])
def test_minus_has_no_meaning_where_the_lambdas_are_tied(lambdas: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        attention_of("gpam", {"lambdas": lambdas, "minus": 0.5})
    assert str(caught.value) == (
        f"  'minus' has no meaning where lambdas are {lambdas}.\n"
        "  Leave 'minus' out, or use lambdas=untied or lambdas=trainable-untied."
    )


def test_a_negative_lambda_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"Option 'plus' cannot be -0\.5\.") as caught:
        attention_of("gpam", {"plus": -0.5})
    assert caught.value.hint == "Input should be greater than or equal to 0. Default: 0.5."
