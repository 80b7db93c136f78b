"""Randomized positions: tokens get random positions of a longer range, in their order.

    p_0 < p_1 < ... < p_{T-1}: T positions of 0 .. N - 1, drawn without replacement
    token t is encoded as the base position encodes position p_t

A model trained on short sequences then has seen every position of longer ones.

Source   Ruoss et al., "Randomized positional encodings", arXiv:2305.16843, and its code.
Theirs   L -> our N, ``range``.
Differs  one sample is used in a whole forward pass: their rotary ones draw anew in every layer. A sample is a function
         of the seed, of the index of the draw (``draw``: training steps, evaluation batches) and of T, so that a pass
         has no side effects, vmapped runs differ, and a resumed run needs no state. As theirs, evaluation draws anew
         for each batch; ours draws the same again in each evaluation. The bases here are those that embed or rotate;
         for those that add to the scores see ``randomized-alibi`` and ``randomized-xl``.

Letters  B batch, H heads, T tokens, C channels per head, D width, N positions.
"""

from __future__ import annotations

from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from attnlab.errors import InvalidValueError
from attnlab.position.base import Position, register
from attnlab.position.fourier import fourier_features
from attnlab.position.ops.sampling import Sample
from attnlab.position.rotary import require_even_channels
from attnlab.position.sinusoidal import angles, sinusoids
from attnlab.rotation import paired_channels, rotate_pairs
from attnlab.tensors import LayerContext

BASE = 10_000.0


@register("randomized", source="arXiv:2305.16843", aliases=("random",))
@final
class Randomized(Position):
    """Another position, at sorted random positions of a longer range.

    A prefix gets another sample than the whole sequence, so that the logits of a prefix differ from those of the whole.

    Options:
        base: The position that encodes the sample: ``rotary``, ``sinusoidal``, ``fourier`` or ``learned`` (N vectors).
        range: N; longer sequences are refused.
    """

    random = True

    def __init__(
        self,
        context: LayerContext,
        *,
        base: Literal["rotary", "sinusoidal", "fourier", "learned"] = "rotary",
        range: Annotated[int, Field(ge=1)] = 2048,
    ) -> None:
        super().__init__(context)
        if base == "rotary":
            require_even_channels(context)
        if base == "sinusoidal" and context.width % 2:
            raise InvalidValueError(
                f"Sinusoidal positions need an even width, not {context.width}.", where="model.width"
            )
        self.base, self.sample = base, Sample(context, range)
        if base == "learned":
            self.place_ND = context.normal(range, context.width, std=1.0)

    def embed(self, x_BTD: Tensor) -> Tensor:
        """The token embeddings plus the base's encoding of each sampled position."""
        if self.base == "rotary":
            return x_BTD
        position_T = self.sampled_positions(x_BTD.shape[-2])
        if self.base == "learned":
            return x_BTD + self.place_ND[position_T]
        exact = torch.promote_types(x_BTD.dtype, torch.float32)
        features = fourier_features if self.base == "fourier" else sinusoids
        return x_BTD + features(position_T.to(exact), x_BTD.shape[-1], BASE).to(x_BTD.dtype)

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Queries or keys rotated by their sampled positions; those from ``start`` on are the last of the sequence."""
        if self.base != "rotary":
            return tensor_BHTC
        exact = torch.promote_types(tensor_BHTC.dtype, torch.float32)
        position_T = self.sampled_positions(start + tensor_BHTC.shape[-2])[start:].to(exact)
        return rotate_pairs(tensor_BHTC, angles(position_T, paired_channels(tensor_BHTC), BASE))

    def sampled_positions(self, tokens: int) -> Tensor:
        """Draw the positions of a sequence.

        Args:
            tokens: T.

        Returns:
            Sorted positions, int64, T.

        Raises:
            InvalidValueError: more tokens than positions.
        """
        return self.sample(tokens, self.draw)
