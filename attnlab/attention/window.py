"""Sliding window with sinks: each query attends to the last w tokens and to the first s.

    A = softmax(q.k / sqrt(C)) over the keys with  i - j < w  or  j < s

Source   window: Longformer, Beltagy et al., arXiv:2004.05150; sinks: StreamingLLM, Xiao et al., arXiv:2309.17453.
Theirs   window size -> our w; number of sink tokens -> our s.
Differs  a sink is an ordinary token: where the first tokens have content, they are global keys. Positions are those of
         the sequence, not of the cache. Both sizes are our choice.

Letters  T queries, S keys.
"""

from __future__ import annotations

from typing import Annotated, final

from pydantic import Field
from torch import Tensor

from attnlab.attention.base import Attention, Position, register
from attnlab.attention.ops.banded import banded, takes_blocks
from attnlab.attention.ops.selection import checked_size
from attnlab.tensors import QKV, LayerContext


@register("window", source="arXiv:2004.05150, arXiv:2309.17453", aliases=("sliding-window",))
@final
class Window(Attention):
    """Softmax over the last tokens and the first few.

    Options:
        window: Last tokens, the query's own among them; null is 16, or the longest sequence if that is shorter.
        sinks: First tokens, which every query attends to.
    """

    cost = "T w D"
    sdpa_compatible = True

    def __init__(
        self,
        context: LayerContext,
        *,
        window: Annotated[int, Field(ge=1)] | None = None,
        sinks: Annotated[int, Field(ge=0)] = 4,
    ) -> None:
        super().__init__(context)
        self.window = checked_size("window", window, 16, context.length)
        self.sinks = sinks

    def state_size(self, tokens: int) -> int:
        """A key and a value for each token of the window, without the next one, and for each sink."""
        return super().state_size(min(tokens, self.window - 1 + self.sinks))

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Blocks of queries with the keys of their windows, where these are few; weighted sums of the values."""
        tokens = qkv.keys_BHSC.shape[-2]
        whole = qkv.start == 0 and qkv.queries_BHTC.shape[:-1] == qkv.keys_BHSC.shape[:-1]
        if self.fast and whole and not self.biased and takes_blocks(tokens, self.window, self.sinks):
            return banded(qkv, self.window, self.sinks)
        return super().attend(qkv, position)

    def mask(self, qkv: QKV) -> Tensor:
        """True in the window and at the sinks, T x S."""
        rows_T1, keys_S = qkv.query_indices_T1, qkv.key_indices_S
        return (rows_T1 - keys_S < self.window) | (keys_S < self.sinks)
