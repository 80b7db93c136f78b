"""Grouped queries, GQA: several heads of queries share one head of keys and values.

    A^h = softmax(q^h.k^g(h) / sqrt(C)),  o^h = A^h v^g(h)
    g: head -> group

One group is multi-query attention, as many groups as heads the usual one. Groups may have unequal sizes (AsymGQA); keys
and values share one grouping. What a decoder keeps shrinks from 2 T D to 2 T G C numbers.

Source   Shazeer, "Fast transformer decoding", arXiv:1911.02150 (one group); Ainslie et al., "GQA", arXiv:2305.13245;
         Chen et al., "AsymGQA", arXiv:2406.14963 (unequal groups, found for a trained model: see ``conversion``).
Theirs   n_kv_heads -> our ``groups``.
Differs  in nothing. Trained from scratch groups are exchangeable: unequal sizes by themselves should gain nothing.

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
    """Softmax attention whose heads share keys and values within groups; one group unless told otherwise.

    Options:
        groups: How many groups of neighboring heads, or a list with the list of heads of each group.
    """

    sdpa_compatible = True

    def __init__(self, context: LayerContext, *, groups: Annotated[int, Field(ge=1)] | Groups = 1) -> None:
        super().__init__(context)
        self.groups = neighbors(context.heads, groups) if isinstance(groups, int) else partition(context.heads, groups)
        shared = len(self.groups) * context.channels
        self.key, self.value = context.linear(context.width, shared), context.linear(context.width, shared)
        self.group_of = [next(g for g, members in enumerate(self.groups) if h in members) for h in range(context.heads)]

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """``2 D^2 + 2 D G C``, whatever the sizes of the groups."""
        groups = options["groups"]
        return 2 * width**2 + 2 * width * (groups if isinstance(groups, int) else len(groups)) * (width // heads)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries of every head beside the keys and values of its group."""
        keys_BHSC, values_BHSC = self.shared(self.key(x_BTD)), self.shared(self.value(x_BTD))
        return QKV(self.split(self.query(x_BTD)), keys_BHSC, values_BHSC)

    def shared(self, x_BSD: Tensor) -> Tensor:
        """B x S x (G C) to B x H x S x C."""
        groups = x_BSD.unflatten(-1, (len(self.groups), -1)).unbind(-2)
        return torch.stack([groups[group] for group in self.group_of], dim=-3)


def neighbors(heads: int, groups: int) -> Groups:
    """Groups of equally many neighboring heads.

    >>> neighbors(4, 2)
    ((0, 1), (2, 3))

    Raises:
        InvalidValueError: the heads do not divide into so many groups.
    """
    if heads % groups:
        fits = [count for count in range(1, heads + 1) if heads % count == 0]
        hint = f"Groups that divide them: {', '.join(map(str, fits))}; or list the heads of each group."
        raise InvalidValueError(f"{heads} heads do not divide into {groups} groups.", hint)
    size = heads // groups
    return tuple(tuple(range(first, first + size)) for first in range(0, heads, size))


def partition(heads: int, groups: Groups) -> Groups:
    """The groups, if they hold every head once.

    Raises:
        InvalidValueError: a head is missing, unknown or in two groups, or a group is empty.
    """
    listed = sorted(head for members in groups for head in members)
    if listed != list(range(heads)) or not all(groups):
        hint = f"List each of the heads 0 to {heads - 1} once, such as {[list(members) for members in _halves(heads)]}."
        raise InvalidValueError(f"The groups {[list(members) for members in groups]} do not hold {heads} heads.", hint)
    return groups


def _halves(heads: int) -> Groups:
    """An example of a grouping."""
    middle = max(1, heads // 2)
    return tuple(part for part in (tuple(range(middle)), tuple(range(middle, heads))) if part)
