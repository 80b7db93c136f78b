"""Reach: windows by their closed form, dense attentions after one layer, patterns that never connect all tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention.ops.sparsity import depth, pattern
from attnlab.metrics.reach import layers_needed, measure_reach
from attnlab.specs import Part
from tests.builders import all_positions, model_of, tokens


def window(length: int, width: int, batch: int = 2, heads: int = 1) -> Tensor:
    far = torch.arange(length)[:, None] - torch.arange(length)
    return ((far >= 0) & (far < width)).double().expand(batch, heads, length, length) / width


@pytest.mark.parametrize("width", [2, 3, 5])
def test_a_window_reaches_its_width_less_one_further_with_each_layer(width: int) -> None:
    length, layers = 12, 12
    reaches = measure_reach([window(length, width)] * layers)
    for one in reaches:
        connected = sum(min(i, one.layer * (width - 1)) + 1 for i in range(length))
        assert one.share == pytest.approx(connected / (length * (length + 1) / 2))
    assert layers_needed(reaches) == -(-(length - 1) // (width - 1))


def test_it_agrees_with_the_table_of_the_patterns() -> None:
    rows = torch.arange(64)
    layers = [pattern("strided", rows[:, None], rows, window=8, part=part) for part in (0, 1)]
    reaches = measure_reach([layers[layer % 2].double()[None, None] for layer in range(6)])
    assert layers_needed(reaches) == depth(layers)


def test_heads_add_up_and_sequences_do_not() -> None:
    """The worst sequence decides whether a layer is complete."""
    narrow, wide = window(8, 1, batch=1), window(8, 8, batch=1)
    assert measure_reach([torch.cat([narrow, wide], dim=1)])[0].complete
    both = measure_reach([torch.cat([narrow, wide], dim=0)])[0]
    assert not both.complete
    assert both.share == pytest.approx((8 + 36) / 2 / 36)
    assert both.keys == pytest.approx((1 + 4.5) / 2)


def test_without_a_residual_connection_a_token_that_nothing_attends_to_is_lost() -> None:
    previous = torch.eye(6).roll(1, 0).tril()[None, None]
    assert layers_needed(measure_reach([previous] * 5)) == 5
    assert measure_reach([previous] * 6, residual=False)[-1].share == 0.0


def test_no_layer_may_be_enough() -> None:
    assert layers_needed(measure_reach([window(8, 1)] * 3)) is None


@pytest.mark.parametrize(("name", "layers"), [("softmax", 1), ("retention", 1)])
def test_a_dense_attention_reaches_every_token_in_one_layer(name: str, layers: int) -> None:
    model, inputs = model_of(Part(name=name)), tokens(3, 16)
    trace = model(inputs, all_positions(inputs), trace=True).trace[0]
    assert layers_needed(measure_reach([layer[0] for layer in trace.weights_BHTS])) == layers
