"""The template every attention fills in: small hooks, of which a variant overrides the fewest it can.

Letters  B batch, T queries, P of them that are asked, S keys, D width, H heads, C channels per head.

    project   the stream          -> heads            queries, keys, values, anything a gate needs
    score     heads               -> scores           q.k / sqrt(C)
    combine   scores, bias, heads -> scores           scores + bias
    allow     heads               -> mask             and-ed with the causal mask here, never by variants
    normalize scores, mask, heads -> weights          softmax over the allowed keys
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

from attnlab.attention.ops.modifiers import AttentionModifiers
from attnlab.attention.ops.sdpa import empty_scores, sdpa, sdpa_queries
from attnlab.errors import InvalidValueError
from attnlab.registry import Registry
from attnlab.tensors import (
    QKV,
    AttentionOutput,
    LayerContext,
    LayerInputs,
    Role,
    at_least_float32,
    causal_mask,
    gather_tokens,
    masked_softmax,
)


class RowConstraint(Enum):
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

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """What is added to the scores, or None."""


class Attention(nn.Module, ABC):
    """Causal softmax attention with 4 D^2 weights, as a template.

    Args:
        context: Where in the model it stands.
        keys: Channels of queries and keys per head; C if not given.
        values: Channels of values per head; C if not given.
    """

    row_constraint: ClassVar[RowConstraint] = RowConstraint.STOCHASTIC
    has_scores: ClassVar[bool] = True
    """Whether a position has scores to bias."""
    cost: ClassVar[str] = "T^2 D"
    """How the operations of the token mixing grow, at their best."""
    sdpa_compatible: ClassVar[bool] = False
    """Whether its weights are the plain softmax of q.k / sqrt(C) and the position's bias, each query with a key."""
    chunked_scan: ClassVar[bool] = False
    """Whether the fast path never holds T x T numbers."""
    unsupported_modifiers: ClassVar[Mapping[str, str]] = {}
    """Modifiers that would change nothing, each with the reason; a model in which no attention hears one is refused."""
    parameter_roles: ClassVar[Mapping[str, Role]] = {
        "query": "query",
        "key": "key",
        "value": "value",
        "out_proj": "output",
    }
    """The role of each submodule's parameters, by its name; every other parameter of an attention is ``extra``."""
    max_score_elements: int = 2**22
    """Numbers a tensor of scores may hold where no gradient is recorded; past it, rows are mixed in chunks."""

    def __init__(self, context: LayerContext, keys: int | None = None, values: int | None = None) -> None:
        super().__init__()
        if context.width % context.heads:
            fits = [heads for heads in range(1, context.width + 1) if context.width % heads == 0]
            raise InvalidValueError(
                f"A width of {context.width} does not divide into {context.heads} heads.",
                f"QKV that divide it: {', '.join(map(str, fits))}.",
                where="model.heads",
            )
        self.num_heads, self.channels, self.layer, self.biased = (
            context.heads,
            context.channels,
            context.layer,
            context.biased,
        )
        self.fast = True
        """Whether a fast path may be taken; the plain path is the specification."""
        asked, written = (context.heads * (size or context.channels) for size in (keys, values))
        self.query = context.linear(context.width, asked)
        self.key = context.linear(context.width, asked)
        self.value = context.linear(context.width, written)
        self.out_proj = context.linear(written, context.width, gain=1 / math.sqrt(2 * context.layers))
        self.modifiers = AttentionModifiers(context, written)

    @classmethod
    def num_parameters(cls, width: int, heads: int, length: int, /, **options: Any) -> int:
        """Learned numbers by formula, modifiers left out; `attnlab check` counts and compares.

        Args:
            width: D.
            heads: H.
            length: The longest sequence, T.
            options: Every option of the variant.
        """
        return 4 * width**2

    # -- hooks ---------------------------------------------------------------------------------------------------

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values of the stream, before the position turns them."""
        maps = self.query.weight, self.key.weight, self.value.weight
        # One product is sooner done than three, on the way back too; there, rows by columns is the quicker way round.
        read = x_BTD @ torch.cat([weight.mT for weight in maps], dim=1)
        queries, keys, values = read.split([len(weight) for weight in maps], dim=-1)
        return QKV(self.split(queries), self.split(keys), self.split(values))

    def score(self, qkv: QKV) -> Tensor:
        """How well each key answers each query: ``q.k / sqrt(C)``, ... x T x S."""
        return qkv.queries_BHTC @ qkv.keys_BHSC.mT / math.sqrt(qkv.queries_BHTC.shape[-1])

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores with the position's bias, if it has one."""
        return scores if bias is None else scores + bias

    def mask(self, qkv: QKV) -> Tensor | None:
        """Which keys each query may see among those not after it; None allows all."""
        return None

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Weights of the allowed keys."""
        return masked_softmax(scores, mask)

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """The stream's update, token by token: heads side by side, through the output projection."""
        return self.out_proj(self.modifiers.gated(self.join(mixed_BHTC), x_BTD))

    def auxiliary(self, qkv: QKV, position: Position) -> Tensor:
        """An extra loss, a scalar."""
        return qkv.values_BHSC.new_zeros(())

    # -- deeper --------------------------------------------------------------------------------------------------

    def scores(self, qkv: QKV, position: Position) -> Tensor:
        """Scores with the position's say, computed in float32 or more."""
        lifted = qkv._replace(
            queries_BHTC=at_least_float32(qkv.queries_BHTC), keys_BHSC=at_least_float32(qkv.keys_BHSC)
        )
        scores = self.score(lifted)
        return self.add_bias(scores, position.bias(scores, lifted, self.layer), lifted)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """What multiplies the values: B x H x T x S."""
        scores = self.scores(qkv, position)
        mask = causal_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        allowed = self.mask(qkv)
        return self.normalize(scores, mask if allowed is None else mask & allowed, qkv)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Values mixed: B x H x T x C; linear in the values.

        Evaluation of long sequences holds a bounded number of score rows at a time. With gradients there is nothing
        to gain: autograd keeps every row for the way back.
        """
        queries = qkv.queries_BHTC
        # The fused kernel holds no scores, but a bias or a mask of their size.
        if torch.is_grad_enabled() or not self.fast or self.is_plain_softmax:
            return self.attend_rows(qkv, position)
        mixed, start = [], qkv.start
        for chunk in queries.split(self.query_chunk(qkv), dim=-2):
            mixed.append(self.attend_rows(qkv._replace(queries_BHTC=chunk, start=start), position))
            start += chunk.shape[-2]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=-2)

    def attend_rows(self, qkv: QKV, position: Position) -> Tensor:
        """The same for queries whose scores fit into the room."""
        if not (self.fast and self.sdpa_compatible) or (self.biased and position.reads_scores):
            return self.weights(qkv, position).to(qkv.values_BHSC.dtype) @ qkv.values_BHSC
        lifted = qkv._replace(
            queries_BHTC=at_least_float32(qkv.queries_BHTC), keys_BHSC=at_least_float32(qkv.keys_BHSC)
        )
        bias = position.bias(empty_scores(qkv), lifted, self.layer) if self.biased else None
        return sdpa(qkv, bias, self.mask(qkv))

    def attend_queries(self, qkv: QKV, position: Position, query_positions_BP: Tensor) -> Tensor:
        """Values mixed for some queries of each row: B x H x P x C; called where it is ``sparing``.

        Args:
            qkv: Queries, keys and values of all tokens.
            position: The position of the model.
            query_positions_BP: Columns of the queries that are asked.
        """
        # The kernel holds a mask of their size, and none where all queries are mixed.
        if query_positions_BP.numel() * qkv.keys_BHSC.shape[-2] > self.max_score_elements:
            return gather_tokens(self.attend(qkv, position), query_positions_BP)
        return sdpa_queries(qkv, query_positions_BP)

    @property
    def supports_query_subset(self) -> bool:
        """Whether it can mix some queries of each row alone; one that mixes in a way of its own cannot."""
        kind = type(self)
        return self.is_plain_softmax and kind.attend is Attention.attend and kind.attend_rows is Attention.attend_rows

    @property
    def is_plain_softmax(self) -> bool:
        """Whether a fast path is a softmax of q.k / sqrt(C) over all keys not after the query, and nothing else."""
        return self.fast and self.sdpa_compatible and not self.biased and type(self).mask is Attention.mask

    @property
    def score_maps(self) -> int:
        """Numbers held for each pair of query and key, all heads together; branches before the heads come on top."""
        return self.num_heads

    def query_chunk(self, qkv: QKV) -> int:
        """Query rows whose scores fit into the room."""
        keys = qkv.keys_BHSC
        lead = torch.broadcast_shapes(qkv.queries_BHTC.shape[:-3], keys.shape[:-3])
        return max(1, self.max_score_elements // (math.prod(lead) * self.score_maps * keys.shape[-2]))

    # -- what the model calls ------------------------------------------------------------------------------------

    def prepare(self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs) -> QKV:
        """Projected heads, dressed in what the model asks for, turned by the position."""
        qkv = self.modifiers.apply_to(self.project(self.modifiers.convolve(x_BTD), layer_inputs), layer_inputs)
        queries = position.rotate(qkv.queries_BHTC, qkv.start)
        keys = position.rotate(qkv.keys_BHSC)
        return qkv._replace(queries_BHTC=queries, keys_BHSC=keys)

    def effective_matrix(self, qkv: QKV, position: Position) -> Tensor:
        """The effective matrix, B x H x T x S: ``mix`` with the identity for values."""
        *lead, keys, _ = qkv.values_BHSC.shape
        identity = torch.eye(keys, dtype=qkv.values_BHSC.dtype, device=qkv.values_BHSC.device)
        return self.attend(qkv._replace(values_BHSC=identity.expand(*lead, keys, keys)), position)

    def forward(
        self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs, trace: bool = False
    ) -> AttentionOutput:
        """The stream's update: all of it, or what is asked where it is ``sparing``; with a trace, scores and matrix.

        Args:
            x_BTD: What it reads.
            position: The position of the model.
            layer_inputs: What else it may know; which tokens are asked.
            trace: Whether to return scores and effective matrix too.
        """
        qkv = self.prepare(x_BTD, position, layer_inputs)
        if (
            layer_inputs.query_positions is not None
            and layer_inputs.query_positions.ndim == 2
            and self.supports_query_subset
        ):
            query_positions_BP = layer_inputs.query_positions % x_BTD.shape[1]
            stream = self.output(
                self.attend_queries(qkv, position, query_positions_BP), gather_tokens(x_BTD, query_positions_BP)
            )
        else:
            stream = self.output(self.attend(qkv, position), x_BTD)
        mixed = AttentionOutput(stream, qkv, self.auxiliary(qkv, position))
        if not trace:
            return mixed
        scores = (self.scores(qkv, position),) if self.has_scores else ()
        return mixed._replace(scores_BHTS=scores, weights_BHTS=(self.effective_matrix(qkv, position),))

    def split(self, x_BTD: Tensor) -> Tensor:
        """B x T x (H C) to B x H x T x C."""
        return x_BTD.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)

    def join(self, x_BHTC: Tensor) -> Tensor:
        """B x H x T x C to B x T x (H C)."""
        return x_BHTC.transpose(-3, -2).flatten(-2)


ATTENTIONS: Registry[Attention] = Registry("attention", "attnlab.attention")
register = ATTENTIONS.register
