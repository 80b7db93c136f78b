"""Hard ALiBi: some heads see the last few tokens alone, and the others have no position.

    s_ij <- s_ij - M   where i - j >= h, in head h = 1 .. W        M so large that the weight is 0
    s_ij <- s_ij       in the other heads

Head h attends to the last h tokens, its own included: head 1 to its own alone. By default W is half of the heads, so
that copying has both windows of every short length and heads that see everything.

Source   Jelassi et al., "Repeat after me", arXiv:2402.01032, section 3.
Theirs   m, the masked heads -> our W, ``windows``.
Differs  in nothing known. M is 1e9 and not infinite, so that scores stay finite.

Letters  B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, distance, register
from attnlab.tensors import QKV, LayerContext

PENALTY = 1e9


@register("hard-alibi", source="arXiv:2402.01032, section 3")
@final
class HardAlibi(Position):
    """Windows of 1, 2, .. tokens in the first heads, and no position in the others; nothing is learned.

    Options:
        windows: W, the number of heads with a window; null is half of the heads.
    """

    biases = True
    reads_scores = False
    hides_keys = True

    def __init__(self, context: LayerContext, *, windows: Annotated[int, Field(ge=0)] | None = None) -> None:
        super().__init__(context)
        self.windows = context.heads // 2 if windows is None else windows
        self.heads = context.heads
        if self.windows > self.heads:
            problem = f"{self.windows} heads with a window are more than the {self.heads} heads of the model."
            raise InvalidValueError(problem, f"Use 0 to {self.heads}.")

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """Minus M outside of the window of each head, H x T x S."""
        queries, keys = scores_BHTS.shape[-2:]
        distance_TS = distance(queries, keys, qkv.start, scores_BHTS.device)
        window_H = torch.arange(1, self.heads + 1, device=scores_BHTS.device)
        hidden_HTS = (distance_TS >= window_H[:, None, None]) & (window_H <= self.windows)[:, None, None]
        return -PENALTY * hidden_HTS.to(scores_BHTS.dtype)
