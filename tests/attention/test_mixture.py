"""Mixtures of keys: against loops over keys, mixture weights and shifts; far keys; the scan."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention.mixture import Mgk, Mixture, Mlk
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

GAUSSIAN: list[dict[str, Any]] = [
    {},
    {"components": 1},
    {"components": 3, "narrowing": 3.0},
    {"keys": "shifted"},
    {"hard": True},
    {"components": 3, "keys": "shifted", "hard": True, "narrowing": 2.0},
]


def option_id(options: dict[str, Any]) -> str:
    return str(Part(name="", options=options))


def built(name: str, options: dict[str, Any], tokens: int = 7) -> tuple[Mixture, Position, QKV]:
    attention, position = pair_of(Part(name=name, options=options), Part(name="none"))
    assert isinstance(attention, Mixture)
    if attention.weighted:
        attention.share.data.copy_(noise(attention.components * 2, seed=9))
    return attention, position, attention.prepare(noise(1, tokens, 8), position, LayerInputs())


@torch.no_grad()
def keys_of(attention: Mixture, x_TD: Tensor) -> Tensor:
    """Keys by hand, M x H x S x C."""
    keys = []
    for component in range(attention.components):
        if attention.shifted:
            flat = x_TD @ attention.key.weight.T - attention.shift[8 * component : 8 * component + 8]
        elif component:
            flat = x_TD @ attention.keys.weight[8 * component - 8 : 8 * component].T
        else:
            flat = x_TD @ attention.key.weight.T
        keys.append(torch.stack([flat[:, :4], flat[:, 4:]]))
    return torch.stack(keys)


def mixture_weights(attention: Mixture, head: int) -> list[float]:
    if not attention.weighted:
        return [1.0] * attention.components
    parts = [
        math.exp(float(attention.share[2 * component + head].detach())) for component in range(attention.components)
    ]
    return [part / sum(parts) for part in parts]


@torch.no_grad()
def looped(attention: Mgk, x_TD: Tensor, narrowing: float) -> Tensor:
    keys, tokens = keys_of(attention, x_TD), len(x_TD)
    matrix = torch.zeros(2, tokens, tokens, dtype=torch.float64)
    for head in range(2):
        queries = x_TD @ attention.query.weight[4 * head : 4 * head + 4].T
        for i in range(tokens):
            for j in range(i + 1):
                parts = []
                for r, weight in enumerate(mixture_weights(attention, head)):
                    variance = 2.0 / narrowing**r
                    distance = sum((float(queries[i, c]) - float(keys[r, head, j, c])) ** 2 for c in range(4))
                    parts.append(weight * math.exp(-distance / (2 * variance)))
                matrix[head, i, j] = max(parts) if attention.hard else sum(parts)
    return matrix / matrix.sum(-1, keepdim=True)


@pytest.mark.parametrize("options", GAUSSIAN, ids=option_id)
def test_gaussian_weights_are_those_of_a_loop(options: dict[str, Any]) -> None:
    attention, position, qkv = built("mgk", options)
    assert isinstance(attention, Mgk)
    expected = looped(attention, noise(1, 7, 8)[0], options.get("narrowing", 1.0))
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"components": 3, "keys": "shifted"}, {"components": 1}], ids=option_id)
def test_linear_weights_are_those_of_a_loop(options: dict[str, Any]) -> None:
    attention, position, qkv = built("mlk", options)
    x_TD, matrix = noise(1, 7, 8)[0], torch.zeros(2, 7, 7, dtype=torch.float64)
    keys = keys_of(attention, x_TD)

    def phi(x: float) -> float:
        return x + 1 if x > 0 else math.exp(x)

    for head in range(2):
        queries = (x_TD @ attention.query.weight[4 * head : 4 * head + 4].T).detach()
        for i in range(7):
            for j in range(i + 1):
                for r, weight in enumerate(mixture_weights(attention, head)):
                    products = (phi(float(queries[i, c])) * phi(float(keys[r, head, j, c])) for c in range(4))
                    matrix[head, i, j] += weight * sum(products)
    expected = matrix / matrix.sum(-1, keepdim=True)
    torch.testing.assert_close(attention.weights(qkv, position)[0], expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 150])
def test_the_scan_is_the_closed_form(tokens: int) -> None:
    attention, position, qkv = built("mlk", {}, tokens)
    scanned = attention.attend(qkv, position)
    assert (scanned - attention.weights(qkv, position) @ qkv.values_BHSC).abs().max() <= 1e-10


def test_rows_with_far_keys_sum_to_one() -> None:
    attention, position, qkv = built("mgk", {})
    far = qkv._replace(queries_BHTC=(qkv.queries_BHTC + 60.0).float(), keys_BHSC=qkv.keys_BHSC.float())
    matrix = attention.float().weights(far, position)
    assert torch.exp(-attention.scores(far, position).abs()).max() == 0  # a plain exponential underflows
    torch.testing.assert_close(matrix.sum(-1), torch.ones(1, 2, 7))


def test_zero_features_give_zero_outputs() -> None:
    attention, position, qkv = built("mlk", {})
    vanishing = qkv._replace(queries_BHTC=torch.full_like(qkv.queries_BHTC, -1e4).requires_grad_())
    output = attention.attend(vanishing, position)
    assert not output.any()
    output.sum().backward()
    assert vanishing.queries_BHTC.grad is not None
    assert vanishing.queries_BHTC.grad.isfinite().all()


def test_one_gaussian_key_is_softmax_where_keys_have_unit_norm() -> None:
    attention, position, qkv = built("mgk", {"components": 1})
    keys = torch.nn.functional.normalize(qkv.keys_BHSC, dim=-1)
    products = qkv.queries_BHTC[:, 0] @ keys[:, 0].mT / 2
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    expected = products.masked_fill(~mask, -torch.inf).softmax(-1)
    torch.testing.assert_close(attention.effective_matrix(qkv._replace(keys_BHSC=keys), position), expected)


def test_mixture_weights_start_equal_and_the_first_shift_at_zero() -> None:
    attention = attention_of("mgk", {"keys": "shifted", "components": 3}, width=400, heads=4)
    assert isinstance(attention, Mgk)
    assert not attention.share.any()
    assert not attention.shift[:400].any()
    assert attention.shift[400:].std().item() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("name", "options", "extra"),
    [
        ("mgk", {}, 16 * 16 + 2 * 4),
        ("mgk", {"components": 3}, 2 * 16 * 16 + 3 * 4),
        ("mgk", {"keys": "shifted"}, 2 * 16 + 2 * 4),
        ("mgk", {"hard": True}, 16 * 16),
        ("mgk", {"components": 1}, 0),
        ("mlk", {}, 16 * 16 + 2 * 4),
        ("mlk", {"keys": "shifted"}, 2 * 16 + 2 * 4),
    ],
)
def test_parameter_count_is_the_formula(name: str, options: dict[str, Any], extra: int) -> None:
    attention = attention_of(name, options, width=16, heads=4)
    complete = {"components": 2, "keys": "projected", **options}
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 16 * 16 + extra
    assert type(attention).num_parameters(16, 4, 16, **complete) == 4 * 16 * 16 + extra


def test_a_mixture_of_linear_keys_has_the_rank_of_one_key() -> None:
    attention, position, qkv = built("mlk", {}, 40)
    assert isinstance(attention, Mlk)
    past = attention.effective_matrix(qkv, position)[0, :, 20:, :20]
    assert (torch.linalg.matrix_rank(past) == 4).all()
