"""Grouped queries, GQA: several heads of queries share one head of keys and values.

    A^h = softmax(q^h.k^g(h) / sqrt(C)),  o^h = A^h v^g(h)
    g: head -> group

One group is multi-query attention, as many groups as heads is multi-head attention. Groups may have unequal sizes
(AsymGQA); keys and values share one grouping. The cache of a decoder shrinks from 2 T D to 2 T G C numbers.

Source   Shazeer, "Fast transformer decoding", arXiv:1911.02150 (one group); Ainslie et al., "GQA", arXiv:2305.13245;
         Chen et al., "AsymGQA", arXiv:2406.14963 (unequal groups, searched for a trained model), and code of its
         first author.
Theirs   n_kv_heads -> our ``groups``.
Differs  in nothing; the search for groups of a trained model is left out. Trained from scratch, groups are
         exchangeable: unequal sizes by themselves should gain nothing.

Letters  B batch, H heads, G groups, S keys, D width, C channels per head.
"""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.attention.base import Attention, register
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext, LayerInputs

Groups = tuple[tuple[int, ...], ...]
"""The heads of each group."""


@register("grouped", source="arXiv:2305.13245, arXiv:2406.14963", aliases=("gqa", "mqa"))
@final
class Grouped(Attention):
    """Softmax attention in which the heads of a group share keys and values; one group by default.

    Options:
        groups: Number of groups of neighboring heads, or a list with the list of heads of each group.
    """

    sdpa_compatible = True

    own_projections = True

    def __init__(self, context: LayerContext, *, groups: Annotated[int, Field(ge=1)] | Groups = 1) -> None:
        super().__init__(context)
        self.groups = (
            neighboring_groups(context.heads, groups)
            if isinstance(groups, int)
            else checked_groups(context.heads, groups)
        )
        shared = len(self.groups) * context.channels
        self.key, self.value = context.linear(context.width, shared), context.linear(context.width, shared)
        self.group_of = [next(g for g, group in enumerate(self.groups) if h in group) for h in range(context.heads)]

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 D^2 + 2 D G C``, for any sizes of the groups."""
        groups = options["groups"]
        return 2 * width**2 + 2 * width * (groups if isinstance(groups, int) else len(groups)) * (width // heads)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries of every head, and the keys and values of its group."""
        keys_BHSC, values_BHSC = self.repeat_groups(self.key(x_BTD)), self.repeat_groups(self.value(x_BTD))
        return QKV(self.split(self.query(x_BTD)), keys_BHSC, values_BHSC)

    def repeat_groups(self, x_BSD: Tensor) -> Tensor:
        """The channels of each group, repeated for each head of the group.

        Args:
            x_BSD: B x S x (G C).

        Returns:
            B x H x S x C.
        """
        groups = x_BSD.unflatten(-1, (len(self.groups), -1)).unbind(-2)
        return torch.stack([groups[group] for group in self.group_of], dim=-3)


def neighboring_groups(heads: int, groups: int) -> Groups:
    """Groups of equally many neighboring heads.

    Args:
        heads: H.
        groups: G.

    Returns:
        The heads of each group.

    Raises:
        InvalidValueError: the number of groups does not divide the number of heads.

    >>> neighboring_groups(4, 2)
    ((0, 1), (2, 3))
    """
    if heads % groups:
        divisors = [count for count in range(1, heads + 1) if heads % count == 0]
        hint = f"Use {', '.join(map(str, divisors))} groups, or list the heads of each group."
        raise InvalidValueError(f"{heads} heads do not divide into {groups} groups.", hint)
    size = heads // groups
    return tuple(tuple(range(first, first + size)) for first in range(0, heads, size))


def checked_groups(heads: int, groups: Groups) -> Groups:
    """The groups, checked to contain every head once.

    Args:
        heads: H.
        groups: The heads of each group, counted from 0.

    Returns:
        The same groups.

    Raises:
        InvalidValueError: a head is missing, unknown or in two groups, or a group is empty.
    """
    if sorted(head for group in groups for head in group) != list(range(heads)) or not all(groups):
        hint = f"List each of the heads 0 to {heads - 1} once, such as {list(map(list, _example_groups(heads)))}."
        raise InvalidValueError(f"The groups {list(map(list, groups))} do not contain {heads} heads once each.", hint)
    return groups


def _example_groups(heads: int) -> Groups:
    """An example for a message: two halves of the heads."""
    middle = max(1, heads // 2)
    return tuple(group for group in (tuple(range(middle)), tuple(range(middle, heads))) if group)
