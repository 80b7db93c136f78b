"""MGK, a mixture of Gaussian keys: each token has several keys, and its weight is a mixture of their kernels.

    mgk   A_ij ~ sum_r pi_r exp(-|q_i - k_jr|^2 / (2 sigma_r^2))
    hard  A_ij ~ max_r exp(-|q_i - k_jr|^2 / (2 sigma_r^2)),  no pi
    mlk   A_ij ~ phi(q_i) . sum_r pi_r phi(k_jr),  phi = elu + 1

    keys  k_jr = W_r x_j,  or shifted: k_jr = W x_j - mu_r
    sigma sigma_1^2 = sqrt(C),  sigma_r^2 = sigma_1^2 / narrowing^(r - 1)

Source   Nguyen et al., "Improving transformers with probabilistic attention keys", arXiv:2110.08678, and its public
         code.
Theirs   MGK -> ``mgk``; sMGK -> ``keys: shifted``; Hard-E -> ``hard``; MLK -> ``mlk``.
Differs  the logarithm of the sum is computed stably, where the code exponentiates first and loses far keys; pi is a
         softmax per head instead of a clamped number per head and position, so that it has a gradient and no longest
         sequence. Their Soft-E, which sets pi outside of the gradient, is left out. mu_1 starts at 0 and the others at
         N(0, 1/2), where 1/2 is taken as the standard deviation. Shifts are applied before the rotation.
         mlk: their language model divides phi of each query and key by its sum over the channels, and the output by
         sqrt(C); their classifier mixes the keys before phi, which is one key. Here it is the formula above.

Letters  B batch, M keys per token, H heads, T queries, S keys, C channels per head.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Attention, Position, register
from attnlab.attention.lipschitz import squared_distance
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32

Count = Annotated[int, Field(ge=1)]
Keys = Literal["projected", "shifted"]
CHUNK = 64
TINY = 1e-30
"""A row of weights with a smaller sum is set to zero."""


class Mixture(Attention):
    """Several keys per token, on an axis before the heads, and their mixture weights pi.

    Args:
        context: The layer that the attention is built for.
        components: M.
        keys: Whether each key has its own projection, or its own shift of one projection.
        weighted: Whether the mixture weights are learned.
    """

    plain_products = False  # it reads distances

    def __init__(self, context: LayerContext, components: int, keys: Keys, weighted: bool) -> None:
        super().__init__(context)
        self.components, self.shifted = components, keys == "shifted"
        if self.shifted:
            later = context.normal((components - 1) * context.width, std=0.5)
            self.shift = nn.Parameter(torch.cat([torch.zeros(context.width), later.detach()]))
        elif components > 1:
            self.keys = context.linear(context.width, (components - 1) * context.width)
        if weighted and components > 1:
            self.share = nn.Parameter(torch.zeros(components * context.heads))
        self.weighted = weighted and components > 1

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``4 D^2``, ``(M - 1) D^2`` for projections or ``M D`` for shifts, and ``M H`` for mixture weights."""
        count = options["components"]
        more = count * width if options["keys"] == "shifted" else (count - 1) * width**2
        return 4 * width**2 + more + (count * heads if count > 1 and not options.get("hard") else 0)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries, M keys per token, and values."""
        qkv = super().project(x_BTD, layer_inputs)
        first_B1HSC = qkv.keys_BHSC.unsqueeze(-4)
        if self.shifted:
            keys_BMHSC = first_B1HSC - self.shift.view(self.components, self.num_heads, 1, -1)
        elif self.components > 1:
            more_BMHSC = self.keys(x_BTD).unflatten(-1, (self.components - 1, self.num_heads, -1)).movedim(-4, -2)
            keys_BMHSC = torch.cat([first_B1HSC, more_BMHSC], dim=-4)
        else:
            keys_BMHSC = first_B1HSC
        return qkv._replace(queries_BHTC=qkv.queries_BHTC.unsqueeze(-4), keys_BHSC=keys_BMHSC)

    def log_weights(self, like: Tensor) -> Tensor:
        """Compute the logarithm of the mixture weights.

        Args:
            like: A tensor that gives dtype and device.

        Returns:
            ``log pi``, or zeros where pi is not learned, M x H x 1 x 1.
        """
        if not self.weighted:
            return like.new_zeros(self.components, self.num_heads, 1, 1)
        return self.share.to(like.dtype).view(self.components, self.num_heads, 1, 1).log_softmax(0)


@register("mgk", source="arXiv:2110.08678")
@final
class Mgk(Mixture):
    """Softmax attention with a mixture of Gaussian kernels, one kernel per key of a token.

    Options:
        components: Keys per token, M.
        keys: ``projected`` gives each key a projection, ``shifted`` a shift of one shared projection (sMGK).
        hard: Whether the nearest key of a token alone counts (Hard-E), without mixture weights.
        narrowing: Ratio of the variance of each key to that of the next one: 1 for equal variances; 3 in their
            language model.
    """

    def __init__(
        self,
        context: LayerContext,
        *,
        components: Count = 2,
        keys: Keys = "projected",
        hard: bool = False,
        narrowing: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__(context, components, keys, weighted=not hard)
        self.hard = hard
        self.variance = [math.sqrt(context.channels) / narrowing**component for component in range(components)]

    def state_size(self, tokens: int) -> int:
        """The first key of each token, or where keys are projected its input, from which all follow; and its value."""
        width = self.key.out_features if self.shifted else self.key.in_features
        return tokens * (width + self.value.out_features)

    def score(self, qkv: QKV) -> Tensor:
        """The logarithm of each component of the mixture, B x M x H x T x S."""
        distance_BMHTS = squared_distance(qkv.queries_BHTC, qkv.keys_BHSC)
        double_variance_M111 = 2 * distance_BMHTS.new_tensor(self.variance).view(-1, 1, 1, 1)
        return self.log_weights(distance_BMHTS) - distance_BMHTS / double_variance_M111

    def add_bias(self, scores: Tensor, bias: Tensor | None, qkv: QKV) -> Tensor:
        """The logarithm of the mixture, or of its largest component, B x H x T x S."""
        biased_BMHTS = super().add_bias(scores, bias, qkv)
        return biased_BMHTS.amax(-4) if self.hard else biased_BMHTS.logsumexp(-4)


@register("mlk", source="arXiv:2110.08678")
@final
class Mlk(Mixture):
    """Linear attention with a mixture of keys; the time is linear in T.

    Options:
        components: Keys per token, M.
        keys: ``projected`` gives each key a projection, ``shifted`` a shift of one shared projection.
    """

    has_scores = False
    cost = "T C D"
    chunked_scan = True

    def __init__(self, context: LayerContext, *, components: Count = 2, keys: Keys = "projected") -> None:
        super().__init__(context, components, keys, weighted=True)

    def state_size(self, tokens: int) -> int:
        """A state of C x (C + 1) numbers per head."""
        return self.key.out_features * (self.channels + 1)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """Products of features, divided by their row sums, B x H x T x S."""
        queries_BHTC, keys_BHSC = self.features(qkv)
        products_BHTS = (queries_BHTC @ keys_BHSC.mT).tril(qkv.start)
        return divide(products_BHTS, products_BHTS.sum(-1, keepdim=True))

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """By chunks of tokens: products within a chunk, and a running sum of keys times values before it."""
        if not self.fast or qkv.start or qkv.queries_BHTC.shape[-2] != qkv.keys_BHSC.shape[-2]:
            return super().attend(qkv, position)
        queries_BHTC, keys_BHSC = self.features(qkv)
        values_BHSC = at_least_float32(qkv.values_BHSC)
        ones_BHS1 = torch.ones_like(values_BHSC[..., :1])
        extended = torch.cat([values_BHSC, ones_BHS1], dim=-1)  # the column of ones sums the weights
        state = keys_BHSC.new_zeros(keys_BHSC.shape[-1], extended.shape[-1])
        chunks = []
        for q, k, v in zip(*(part.split(CHUNK, dim=-2) for part in (queries_BHTC, keys_BHSC, extended)), strict=True):
            chunks.append(q @ state + (q @ k.mT).tril() @ v)
            state = state + k.mT @ v
        sums = torch.cat(chunks, dim=-2)
        return divide(sums[..., :-1], sums[..., -1:]).to(qkv.values_BHSC.dtype)

    def features(self, qkv: QKV) -> tuple[Tensor, Tensor]:
        """Compute the features of queries and keys.

        Args:
            qkv: Queries, M keys per token, and values.

        Returns:
            Features of the queries, B x H x T x C, and the weighted sum of those of each token's keys, B x H x S x C.
        """
        queries_B1HTC, keys_BMHSC = at_least_float32(qkv.queries_BHTC), at_least_float32(qkv.keys_BHSC)
        weights_MH11 = self.log_weights(keys_BMHSC).exp()
        return phi(queries_B1HTC).squeeze(-4), (weights_MH11 * phi(keys_BMHSC)).sum(-4)


def phi(x: Tensor) -> Tensor:
    """Compute positive features, ``elu(x) + 1``.

    Args:
        x: Queries or keys.

    Returns:
        Features in the same shape.
    """
    return functional.elu(x) + 1


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, with zero where the denominator is at most ``TINY``.

    Args:
        numerator: Non-negative weights, or sums of values.
        denominator: Non-negative sums, broadcastable to the numerator.

    Returns:
        The quotient, in the shape of the numerator.
    """
    positive = denominator > TINY
    return torch.where(positive, numerator / torch.where(positive, denominator, 1.0), 0.0)
