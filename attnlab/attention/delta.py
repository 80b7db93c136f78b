"""DeltaNet: linear attention that overwrites the value stored under a key.

    S_t = a_t S_{t-1} + b_t k_t (v_t - k_t^T a_t S_{t-1})^T,   o_t = S_t^T q_t,   a = 1
    k = unit_length(SiLU(W_k x)),  q = unit_length(SiLU(W_q x)),  v = SiLU(W_v x),  b = sigmoid(W_b x), per head

The variants in which the state decays (a < 1) are in files of their own. With ``householders=n`` a token has n keys,
values and strengths, each from maps of its own, and writes n times before it is read: a token then changes the state by
a product of n reflections. The state decays once per token.

The output of each head is normalized to unit size, with a learned gain. Keys have unit length when they are used, even
under `qk_norm`: longer ones make the state grow without bound. That modifier has no effect here, and is refused.

Source   Yang et al., arXiv:2406.06484; b up to 2: Grazzi et al., arXiv:2411.12537; householders: Siems et al.,
         "DeltaProduct", arXiv:2502.10297. Details after the layers of fla.
Theirs   beta -> our b;  n_h -> our n.
Differs  their convolutions of q, k, v are the option `conv`, off by default (recall leans on them); their output gate
         is the modifier `gate`. Queries are not scaled by 1/sqrt(C): the norm that follows undoes it.

Letters  B batch, H heads, N steps of a token (householders), HN steps of all heads, T queries, S keys, C channels of
         keys, V of values, D width.
"""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Position, register
from attnlab.attention.ops.convolution import Convolutions, Convolved, num_taps
from attnlab.attention.ops.delta_rule import DeltaRule, Rule
from attnlab.attention.ops.inner_steps import as_heads, as_tokens, at_first, at_last, step_matrices, step_outputs
from attnlab.attention.ops.unit import head_norm, unit_length
from attnlab.errors import IncompatiblePartsError
from attnlab.tensors import QKV, LayerContext, LayerInputs, at_least_float32

Expansion = Annotated[int, Field(ge=1)]
Householders = Annotated[int, Field(ge=1)]


class DeltaNet(DeltaRule):
    """The common part of the family; a variant defines the decay of its state, and may change what it erases.

    Args:
        context: Sizes, index of the layer, and source of the initial weights.
        expand: V / C.
        negative: Whether b lies in 0 .. 2 instead of 0 .. 1.
        conv: The projections that are convolved.
        householders: N, writes per token.
    """

    unsupported_modifiers = {
        "qk_norm": "its queries and keys have unit length already, and the norm after it undoes a gain"
    }

    def __init__(
        self,
        context: LayerContext,
        *,
        expand: Expansion = 1,
        negative: bool = False,
        conv: Convolved = "none",
        householders: Householders = 1,
    ) -> None:
        super().__init__(context, values=expand * context.channels)
        self.max_strength, self.steps = 2.0 if negative else 1.0, householders
        if householders > 1:
            self.key = context.linear(context.width, householders * context.width)
            self.value = context.linear(context.width, householders * expand * context.width)
            self.modifiers.canon_b = context.canon("B", sum(widths(context.width, expand, householders).values()))
            if context.modifiers.exclusive:
                problem = (
                    f"With householders={householders} a token has {householders} values, and exclusive needs one."
                )
                raise IncompatiblePartsError(problem, "Leave out exclusive or householders.", where="model.modifiers")
        self.strength = context.linear(context.width, householders * context.heads)
        self.gain_V = nn.Parameter(torch.ones(expand * context.channels))
        self.convolutions = Convolutions(context, conv, widths(context.width, expand, householders))

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``(1 + n) (1 + e) D^2 + n D H + e C`` for n writes of e C values, the taps, and those of the decay."""
        expand, steps = options["expand"], options.get("householders", 1)
        taps = num_taps(options["conv"], widths(width, expand, steps))
        return (1 + steps) * (1 + expand) * width**2 + steps * width * heads + expand * width // heads + taps

    def state_size(self, tokens: int) -> int:
        """A state of C x V numbers per head, and the tokens that convolutions read again."""
        width = self.query.in_features
        return width * len(self.gain_V) + self.convolutions.state_size(tokens, width)

    @property
    def score_maps(self) -> int:
        """One for each step of each head."""
        return self.num_heads * self.steps

    def log_decay(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        """Logarithm of a.

        Args:
            x_BTD: The input of the attention.

        Returns:
            One tensor, B x H x S x C or B x H x S x 1; none where the state does not decay.
        """
        return ()

    def strengths(self, x_BTD: Tensor) -> Tensor:
        """The strength b of each token.

        Args:
            x_BTD: The input of the attention.

        Returns:
            B x H x S x N.
        """
        return self.gate(self.strength(x_BTD))

    def gate(self, logits_BTD: Tensor) -> Tensor:
        """A gate from its logits.

        Args:
            logits_BTD: B x T x (H C).

        Returns:
            Numbers in 0 .. 1, or in 0 .. 2 with ``negative``; B x H x T x C.
        """
        return self.max_strength * self.split(logits_BTD).sigmoid()

    def activate(self, projected_BTP: Tensor) -> Tensor:
        """SiLU, unless convolutions come between."""
        return projected_BTP if self.convolutions.taps else functional.silu(projected_BTP)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries of unit length, keys and values after their SiLU, strengths and decays; steps are held as heads."""
        queries, keys, values = super().project(x_BTD, layer_inputs)[:3]
        if self.convolutions.taps:
            convolved = self.convolutions(QKV(queries, keys, values), silu=False)
            queries, keys, values = (functional.silu(part) for part in convolved[:3])
        strengths = self.strengths(x_BTD)
        if self.steps > 1:
            keys, values, strengths = (as_heads(part, self.steps) for part in (keys, values, strengths))
        return QKV(
            unit_length(at_least_float32(queries)).to(queries.dtype), keys, values, (strengths, *self.log_decay(x_BTD))
        )

    def rule(self, qkv: QKV) -> Rule:
        """Reads and writes with the same key, each with strength b; the steps of a token stand next to each other."""
        keys, (strengths, *decays) = unit_length(at_least_float32(qkv.keys_BHSC)), qkv.extra
        queries = at_least_float32(qkv.queries_BHTC)
        if self.steps > 1:
            keys, strengths = (as_tokens(part, self.steps) for part in (keys, strengths))
            queries, decays = at_last(queries, self.steps), [at_first(decay, self.steps) for decay in decays]
        single = strengths.shape[-1] < keys.shape[-1]  # loops multiply the keys themselves
        erasures = at_least_float32(strengths) if single else strengths * keys
        return Rule(queries, keys, erasures, decays_BHSC=decays[0] if decays else None)

    def weights(self, qkv: QKV, position: Position) -> Tensor:
        """The closed form, B x H x T x S; with several steps per token B x HN x T x S, one matrix for each."""
        if self.steps == 1:
            return super().weights(qkv, position)
        return step_matrices(self.rule(qkv), self.steps, qkv.start)

    def attend(self, qkv: QKV, position: Position) -> Tensor:
        """The scan where the output of all rows is computed, the closed form otherwise; B x HN x T x V."""
        if self.steps == 1 or not self.takes_scan(qkv):
            return super().attend(qkv, position)
        return step_outputs(self.rule(qkv), at_least_float32(qkv.values_BHSC), self.steps).to(qkv.values_BHSC.dtype)

    def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
        """Steps added; every head normalized to unit size, with one learned gain for all heads."""
        mixed = at_least_float32(mixed_BHTC)
        if self.steps > 1:
            mixed = mixed.unflatten(-3, (-1, self.steps)).sum(-3)
        return super().output(head_norm(mixed, at_least_float32(self.gain_V)).to(mixed_BHTC.dtype), x_BTD)


@register("delta", source="arXiv:2406.06484", aliases=("deltanet",))
@final
class Delta(DeltaNet):
    """DeltaNet: the state does not decay; only the value stored under the same key is overwritten.

    Options:
        expand: Channels of the values for each channel of the keys.
        negative: Whether the strength b lies in 0 .. 2, so that the value stored under a key can change its sign.
        conv: The projections (q, k, v) with a causal convolution of 4 taps; qkv in the published layer.
        householders: Writes per token, each with a key, a value and a strength of its own.
    """


def widths(width: int, expand: int, steps: int = 1) -> dict[str, int]:
    """The channels of all heads of queries, keys and values.

    Args:
        width: D.
        expand: V / C.
        steps: N.

    Returns:
        The counts, by ``q``, ``k`` and ``v``.
    """
    return {"q": width, "k": steps * width, "v": steps * expand * width}
