"""The template of every attention: small hooks, of which a variant overrides the fewest it can.

Letters  B batch, T queries, P query positions per row, S keys, D width, H heads, C channels per head.

    project    residual stream     -> QKV                queries, keys, values, and any gate
    score      QKV                 -> scores             q.k / sqrt(C)
    add_bias   scores, bias, QKV   -> scores             scores + bias
    mask       QKV                 -> mask               combined here with the causal mask
    normalize  scores, mask, QKV   -> weights            softmax over the allowed keys
    head_output  mixed values, QKV -> mixed values       nothing; a variant may add or normalize, token by token
    output     mixed values, x     -> residual update    heads joined, output projection

Deeper hooks are ``weights`` (structured matrices, closed forms of recurrences) and ``attend`` (fast paths and scans),
with ``attend_queries`` for a subset of the queries. ``attend`` is linear in the values: with the identity as values it
gives the *effective matrix*, from which every diagnostic is computed.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Protocol, final

import torch
from torch import Tensor, nn

from attnlab.attention.ops.blocks import attend_in_blocks, recompute_in_blocks
from attnlab.attention.ops.hooks import check_hooks
from attnlab.attention.ops.modifiers import AttentionModifiers
from attnlab.attention.ops.precision import float32_heads, full_precision, kernel_heads, rounds_factors
from attnlab.attention.ops.sdpa import empty_scores, sdpa, sdpa_queries
from attnlab.errors import InvalidValueError
from attnlab.registry import Registry
from attnlab.rotation import Rotation
from attnlab.tensors import (
    QKV,
    AttentionOutput,
    LayerContext,
    LayerInputs,
    Role,
    at_least_float32,
    broadcast_shape,
    causal_mask,
    gather_tokens,
    masked_softmax,
    with_float32,
)


class RowConstraint(Enum):
    """What every row of a variant's effective matrix satisfies; diagnostics choose their formulas by it."""

    STOCHASTIC = "non-negative, sum to one"
    SUBSTOCHASTIC = "non-negative, sum to at most one"
    SIGNED = "signed, a constant sum"
    FREE = "anything"


class Position(Protocol):
    """The methods of a position that an attention calls; :mod:`attnlab.position` implements them."""

    @property
    def reads_scores(self) -> bool:
        """Whether the bias depends on the values of the scores, and not on their shape alone."""

    @property
    def random(self) -> bool:
        """Whether distances are drawn at random, for each length anew."""

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Queries or keys, rotated by their position.

        Args:
            tensor_BHTC: Queries or keys.
            start: Position of the first token.

        Returns:
            A tensor of the same shape.
        """

    def rotate_keys(self, tensor_BHSC: Tensor) -> Tensor:
        """Keys, rotated by their position.

        Args:
            tensor_BHSC: Keys.

        Returns:
            A tensor of the same shape.
        """

    def for_input(self, x_BTD: Tensor, layer: int) -> Rotation:
        """The rotation of a layer, where it depends on the layer or on the layer's input.

        Args:
            x_BTD: The input of the layer's attention.
            layer: Index of the layer, from 0.

        Returns:
            What rotates queries and keys.
        """

    def bias(self, scores_BHTS: Tensor, qkv: QKV, layer: int) -> Tensor | None:
        """The bias added to the scores.

        Args:
            scores_BHTS: Scores before the bias.
            qkv: Queries, keys and values.
            layer: Index of the layer, from 0.

        Returns:
            A tensor that broadcasts to the scores, or None for no bias.
        """


class Attention(nn.Module, ABC):
    """Causal softmax attention with 4 D^2 weights, as a template.

    Args:
        context: Sizes, index of the layer, and source of the initial weights.
        keys: Channels of queries and keys per head; None is C.
        values: Channels of values per head; None is C.

    Raises:
        InvalidValueError: the heads do not divide the width.
    """

    row_constraint: RowConstraint = RowConstraint.STOCHASTIC
    """Of the class for the default options; other options may set another one on the instance."""
    has_heads: ClassVar[bool] = True
    """Whether there are queries and keys that a position can rotate."""
    has_scores: ClassVar[bool] = True
    """Whether there are scores to which a position can add a bias."""
    hides_keys: ClassVar[bool] = True
    """Whether a large penalty on a score takes the key away; False where weights depend on the size of all scores."""
    plain_products: ClassVar[bool] = True
    """Whether queries and keys are used for nothing but the scores ``q.k / sqrt(C)``, so that a position may replace
    them by others with the products that it defines. An attention without scores has none of these products."""
    cost: ClassVar[str] = "T^2 D"
    """Growth of the number of operations of the token mixing, at its best."""
    sdpa_compatible: ClassVar[bool] = False
    """Whether the weights are the plain softmax of q.k / sqrt(C) and the position's bias, with a key for each query."""
    chunked_scan: ClassVar[bool] = False
    """Whether the fast path never holds T x T numbers."""
    unsupported_modifiers: ClassVar[Mapping[str, str]] = {}
    """Modifiers without effect, each with the reason. A model in which no attention supports one is refused."""
    own_projections: ClassVar[bool] = False
    """Whether queries, keys and values are not those of ``Attention.project``; then canon=B is refused."""
    parameter_roles: ClassVar[Mapping[str, Role]] = {
        "query": "query",
        "key": "key",
        "value": "value",
        "out_proj": "output",
    }
    """The role of each submodule's parameters, by its name; every other parameter of an attention is ``extra``."""
    max_score_elements: int = 2**22
    """Most elements of a score tensor where no gradient is recorded; above it the queries are attended in blocks."""
    max_recomputed_elements: int = 2**21
    """The same where a gradient is recorded; above it the backward pass computes the blocks again."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Refuse hooks with other arguments than those of this class."""
        super().__init_subclass__(**more)
        check_hooks(cls, Attention)

    def __init__(self, context: LayerContext, keys: int | None = None, values: int | None = None) -> None:
        super().__init__()
        if context.width % context.heads:
            divisors = [heads for heads in range(1, min(context.width, 4096) + 1) if context.width % heads == 0]
            raise InvalidValueError(
                f"A width of {context.width} does not divide into {context.heads} heads.",
                f"Numbers of heads that divide it: {', '.join(map(str, divisors))}.",
                where="model.heads",
            )
        self.num_heads, self.channels = context.heads, context.channels
        self.layer, self.biased = context.layer, context.biased
        self.fast = True
        """Whether a fast path may be taken; the plain path is the specification."""
        key_width, value_width = (context.heads * (size or context.channels) for size in (keys, values))
        self.query = context.linear(context.width, key_width)
        self.key = context.linear(context.width, key_width)
        self.value = context.linear(context.width, value_width)
        self.out_proj = context.linear(value_width, context.width, gain=1 / math.sqrt(2 * context.layers))
        own = type(self).own_projections
        self.modifiers = AttentionModifiers(context, value_width, 0 if own else 2 * key_width + value_width)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """The number of trainable parameters by formula, without modifiers; ``attnlab check`` counts and compares.

        Args:
            width: D.
            heads: H.
            length: The longest sequence, in tokens.
            layer: Index of the layer, from 0; the default is the first.
            biased: Whether the position adds a bias to the scores; by default it does not.
            **options: Every option of the variant.

        Returns:
            The number of parameters.
        """
        return 4 * width**2

    def state_size(self, tokens: int) -> int:
        """Numbers that a decoder keeps of a sequence to attend for later tokens; ``attnlab check`` probes it.

        The default is a key and a value per token, as in a cache. Gates and other inputs of later tokens do not count,
        and neither do numbers that follow from those that are kept.

        Args:
            tokens: Tokens so far.

        Returns:
            How many numbers the layer keeps, without those of modifiers.
        """
        return tokens * (self.key.out_features + self.value.out_features)

    # -- hooks ---------------------------------------------------------------------------------------------------

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values of the residual stream, before the position rotates them.

        Args:
            x_BTD: The input of the attention.
            layer_inputs: The inputs of the layer besides the residual stream.

        Returns:
            Queries, keys and values of all tokens.
        """
        maps = self.query.weight, self.key.weight, self.value.weight
        # One product is faster than three, in the backward pass too, and so is a weight concatenated by columns.
        projected = x_BTD @ torch.cat([weight.mT for weight in maps], dim=1)
        if rounds_factors(x_BTD):  # converted before it is split: one pass over contiguous memory
            projected = at_least_float32(projected)
        projected = self.activate(self.modifiers.canon_b(projected))
        queries, keys, values = projected.split([len(weight) for weight in maps], dim=-1)
        return QKV(self.split(queries), self.split(keys), self.split(values))

    def activate(self, projected_BTP: Tensor) -> Tensor:
        """An activation of queries, keys and values before they are split into heads; none here.

        One pass over contiguous memory is faster than three over the heads of a part of it.

        Args:
            projected_BTP: Queries, keys and values of all heads side by side.

        Returns:
            A tensor of the same shape.
        """
        return projected_BTP

    def score(self, qkv: QKV) -> Tensor:
        """The score of each key for each query, ``q.k / sqrt(C)``.

        Args:
            qkv: Queries, keys and values; queries and keys in float32 or more.

        Returns:
            Scores, ... x T x S.
        """
        return qkv.queries_BHTC @ qkv.keys_BHSC.mT / math.sqrt(qkv.queries_BHTC.shape[-1])

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """Scores with the position's bias.

        Args:
            scores: ... x T x S.
            bias: Broadcastable to the scores; None where the position has none.
            qkv: Queries, keys and values.

        Returns:
            Scores, ... x T x S.
        """
        return scores if bias is None else scores + bias

    def mask(self, qkv: QKV) -> Tensor | None:
        """The keys that each query may attend to, besides the causal mask.

        Args:
            qkv: Queries, keys and values.

        Returns:
            bool, broadcastable to the scores, True where a key is allowed; None allows all.
        """
        return None

    def normalize(self, scores: Tensor, mask: Tensor, qkv: QKV) -> Tensor:
        """Weights of the allowed keys.

        Args:
            scores: ... x T x S, finite.
            mask: bool, broadcastable to the scores; True where a key is allowed.
            qkv: Queries, keys and values.

        Returns:
            Weights, B x H x T x S.
        """
        return masked_softmax(scores, mask)

    def head_output(self, mixed_BHTC: Tensor, qkv: QKV) -> Tensor:
        """What each head returns for what it read, token by token; it need not be linear. The default is what it read.

        Args:
            mixed_BHTC: Weighted sums of the values.
            qkv: Queries, keys and values; all queries where a variant overrides this.

        Returns:
            B x H x T x C.
        """
        return mixed_BHTC

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """The update of the residual stream, token by token: heads joined, through the output projection.

        Args:
            mixed_BHTC: Weighted sums of the values.
            x_BTD: The input of the attention.

        Returns:
            B x T x D.
        """
        return self.out_proj(self.modifiers.apply_gate(self.join(mixed_BHTC), x_BTD))

    def auxiliary(self, qkv: QKV, position: Position) -> Tensor:
        """A term added to the loss.

        Args:
            qkv: Queries, keys and values.
            position: The position of the model.

        Returns:
            A scalar.
        """
        return qkv.values_BHSC.new_zeros(())

    # -- deeper --------------------------------------------------------------------------------------------------

    def scores(self, qkv: QKV, position: Position) -> Tensor:
        """Scores with the position's bias, computed in float32 or more.

        Args:
            qkv: Queries, keys and values.
            position: The position of the model.

        Returns:
            Scores, ... x T x S.
        """
        qkv = with_float32(qkv)
        scores = self.score(qkv)
        return self.add_bias(scores, position.bias(scores, qkv, self.layer), qkv)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The matrix that multiplies the values.

        Args:
            qkv: Queries, keys and values.
            position: The position of the model.

        Returns:
            B x H x T x S.
        """
        scores = self.scores(qkv, position)
        mask = causal_mask(scores.shape[-2], scores.shape[-1], qkv.start, scores.device)
        allowed = self.mask(qkv)
        return self.normalize(scores, mask if allowed is None else mask & allowed, qkv)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values; linear in the values.

        A bounded number of score rows is held at a time. With gradients, the backward pass computes them again.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.
            position: The position of the model.

        Returns:
            B x H x T x C.
        """
        if not self.fast or self.is_plain_softmax:  # the fused kernel holds no scores
            return self.attend_rows(qkv, position)
        queries, rows = qkv.queries_BHTC.shape[-2], self.block_rows(qkv)
        if rows >= queries or not self.blockable(qkv, position):
            return self.attend_rows(qkv, position)
        if not torch.is_grad_enabled():
            return attend_in_blocks(lambda block: self.attend_rows(block, position), qkv, rows)
        return recompute_in_blocks(block := _Rows(self, position), block.unused(), qkv, rows)

    def attend_rows(self, qkv: QKV, position: Position) -> Tensor:
        """Weighted sums of the values for queries all in one chunk.

        Args:
            qkv: Queries, keys and values; the queries may be a chunk of the rows.
            position: The position of the model.

        Returns:
            B x H x T x C.
        """
        if not (self.fast and self.sdpa_compatible) or (self.biased and position.reads_scores):
            return self.weights(qkv, position).to(qkv.values_BHSC.dtype) @ qkv.values_BHSC
        bias = position.bias(empty_scores(qkv), with_float32(qkv), self.layer) if self.biased else None
        return sdpa(qkv, bias, self.mask(qkv))

    def attend_queries(self, qkv: QKV, position: Position, query_positions_BP: Tensor) -> Tensor:
        """Weighted sums of the values for some queries of each row; called where ``supports_query_subset`` is true.

        Args:
            qkv: Queries, keys and values of all tokens.
            position: The position of the model.
            query_positions_BP: Positions of the queries in their row, int64.

        Returns:
            B x H x P x C.
        """
        # The kernel holds a P x S mask here; over all queries it holds none.
        if query_positions_BP.numel() * qkv.keys_BHSC.shape[-2] > self.max_score_elements:
            return gather_tokens(self.attend(qkv, position), query_positions_BP)
        return sdpa_queries(qkv, query_positions_BP)

    @property
    def supports_query_subset(self) -> bool:
        """Whether some queries of each row can be computed alone; false where other hooks need all of them."""
        cls = type(self)
        plain = cls.attend is Attention.attend and cls.attend_rows is Attention.attend_rows
        return self.is_plain_softmax and plain and cls.head_output is Attention.head_output

    @property
    def is_plain_softmax(self) -> bool:
        """Whether a fast path is a softmax of q.k / sqrt(C) over all keys not after the query, and nothing else."""
        return self.fast and self.sdpa_compatible and not self.biased and type(self).mask is Attention.mask

    @property
    def score_maps(self) -> int:
        """Numbers held for each pair of query and key, over all heads; branches before the heads are not counted."""
        return self.num_heads

    def block_rows(self, qkv: QKV) -> int:
        """The most query rows of which the scores have at most ``max_score_elements`` elements.

        Args:
            qkv: Queries, keys and values.

        Returns:
            A number of rows, at least 1.
        """
        keys = qkv.keys_BHSC
        lead = broadcast_shape(qkv.queries_BHTC.shape[:-3], keys.shape[:-3])
        most = self.max_recomputed_elements if torch.is_grad_enabled() else self.max_score_elements
        return max(1, most // (math.prod(lead) * self.score_maps * keys.shape[-2]))

    def blockable(self, qkv: QKV, position: Position) -> bool:
        """Whether the queries may be attended in blocks.

        Args:
            qkv: Queries, keys and values.
            position: The position of the model.

        Returns:
            True where every further tensor has the tokens as its last axis but one, so that later ones can be left
            out, and no distances are drawn at random, for each length anew.
        """
        tokens = qkv.keys_BHSC.shape[-2]
        by_token = all(tensor.ndim > 1 and tensor.shape[-2] == tokens for tensor in qkv.extra)
        return by_token and not (self.biased and position.random)

    # -- called by the model -------------------------------------------------------------------------------------

    def prepare(self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs) -> QKV:
        """Queries, keys and values with the modifiers applied and the position's rotation.

        Args:
            x_BTD: The input of the attention.
            position: The position of the model.
            layer_inputs: The inputs of the layer besides the residual stream.

        Returns:
            Queries, keys and values of all tokens.
        """
        projected = float32_heads(self.project(self.modifiers.convolve(x_BTD), layer_inputs))
        qkv = self.modifiers.apply_to(projected, layer_inputs)
        return self.rotated(qkv, position.for_input(x_BTD, self.layer))

    def rotated(self, qkv: QKV, rotation: Rotation) -> QKV:
        """Queries and keys, rotated by their position.

        Args:
            qkv: Queries, keys and values of all tokens.
            rotation: What the position does in this layer.

        Returns:
            Queries and keys rotated; everything else as it was.
        """
        queries, keys = rotation.rotate(qkv.queries_BHTC, qkv.start), rotation.rotate_keys(qkv.keys_BHSC)
        return qkv._replace(queries_BHTC=queries, keys_BHSC=keys)

    def effective_matrix(self, qkv: QKV, position: Position) -> Tensor:
        """The effective matrix: ``attend`` with the identity as values.

        Args:
            qkv: Queries, keys and values.
            position: The position of the model.

        Returns:
            B x H x T x S.
        """
        *lead, keys, _ = qkv.values_BHSC.shape
        identity = torch.eye(keys, dtype=qkv.values_BHSC.dtype, device=qkv.values_BHSC.device)
        return self.attend(qkv._replace(values_BHSC=identity.expand(*lead, keys, keys)), position)

    def forward(
        self, x_BTD: Tensor, position: Position, layer_inputs: LayerInputs, trace: bool = False
    ) -> AttentionOutput:
        """The update of the residual stream, at all tokens or at the query positions alone.

        Args:
            x_BTD: The input of the attention.
            position: The position of the model.
            layer_inputs: The inputs of the layer besides the residual stream, and the query positions.
            trace: Whether to return scores and effective matrix too.

        Returns:
            The update, B x T x D, or B x P x D where ``supports_query_subset`` is true and the query positions are
            B x P; with queries, keys, values and auxiliary loss.
        """
        qkv, kept_BTD = self.prepare(x_BTD, position, layer_inputs), x_BTD
        query_positions, factors = layer_inputs.query_positions, kernel_heads(qkv)
        positions_BP: Tensor | None = None
        with full_precision(x_BTD):
            if query_positions is not None and query_positions.ndim == 2 and self.supports_query_subset:
                positions_BP = query_positions % x_BTD.shape[1]
                mixed = self.attend_queries(factors, position, positions_BP)
                kept_BTD = gather_tokens(x_BTD, positions_BP)
            else:
                mixed = self.attend(factors, position)
            auxiliary = self.auxiliary(factors, position)
        if self.modifiers.modifiers.exclusive:
            values = factors.values_BHSC
            own = gather_tokens(values, positions_BP) if positions_BP is not None else values
            mixed = self.excluded(mixed, own)
        result = AttentionOutput(self.output(self.head_output(mixed, factors), kept_BTD), qkv, auxiliary)
        if not trace:
            return result
        scores = (self.scores(qkv, position),) if self.has_scores else ()
        return result._replace(scores_BHTS=scores, weights_BHTS=(self.effective_matrix(qkv, position),))

    def excluded(self, mixed_BHTC: Tensor, values_BHTC: Tensor) -> Tensor:
        """The output of each head without its part along the token's own value, for the modifier ``exclusive``.

        Args:
            mixed_BHTC: Weighted sums of the values.
            values_BHTC: The values of the same tokens.

        Returns:
            B x H x T x C.
        """
        return self.modifiers.exclude(mixed_BHTC, values_BHTC)

    def split(self, x_BTD: Tensor) -> Tensor:
        """Channels split into heads.

        Args:
            x_BTD: B x T x (H C).

        Returns:
            B x H x T x C.
        """
        return x_BTD.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)

    def join(self, x_BHTC: Tensor) -> Tensor:
        """Heads joined into channels.

        Args:
            x_BHTC: B x H x T x C.

        Returns:
            B x T x (H C).
        """
        return x_BHTC.transpose(-3, -2).flatten(-2)


@final
class _Rows(nn.Module):
    """The weighted sums of a block of queries, as a module whose parameters can be replaced.

    Args:
        attention: The attention.
        position: The position of the model.
    """

    def __init__(self, attention: Attention, position: Position) -> None:
        super().__init__()
        self.attention, self.position = attention, position

    def forward(self, qkv: QKV) -> Tensor:
        """The weighted sums of a block, B x H x T x C."""
        return self.attention.attend_rows(qkv, self.position)

    def unused(self) -> tuple[str, ...]:
        """Beginnings of the names of parameters that no weighted sum reads: projections and modifiers."""
        roles = (name for name, role in self.attention.parameter_roles.items() if role != "extra")
        names = tuple(f"attention.{name}." for name in ("modifiers", *roles))
        return names if self.attention.biased else (*names, "position.")


ATTENTIONS: Registry[Attention] = Registry("attention", "attnlab.attention")
register = ATTENTIONS.register
