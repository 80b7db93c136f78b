"""From a trained full attention to a grouped one: which heads share keys and values, and with which weights.

    sim_ab   (cos(k_a, k_b) + cos(v_a, v_b)) / 2
    goal     sum_g sum_{a, b in g} sim_ab / |g|
    W_g      mean of W_a over the members a of g; W is W_K, then W_V

The cosines are over calibration tokens, and a head counts as a pair with itself. A grouping is found by
steps that raise the goal most, from groups of neighbors: exchanging two heads keeps the sizes (GQA), moving one head
changes them (AsymGQA).

Source   Chen et al., "AsymGQA", arXiv:2406.14963: grouping by similarity of activations, with unequal sizes.
Differs  the search is known from the abstract only. Goal, start and steepest ascent are our choice; so is one grouping
         for keys and values. The mean ignores that heads may differ by a rotation: expect a loss, and train on.

Letters  B batch, H heads, S keys, C channels per head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.grouped import Groups, neighbors, partition
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV


def converted(weights: Mapping[str, Tensor], groups: Groups, within: str = "") -> dict[str, Tensor]:
    """Weights of a full attention as those of a grouped one; whatever else is among them stays as it is.

    Args:
        weights: By name, of an attention or of a whole model.
        groups: The heads of each group.
        within: The attention's prefix in the names of a whole model, such as ``blocks.0.attention.``.

    Raises:
        InvalidValueError: the groups do not hold every head once, or there is no such attention among the weights.
    """
    named = [within + name for name in ("key.weight", "value.weight")]
    if missing := [name for name in named if name not in weights]:
        raise InvalidValueError(f"There is no '{missing[0]}' among the weights.", f"Known: {', '.join(weights)}.")
    heads = sum(map(len, groups))
    partition(heads, groups)
    return {**weights, **{name: _means(weights[name], groups, heads) for name in named}}


def similarity(qkv: QKV) -> Tensor:
    """How alike the keys and values of each pair of heads are over calibration tokens, H x H, from -1 to 1."""
    return (_cosines(qkv.keys_BHSC) + _cosines(qkv.values_BHSC)) / 2


def by_similarity(similarity_HH: Tensor, groups: int, *, equal: bool = False) -> Groups:
    """Groups of heads that are alike.

    Args:
        similarity_HH: Of each pair of heads.
        groups: How many.
        equal: Whether all groups have one size; otherwise any sizes but none empty.

    Raises:
        InvalidValueError: there are more groups than heads, or equal ones that do not divide them.
    """
    heads = len(similarity_HH)
    if groups > heads:
        raise InvalidValueError(f"{heads} heads do not fill {groups} groups.", f"Use at most {heads}.")
    if equal:
        result = neighbors(heads, groups)
    else:
        edges = [round(heads * group / groups) for group in range(groups + 1)]
        result = tuple(tuple(range(first, last)) for first, last in pairwise(edges))
    while True:
        best = max(_steps(result, equal), key=lambda step: goal(similarity_HH, step), default=result)
        if goal(similarity_HH, best) <= goal(similarity_HH, result) + 1e-9:
            return tuple(sorted(result))
        result = best


def by_chance(heads: int, groups: int, generator: torch.Generator) -> Groups:
    """Groups of equally many heads, drawn at random."""
    order = torch.randperm(heads, generator=generator).tolist()
    return tuple(sorted(tuple(sorted(order[place] for place in members)) for members in neighbors(heads, groups)))


def goal(similarity_HH: Tensor, groups: Groups) -> float:
    """What the search raises; as many as there are heads if the members of each group are equal."""
    return sum(float(similarity_HH[list(members)][:, list(members)].sum()) / len(members) for members in groups)


def _steps(groups: Groups, equal: bool) -> Iterator[Groups]:
    """Every grouping one exchange away, or one move away where sizes are free."""
    place = {head: group for group, members in enumerate(groups) for head in members}
    for head, group in place.items():
        for other, there in place.items():
            if head < other and group != there:
                yield _regrouped({**place, head: there, other: group}, len(groups))
        if not equal and len(groups[group]) > 1:
            yield from (
                _regrouped({**place, head: there}, len(groups)) for there in range(len(groups)) if there != group
            )


def _regrouped(place: Mapping[int, int], groups: int) -> Groups:
    return tuple(tuple(sorted(head for head, at in place.items() if at == group)) for group in range(groups))


def _cosines(x_BHSC: Tensor) -> Tensor:
    unit = functional.normalize(x_BHSC.detach().double().transpose(0, -3).flatten(1), dim=-1)
    return unit @ unit.mT


def _means(weight: Tensor, groups: Groups, heads: int) -> Tensor:
    weight_HCD = weight.unflatten(0, (heads, -1))
    return torch.cat([weight_HCD[list(members)].mean(0) for members in groups])
