"""Grouped queries: a loop over heads and their groups, unequal groups too; one group per head is softmax."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attnlab.attention.grouped import Grouped
from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

GROUPINGS: list[tuple[Any, list[int]]] = [
    (1, [0, 0, 0, 0]),
    (2, [0, 0, 1, 1]),
    (4, [0, 1, 2, 3]),
    ([[0, 1, 2], [3]], [0, 0, 0, 1]),
    ([[2], [0, 3], [1]], [1, 2, 0, 1]),
]
over_groups = pytest.mark.parametrize(("groups", "group_of"), GROUPINGS, ids=[str(groups) for groups, _ in GROUPINGS])


def built(groups: Any) -> tuple[Grouped, Position, QKV]:
    part = Part(name="grouped", options={"groups": groups})
    attention, position = pair_of(part, Part(name="none"), width=16, heads=4)
    assert isinstance(attention, Grouped)
    return attention, position, attention.prepare(noise(1, 6, 16), position, LayerInputs())


@torch.no_grad()
@over_groups
def test_each_head_uses_the_keys_and_values_of_its_group(groups: Any, group_of: list[int]) -> None:
    attention, position, qkv = built(groups)
    x_TD, expected = noise(1, 6, 16)[0], torch.zeros(4, 6, 4, dtype=torch.float64)
    for head, group in enumerate(group_of):
        own, shared = slice(4 * head, 4 * head + 4), slice(4 * group, 4 * group + 4)
        keys, values = x_TD @ attention.key.weight[shared].T, x_TD @ attention.value.weight[shared].T
        for i in range(6):
            query = attention.query.weight[own] @ x_TD[i]
            parts = [torch.exp(query @ keys[j] / 2) for j in range(i + 1)]
            for j, part in enumerate(parts):
                expected[head, i] += part / sum(parts) * values[j]
    torch.testing.assert_close(attention.attend(qkv, position)[0], expected, rtol=1e-10, atol=1e-12)


@over_groups
def test_it_has_keys_and_values_for_each_group(groups: Any, group_of: list[int]) -> None:
    attention = attention_of("grouped", {"groups": groups}, width=64, heads=4)
    count = sum(weight.numel() for weight in attention.parameters())
    assert count == 2 * 64 * 64 + 2 * 64 * len(set(group_of)) * 16


def test_the_parameter_count_of_two_groups_of_four_heads() -> None:
    assert Grouped.num_parameters(64, 4, 16, groups=2) == 12_288
    assert Grouped.num_parameters(64, 4, 16, groups=((0, 1, 2), (3,))) == 12_288


def test_as_many_groups_as_heads_equal_softmax() -> None:
    attention, position, qkv = built(4)
    softmax = attention_of("softmax", width=16, heads=4).double()
    softmax.load_state_dict(attention.state_dict())
    expected = softmax.effective_matrix(softmax.prepare(noise(1, 6, 16), position, LayerInputs()), position)
    assert (attention.effective_matrix(qkv, position) - expected).abs().max() <= 1e-12


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="4 heads do not divide into 3 groups") as caught:
        built(3)
    assert caught.value.hint == "Use 1, 2, 4 groups, or list the heads of each group."


@pytest.mark.parametrize("groups", [[[0, 1]], [[0, 1], [1, 2, 3]], [[0, 1, 2, 3, 4]], [[0, 1, 2, 3], []]])
def test_groups_that_do_not_contain_every_head_once_are_refused(groups: Any) -> None:
    with pytest.raises(InvalidValueError, match="do not contain 4 heads once each") as caught:
        built(groups)
    assert caught.value.hint == "List each of the heads 0 to 3 once, such as [[0, 1], [2, 3]]."


def test_no_group_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="Option 'groups' cannot be 0"):
        built(0)
