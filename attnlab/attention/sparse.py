"""Sparse patterns: softmax over a fixed set of the keys.

    A = softmax(q.k / sqrt(C)) over the keys of a pattern, with window w

    strided    {j: i - j < w}                and  {j: (i - j) mod w = 0}
    fixed      {j: j div w = i div w}        and  {i} u {j: j mod w = w - 1}
    star       {j: i - j < w} u {0}
    window     {j: i - j < w}
    random     {i} u some past tokens, the same for every sequence
    logsparse  {i} u {i - 2^t}

Source   Yun et al., "O(n) connections are expressive enough", arXiv:2006.04862; patterns and what they reach are in
         :mod:`attnlab.attention.ops.sparsity`. Two layers of strided or fixed reach all there is to reach, whether
         their sets alternate or are joined; random alone never does.
Theirs   sequential, union, multihead -> our modes alternate, union, heads.
Differs  the sets are known to us from the works they come from, the modes from third parties; the sizes are ours.
         ``alternate`` goes by the number of the layer in the model: beside one other attention in a stack of two,
         only one of the sets is ever used.

Letters  H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.attention.base import Attention, register
from attnlab.attention.ops.selection import checked_size, key_indices, query_indices
from attnlab.attention.ops.sparsity import SETS, Pattern, pattern
from attnlab.errors import InvalidValueError
from attnlab.tensors import QKV, LayerContext

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0, lt=2**20)]


@register("sparse", source="arXiv:2006.04862")
@final
class Sparse(Attention):
    """Softmax over the keys of a fixed pattern.

    Options:
        pattern: ``strided``, ``fixed``, ``star``, ``window``, ``random`` or ``logsparse``.
        window: w; null is 8, or all of a shorter run.
        mode: Where a pattern has two sets (strided, fixed) or draws at random: ``union`` has all of it everywhere,
            ``alternate`` gives one to each layer in turn, ``heads`` one to each half of the heads.
        random: Past tokens drawn for each token, beside the pattern; null is w for random and 0 for the others.
        seed: Of what is drawn; the seed of a run does not matter for it.
    """

    cost = "n D, n the keys seen: T w D, T sqrt(T) D or T log T D"

    def __init__(
        self,
        context: LayerContext,
        *,
        pattern: Pattern = "strided",
        window: Count | None = None,
        mode: Literal["union", "alternate", "heads"] = "union",
        random: Natural | None = None,
        seed: Natural = 0,
    ) -> None:
        super().__init__(context)
        self.pattern, self.mode, self.seed = pattern, mode, seed
        self.window = checked_size("window", window, 8, context.length)
        own = self.window if pattern == "random" else 0
        self.random = own if random is None else checked_size("random", random, own, context.length)
        if pattern == "random" and not self.random:
            raise InvalidValueError(
                "A random pattern needs 'random' of at least 1.", "Leave it out to draw 'window' tokens."
            )
        if mode != "union" and SETS[pattern] == 1 and not self.random:
            hint = "Leave 'mode' out, use strided or fixed, or draw some tokens with 'random'."
            raise InvalidValueError(
                f"The pattern {pattern} is one set: there is nothing for mode {mode} to share out.", hint
            )
        if mode == "heads" and context.heads < 2:
            raise InvalidValueError("Mode heads needs at least 2 heads, not 1.", "Use union or alternate.")

    def mask(self, qkv: QKV) -> Tensor:
        """The pattern of this layer, T x S, or that of each head, H x T x S."""
        if self.mode == "heads":
            halves = [self.seen(qkv, [half], half) for half in (0, 1)]
            return torch.stack([halves[2 * head // self.num_heads] for head in range(self.num_heads)])
        if self.mode == "alternate":
            return self.seen(qkv, [self.layer], self.layer)
        return self.seen(qkv, range(SETS[self.pattern]), 0)

    def seen(self, qkv: QKV, parts: range | list[int], draw: int) -> Tensor:
        """Some sets of the pattern, joined."""
        rows_T1, keys_S = query_indices(qkv), key_indices(qkv)
        sizes = {"window": self.window, "random": self.random, "seed": self.seed, "draw": draw}
        count = SETS[self.pattern]
        masks = [pattern(self.pattern, rows_T1, keys_S, part=part % count, **sizes) for part in parts]
        return torch.stack(masks).any(0)
