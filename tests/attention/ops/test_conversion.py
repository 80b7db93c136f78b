"""From full to grouped: means of weights, planted likeness found again, and what is refused."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from attnlab.attention import Attention
from attnlab.attention.grouped import Groups
from attnlab.attention.ops.conversion import by_chance, by_similarity, converted, goal, similarity
from attnlab.errors import InvalidValueError
from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.builders import attention_of, model_of, noise, pair_of, seeded, tokens

PLANTED: Groups = ((0, 2, 3, 5), (1,), (4,))


def planted(groups: Groups) -> Attention:
    """A full attention whose heads have equal keys and values within groups."""
    attention, _ = pair_of(Part(name="softmax"), Part(name="none"), width=12, heads=6)
    with torch.no_grad():
        for layer in (attention.key, attention.value):
            for members in groups:
                for head in members[1:]:
                    layer.weight[2 * head : 2 * head + 2] = layer.weight[2 * members[0] : 2 * members[0] + 2]
    return attention


def likeness(attention: Attention) -> Tensor:
    _, position = pair_of(Part(name="softmax"), Part(name="none"), width=12, heads=6)
    return similarity(attention.prepare(noise(3, 20, 12, seed=4), position, LayerInputs()))


def partitions(heads: list[int], groups: int) -> list[Groups]:
    """Every grouping into so many groups."""
    result = set()
    for places in itertools.product(range(groups), repeat=len(heads)):
        if len(set(places)) == groups:
            split = [tuple(h for h, at in zip(heads, places, strict=True) if at == group) for group in range(groups)]
            result.add(tuple(sorted(split)))
    return sorted(result)


def test_weights_of_a_group_are_the_means_of_its_members() -> None:
    attention = attention_of("softmax", width=12, heads=6)
    weights = attention.state_dict()
    grouped = converted(weights, PLANTED)
    assert set(grouped) == set(weights)
    assert grouped["query.weight"] is weights["query.weight"]
    for name in ("key.weight", "value.weight"):
        assert grouped[name].shape == (6, 12)
        expected = sum(weights[name][2 * head : 2 * head + 2] for head in PLANTED[0]) / 4
        torch.testing.assert_close(grouped[name][:2], expected)
        assert torch.equal(grouped[name][2:4], weights[name][2:4])
        assert torch.equal(grouped[name][4:], weights[name][8:10])


def test_heads_that_are_alike_lose_nothing() -> None:
    full = planted(PLANTED)
    grouped, position = pair_of(Part(name="grouped", options={"groups": PLANTED}), Part(name="none"), width=12, heads=6)
    grouped.load_state_dict(converted(full.state_dict(), PLANTED))
    x_BTD = noise(2, 9, 12)
    expected = full(x_BTD, position, LayerInputs()).output_BTD
    torch.testing.assert_close(grouped(x_BTD, position, LayerInputs()).output_BTD, expected)


def test_a_whole_model_is_converted_layer_by_layer() -> None:
    groupings: list[Groups] = [((0, 3), (1, 2)), ((0,), (1, 2, 3))]
    full = model_of(width=16, heads=4)
    weights = dict(full.state_dict())
    for layer, groups in enumerate(groupings):
        weights = converted(weights, groups, f"blocks.{layer}.attention.")
    stack = tuple(Part(name="grouped", options={"groups": groups}) for groups in groupings)
    grouped = model_of(stack, width=16, heads=4)
    grouped.load_state_dict(weights)
    answer = grouped(tokens(2, 5), torch.arange(10))
    assert answer.logits_NV.isfinite().all()
    assert (answer.logits_NV - full(tokens(2, 5), torch.arange(10)).logits_NV).abs().max() > 1e-3


def test_planted_likeness_is_found_again() -> None:
    result = likeness(planted(PLANTED))
    torch.testing.assert_close(result.diagonal(), torch.ones(6, dtype=torch.float64))
    assert result[0, 5] == pytest.approx(1.0)
    assert by_similarity(result, 3) == PLANTED
    assert goal(result, PLANTED) == pytest.approx(6.0)


def test_equal_groups_are_found_by_exchange() -> None:
    pairs: Groups = ((0, 5), (1, 3), (2, 4))
    assert by_similarity(likeness(planted(pairs)), 3, equal=True) == pairs


@pytest.mark.parametrize("seed", range(4))
def test_the_search_comes_near_the_best_of_all_groupings(seed: int) -> None:
    points = torch.nn.functional.normalize(noise(6, 3, seed=seed), dim=-1)
    alike = points @ points.mT
    best = max(goal(alike, groups) for groups in partitions(list(range(6)), 3))
    result = by_similarity(alike, 3)
    assert sorted(head for members in result for head in members) == list(range(6))
    assert goal(alike, result) >= 0.97 * best
    assert goal(alike, result) >= goal(alike, ((0, 1), (2, 3), (4, 5)))


def test_groups_by_chance_are_a_partition_drawn_from_the_seed() -> None:
    one, same, other = (by_chance(8, 2, seeded(seed)) for seed in (1, 1, 2))
    assert one == same != other
    assert [len(members) for members in one] == [4, 4]
    assert sorted(one[0] + one[1]) == list(range(8))


def test_what_cannot_be_grouped_is_refused() -> None:
    weights = attention_of("softmax").state_dict()
    with pytest.raises(InvalidValueError, match=r"There is no 'blocks\.0\.key\.weight' among the weights"):
        converted(weights, ((0,), (1,)), "blocks.0.")
    with pytest.raises(InvalidValueError, match="do not hold 2 heads"):
        converted(weights, ((0, 0),))
    with pytest.raises(InvalidValueError, match="6 heads do not fill 7 groups"):
        by_similarity(torch.eye(6), 7)
    with pytest.raises(InvalidValueError, match="6 heads do not divide into 4 groups"):
        by_similarity(torch.eye(6), 4, equal=True)
