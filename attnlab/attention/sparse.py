"""Sparse patterns: softmax over a fixed set of the keys.

    A = softmax(q.k / sqrt(C)) over the keys of a pattern, with window w

    strided    {j: i - j < w}                and  {j: (i - j) mod w = 0}
    fixed      {j: j div w = i div w}        and  {i} u {j: j mod w = w - 1}
    star       {j: i - j < w} u {0}
    window     {j: i - j < w}
    random     {i} u some past tokens, the same for every sequence
    logsparse  {i} u {i - 2^t}

Source   Yun et al., "O(n) connections are expressive enough", arXiv:2006.04862; the patterns and their reach are in
         :mod:`attnlab.attention.ops.sparsity`. Two layers of strided or fixed reach all earlier tokens, whether their
         sets alternate or are joined; random alone never does.
Theirs   sequential, union, multihead -> our modes alternate, union, heads.
Differs  the sets are those of the original works, the modes as described by third parties; the sizes are ours.
         ``alternate`` goes by the index of the layer in the model: in a stack of two attentions of which one is
         sparse, only one of the sets is ever used.

Letters  H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.attention.base import Attention, register
from attnlab.attention.ops.selection import checked_size
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
        window: w; null is 8, or the longest sequence if that is shorter.
        mode: For patterns with two sets (strided, fixed) or random tokens: ``union`` joins them everywhere,
            ``alternate`` uses one per layer in turn, ``heads`` one per half of the heads.
        random: Past tokens drawn for each token, in addition to the pattern; null is w for random and 0 for the others.
        seed: Seed of the random tokens; they do not depend on the seed of the run.
    """

    cost = "n D, n the keys of a row: T w D, T sqrt(T) D or T log T D"

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
        default = self.window if pattern == "random" else 0
        self.random = default if random is None else checked_size("random", random, default, context.length)
        if pattern == "random" and not self.random:
            raise InvalidValueError(
                "A random pattern needs 'random' of at least 1.", "Leave it out to draw 'window' tokens."
            )
        if mode != "union" and SETS[pattern] == 1 and not self.random:
            hint = "Leave 'mode' out, use strided or fixed, or draw some tokens with 'random'."
            raise InvalidValueError(
                f"The pattern {pattern} has one set; mode {mode} needs two sets or random tokens.", hint
            )
        if mode == "heads" and context.heads < 2:
            raise InvalidValueError("Mode heads needs at least 2 heads, not 1.", "Use union or alternate.")

    def state_size(self, tokens: int) -> int:
        """A key and a value for each token of the past that a later query may attend to."""
        if self.mode == "heads":
            each = super().state_size(1) // self.num_heads
            halves = [2 * head // self.num_heads for head in range(self.num_heads)]
            return sum(each * self._kept(tokens, [half]) for half in halves)
        parts = [self.layer] if self.mode == "alternate" else range(SETS[self.pattern])
        return super().state_size(self._kept(tokens, parts))

    def _kept(self, tokens: int, parts: range | list[int]) -> int:
        """How many tokens later queries may attend to, in some sets of the pattern together."""
        recent = min(tokens, self.window - 1)
        kept = set()
        for part in parts:
            match (self.pattern, part % SETS[self.pattern]):
                case _ if self.random:
                    kept.add(tokens)
                case ("strided", 0) | ("window", _):
                    kept.add(recent)
                case ("star", _):
                    kept.add(min(tokens, recent + 1))
                case ("fixed", 0):
                    kept.add(tokens % self.window)
                case ("fixed", _):
                    kept.add(tokens // self.window)
                case _:
                    kept.add(tokens)
        return min(tokens, sum(kept)) if self.pattern == "fixed" else max(kept)

    def mask(self, qkv: QKV) -> Tensor:
        """True at the keys of the pattern: of the layer, T x S, or of each head, H x T x S."""
        if self.mode == "heads":
            halves = [self.joined_sets(qkv, [half], half) for half in (0, 1)]
            return torch.stack([halves[2 * head // self.num_heads] for head in range(self.num_heads)])
        if self.mode == "alternate":
            return self.joined_sets(qkv, [self.layer], self.layer)
        return self.joined_sets(qkv, range(SETS[self.pattern]), 0)

    def joined_sets(self, qkv: QKV, parts: range | list[int], draw: int) -> Tensor:
        """Join some sets of the pattern.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.
            parts: Indices of the sets.
            draw: Index of the sample of random tokens.

        Returns:
            bool, True at the keys of the sets, T x S.
        """
        rows_T1, keys_S = qkv.query_indices_T1, qkv.key_indices_S
        sizes = {"window": self.window, "random": self.random, "seed": self.seed, "draw": draw}
        count = SETS[self.pattern]
        masks = [pattern(self.pattern, rows_T1, keys_S, part=part % count, **sizes) for part in parts]
        return torch.stack(masks).any(0)
