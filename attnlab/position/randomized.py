"""Randomized positions: the tokens stand at random places of a longer range, in their order.

    p_0 < p_1 < ... < p_{T-1}: T places of 0 .. N - 1, drawn without replacement
    token t stands where token p_t would stand under the base position

so that a model trained on short sequences has met every place of longer ones.

Source   Ruoss et al., "Randomized positional encodings", arXiv:2305.16843, and its code.
Theirs   L -> our N, ``range``.
Differs  one sample serves a whole forward pass: their rotary ones draw anew in every layer. A sample is a function of
         the seed, of the number of draws (``draw``: steps of training, batches of an evaluation) and of T, so that a
         pass has no side effects, lanes differ, and a run that goes on in the middle needs no state. As theirs,
         evaluation draws anew for each batch; ours draws the same again in each evaluation. Bases here are those
         that embed or rotate; for those that add to the scores see ``randomized-alibi`` and ``randomized-xl``.

Letters  B batch, H heads, T tokens, C channels per head, D width, N places.
"""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, register
from attnlab.position.ops.sampling import Sample
from attnlab.position.rotary import need_pairs, paired, turn
from attnlab.position.sinusoidal import angles, waves
from attnlab.tensors import LayerContext

BASE = 10_000.0


@register("randomized", source="arXiv:2305.16843", aliases=("random",))
@final
class Randomized(Position):
    """Another position, at sorted random places of a longer range.

    A prefix stands at other places than it does within the whole: its answers are another draw, not the same ones.

    Options:
        base: What the places are told by: ``rotary``, ``sinusoidal`` or ``learned`` (N vectors).
        range: N; longer sequences are refused.
    """

    random = True

    def __init__(
        self,
        context: LayerContext,
        *,
        base: Literal["rotary", "sinusoidal", "learned"] = "rotary",
        range: Annotated[int, Field(ge=1)] = 2048,
    ) -> None:
        super().__init__(context)
        if base == "rotary":
            need_pairs(context)
        if base == "sinusoidal" and context.width % 2:
            raise InvalidValueError(
                f"Sinusoidal positions need an even width, not {context.width}.", where="model.width"
            )
        self.base, self.sample = base, Sample(context, range)
        if base == "learned":
            self.place_ND = context.normal(range, context.width, std=1.0)

    def embed(self, x_BTD: Tensor) -> Tensor:
        """The stream plus what the base says of each random place."""
        if self.base == "rotary":
            return x_BTD
        place_T = self.places(x_BTD.shape[-2])
        if self.base == "learned":
            return x_BTD + self.place_ND[place_T]
        exact = torch.promote_types(x_BTD.dtype, torch.float32)
        return x_BTD + waves(place_T.to(exact), x_BTD.shape[-1], BASE).to(x_BTD.dtype)

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Queries or keys turned by their random places; those from ``start`` on are the last of the sequence."""
        if self.base != "rotary":
            return tensor_BHTC
        exact = torch.promote_types(tensor_BHTC.dtype, torch.float32)
        place_T = self.places(start + tensor_BHTC.shape[-2])[start:].to(exact)
        return turn(tensor_BHTC, angles(place_T, paired(tensor_BHTC), BASE))

    def places(self, tokens: int) -> Tensor:
        """Sorted places of that many tokens, int64."""
        return self.sample(tokens, self.draw)
