"""The template every attention fills in: small hooks, of which a variant overrides the fewest it can.

Letters  B batch, T queries, P of them that are asked, S keys, D width, H heads, C channels per head.

    project   the stream          -> heads            queries, keys, values, anything a gate needs
    score     heads               -> scores           q.k / sqrt(C)
    combine   scores, bias, heads -> scores           scores + bias
    allow     heads               -> mask             and-ed with the causal mask here, never by variants
    normalise scores, mask, heads -> weights          softmax over the allowed keys
    finish    mixed values, x     -> stream           heads joined, output projection

Deeper: ``weights`` (structured matrices, closed forms of recurrences) and ``mix`` (fast paths and scans), with
``mix_asked`` where few queries are asked. ``mix`` stays linear in the values: with the values replaced by the identity
it yields the *effective matrix*, from which every diagnostic is computed.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from attnlab.attention.ops.modifiers import Wardrobe
from attnlab.attention.ops.sdpa import attend, attend_asked, blank
from attnlab.errors import BadValue
from attnlab.registry import Registry
from attnlab.tensors import Context, Heads, Mixed, Site, causal, chosen, masked_softmax, wide


class Rows(Enum):
    """What a variant promises of the rows of its effective matrix; diagnostics choose their formulas by it."""

    STOCHASTIC = "non-negative, sum to one"
    SUBSTOCHASTIC = "non-negative, sum to at most one"
    SIGNED = "signed, a constant sum"
    FREE = "anything"


class Position(Protocol):
    """What an attention asks of a position; the parts of :mod:`attnlab.position` provide it."""

    @property
    def reads_scores(self) -> bool:
        """Whether its bias depends on the scores themselves, and not on their shape alone."""

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Queries or keys, turned by their place."""

    def bias(self, scores_BHTS: Tensor, heads: Heads, layer: int) -> Tensor | None:
        """What is added to the scores, or None."""


class Attention(nn.Module, ABC):
    """Causal softmax attention with 4 D^2 weights, as a template.

    Args:
        site: Where in the model it stands.
        keys: Channels of queries and keys per head; C if not given.
        values: Channels of values per head; C if not given.
    """

    rows: ClassVar[Rows] = Rows.STOCHASTIC
    forms_scores: ClassVar[bool] = True
    """Whether a position has scores to bias."""
    cost: ClassVar[str] = "T^2 D"
    """How the operations of the token mixing grow, at their best."""
    fuses: ClassVar[bool] = False
    """Whether its weights are the plain softmax of q.k / sqrt(C) and the position's bias, each query with a key."""
    scans: ClassVar[bool] = False
    """Whether the fast path never holds T x T numbers."""
    unheard: ClassVar[Mapping[str, str]] = {}
    """Modifiers that would change nothing, each with the reason; a model in which no attention hears one is refused."""
    room: int = 2**22
    """Numbers a tensor of scores may hold where no gradient is recorded; past it, rows are mixed in chunks."""

    def __init__(self, site: Site, keys: int | None = None, values: int | None = None) -> None:
        super().__init__()
        if site.width % site.heads:
            fits = [heads for heads in range(1, site.width + 1) if site.width % heads == 0]
            raise BadValue(
                f"A width of {site.width} does not divide into {site.heads} heads.",
                f"Heads that divide it: {', '.join(map(str, fits))}.",
                where="model.heads",
            )
        self.count, self.channels, self.layer, self.biased = site.heads, site.channels, site.layer, site.biased
        self.fast = True
        """Whether a fast path may be taken; the plain path is the specification."""
        asked, written = (site.heads * (size or site.channels) for size in (keys, values))
        self.query = site.linear(site.width, asked)
        self.key = site.linear(site.width, asked)
        self.value = site.linear(site.width, written)
        self.output = site.linear(written, site.width, gain=1 / math.sqrt(2 * site.layers))
        self.wardrobe = Wardrobe(site, written)

    @classmethod
    def declared(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """Learned numbers by formula, modifiers left out; `attnlab check` counts and compares.

        Args:
            width: D.
            heads: H.
            length: The longest sequence, T.
            options: Every option of the variant.
        """
        return 4 * width**2

    # -- hooks ---------------------------------------------------------------------------------------------------

    def project(self, x_BTD: Tensor, context: Context) -> Heads:
        """Queries, keys and values of the stream, before the position turns them."""
        maps = self.query.weight, self.key.weight, self.value.weight
        # One product is sooner done than three, on the way back too; there, rows by columns is the quicker way round.
        read = x_BTD @ torch.cat([weight.mT for weight in maps], dim=1)
        queries, keys, values = read.split([len(weight) for weight in maps], dim=-1)
        return Heads(self.split(queries), self.split(keys), self.split(values))

    def score(self, heads: Heads) -> Tensor:
        """How well each key answers each query: ``q.k / sqrt(C)``, ... x T x S."""
        return heads.queries_BHTC @ heads.keys_BHSC.mT / math.sqrt(heads.queries_BHTC.shape[-1])

    def combine(self, scores: Tensor, bias: Tensor | None, heads: Heads) -> Tensor:
        """Scores with the position's bias, if it has one."""
        return scores if bias is None else scores + bias

    def allow(self, heads: Heads) -> Tensor | None:
        """Which keys each query may see among those not after it; None allows all."""
        return None

    def normalise(self, scores: Tensor, mask: Tensor, heads: Heads) -> Tensor:
        """Weights of the allowed keys."""
        return masked_softmax(scores, mask)

    def finish(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """The stream's update, token by token: heads side by side, through the output projection."""
        return self.output(self.wardrobe.gated(self.join(mixed_BHTC), x_BTD))

    def auxiliary(self, heads: Heads, position: Position) -> Tensor:
        """An extra loss, a scalar."""
        return heads.values_BHSC.new_zeros(())

    # -- deeper --------------------------------------------------------------------------------------------------

    def scores(self, heads: Heads, position: Position) -> Tensor:
        """Scores with the position's say, computed in float32 or more."""
        lifted = heads._replace(queries_BHTC=wide(heads.queries_BHTC), keys_BHSC=wide(heads.keys_BHSC))
        scores = self.score(lifted)
        return self.combine(scores, position.bias(scores, lifted, self.layer), lifted)

    def weights(self, heads: Heads, position: Position) -> Tensor:
        """What multiplies the values: B x H x T x S."""
        scores = self.scores(heads, position)
        mask = causal(scores.shape[-2], scores.shape[-1], heads.start, scores.device)
        allowed = self.allow(heads)
        return self.normalise(scores, mask if allowed is None else mask & allowed, heads)

    def mix(self, heads: Heads, position: Position) -> Tensor:
        """Values mixed: B x H x T x C; linear in the values.

        Evaluation of long sequences holds a bounded number of score rows at a time. With gradients there is nothing
        to gain: autograd keeps every row for the way back.
        """
        queries = heads.queries_BHTC
        # The fused kernel holds no scores, but a bias or a mask of their size.
        if torch.is_grad_enabled() or not self.fast or self.plain:
            return self.mix_rows(heads, position)
        mixed, start = [], heads.start
        for chunk in queries.split(self.rows_held(heads), dim=-2):
            mixed.append(self.mix_rows(heads._replace(queries_BHTC=chunk, start=start), position))
            start += chunk.shape[-2]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=-2)

    def mix_rows(self, heads: Heads, position: Position) -> Tensor:
        """The same for queries whose scores fit into the room."""
        if not (self.fast and self.fuses) or (self.biased and position.reads_scores):
            return self.weights(heads, position).to(heads.values_BHSC.dtype) @ heads.values_BHSC
        lifted = heads._replace(queries_BHTC=wide(heads.queries_BHTC), keys_BHSC=wide(heads.keys_BHSC))
        bias = position.bias(blank(heads), lifted, self.layer) if self.biased else None
        return attend(heads, bias, self.allow(heads))

    def mix_asked(self, heads: Heads, position: Position, asked_BP: Tensor) -> Tensor:
        """Values mixed for some queries of each row: B x H x P x C; called where it is ``sparing``.

        Args:
            heads: Queries, keys and values of all tokens.
            position: The position of the model.
            asked_BP: Columns of the queries that are asked.
        """
        # The kernel holds a mask of their size, and none where all queries are mixed.
        if asked_BP.numel() * heads.keys_BHSC.shape[-2] > self.room:
            return chosen(self.mix(heads, position), asked_BP)
        return attend_asked(heads, asked_BP)

    @property
    def sparing(self) -> bool:
        """Whether it can mix some queries of each row alone; one that mixes in a way of its own cannot."""
        kind = type(self)
        return self.plain and kind.mix is Attention.mix and kind.mix_rows is Attention.mix_rows

    @property
    def plain(self) -> bool:
        """Whether a fast path is a softmax of q.k / sqrt(C) over all keys not after the query, and nothing else."""
        return self.fast and self.fuses and not self.biased and type(self).allow is Attention.allow

    @property
    def maps(self) -> int:
        """Numbers held for each pair of query and key, all heads together; branches before the heads come on top."""
        return self.count

    def rows_held(self, heads: Heads) -> int:
        """Query rows whose scores fit into the room."""
        keys = heads.keys_BHSC
        lead = torch.broadcast_shapes(heads.queries_BHTC.shape[:-3], keys.shape[:-3])
        return max(1, self.room // (math.prod(lead) * self.maps * keys.shape[-2]))

    # -- what the model calls ------------------------------------------------------------------------------------

    def prepare(self, x_BTD: Tensor, position: Position, context: Context) -> Heads:
        """Projected heads, dressed in what the model asks for, turned by the position."""
        heads = self.wardrobe.dress(self.project(self.wardrobe.read(x_BTD), context), context)
        queries = position.rotate(heads.queries_BHTC, heads.start)
        keys = position.rotate(heads.keys_BHSC)
        return heads._replace(queries_BHTC=queries, keys_BHSC=keys)

    def matrix(self, heads: Heads, position: Position) -> Tensor:
        """The effective matrix, B x H x T x S: ``mix`` with the identity for values."""
        *lead, keys, _ = heads.values_BHSC.shape
        identity = torch.eye(keys, dtype=heads.values_BHSC.dtype, device=heads.values_BHSC.device)
        return self.mix(heads._replace(values_BHSC=identity.expand(*lead, keys, keys)), position)

    def forward(self, x_BTD: Tensor, position: Position, context: Context, trace: bool = False) -> Mixed:
        """The stream's update: all of it, or what is asked where it is ``sparing``; with a trace, scores and matrix.

        Args:
            x_BTD: What it reads.
            position: The position of the model.
            context: What else it may know; which tokens are asked.
            trace: Whether to return scores and effective matrix too.
        """
        heads = self.prepare(x_BTD, position, context)
        if context.asked is not None and context.asked.ndim == 2 and self.sparing:
            asked_BP = context.asked % x_BTD.shape[1]
            stream = self.finish(self.mix_asked(heads, position, asked_BP), chosen(x_BTD, asked_BP))
        else:
            stream = self.finish(self.mix(heads, position), x_BTD)
        mixed = Mixed(stream, heads, self.auxiliary(heads, position))
        if not trace:
            return mixed
        scores = (self.scores(heads, position),) if self.forms_scores else ()
        return mixed._replace(scores_BHTS=scores, weights_BHTS=(self.matrix(heads, position),))

    def split(self, x_BTD: Tensor) -> Tensor:
        """B x T x (H C) to B x H x T x C."""
        return x_BTD.unflatten(-1, (self.count, -1)).transpose(-3, -2)

    def join(self, x_BHTC: Tensor) -> Tensor:
        """B x H x T x C to B x T x (H C)."""
        return x_BHTC.transpose(-3, -2).flatten(-2)


ATTENTIONS: Registry[Attention] = Registry("attention", "attnlab.attention")
register = ATTENTIONS.register
