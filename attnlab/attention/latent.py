"""Multi-head latent attention, MLA: keys and values are projections of one small latent vector per token.

    c_j = g rms(W_D x_j)                         R numbers: the latent
    k_j = [W_K c_j ; rot(W_R x_j)]               P channels, the same in all heads
    v_j = W_V c_j
    q_i = [u_i ; rot(p_i)],   [u_i ; p_i] = W_Q x_i
    s_ij = q_i.k_j / sqrt(C)

A rotary position rotates the P shared channels only, so that W_K could be folded into W_Q. Without one they are not
rotated. The cache of a decoder has R + P numbers per token instead of 2 D.

Source   DeepSeek-AI, "DeepSeek-V2", arXiv:2405.04434, section 2.1.
Theirs   d_c -> our ``rank``;  d_h^R -> our ``turned``;  d_h + d_h^R -> our C: the channels of a head are divided
         between the two parts, so that the scale stays 1 / sqrt(C).
Differs  queries are not compressed. The default sizes, R = D / 2 and P near C / 2, are our choice.

Letters  B batch, H heads, T queries, S keys, D width, C channels per head, R rank, P rotated channels.
"""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.base import Attention, register
from attnlab.errors import InvalidValueError
from attnlab.rotation import Rotation
from attnlab.tensors import QKV, LayerContext, LayerInputs


@register("latent", source="arXiv:2405.04434, section 2.1", aliases=("mla",))
@final
class Latent(Attention):
    """Softmax attention with keys and values projected from a small latent vector.

    Options:
        rank: Size of the latent, R; null is D / 2.
        turned: Channels of each head that a rotary position rotates, P, an even number below C; null is about C / 2.
    """

    sdpa_compatible = True

    own_projections = True

    plain_products = False  # only some channels are rotated

    def __init__(
        self,
        context: LayerContext,
        *,
        rank: Annotated[int, Field(ge=1)] | None = None,
        turned: Annotated[int, Field(ge=0, multiple_of=2)] | None = None,
    ) -> None:
        super().__init__(context)
        rank, self.turned = sizes(context.width, context.heads, rank, turned)
        if self.turned >= context.channels:
            hint = f"Use an even number below {context.channels}."
            raise InvalidValueError(
                f"{self.turned} rotated channels of {context.channels} leave no channel for the content.", hint
            )
        if rank + self.turned >= 2 * context.width:
            hint = f"Use a rank below {2 * context.width - self.turned}."
            raise InvalidValueError(
                f"A rank of {rank} does not compress: full keys and values have {2 * context.width} numbers per token.",
                hint,
            )
        self.down = context.linear(context.width, rank)
        self.gain_R = nn.Parameter(torch.ones(rank))
        self.key = context.linear(rank, context.heads * (context.channels - self.turned))
        self.value = context.linear(rank, context.width)
        if self.turned:
            self.place = context.linear(context.width, self.turned)

    @classmethod
    def num_parameters(
        cls, width: int, heads: int, length: int, layer: int = 0, biased: bool = False, /, **options: Any
    ) -> int:
        """``2 D^2 + D R + R + R (D - H P) + R D + D P``."""
        rank, turned = sizes(width, heads, options["rank"], options["turned"])
        return 2 * width**2 + width * rank + rank + rank * (2 * width - heads * turned) + width * turned

    def state_size(self, tokens: int) -> int:
        """The latent and the rotated channels of each token, R + P."""
        return tokens * (len(self.gain_R) + self.turned)

    def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
        """Queries of the input, keys and values of the latent; the shared channels are the last of each key."""
        latent_BSR = functional.rms_norm(
            self.down(x_BTD).to(self.gain_R.dtype), self.gain_R.shape, self.gain_R, eps=1e-6
        )
        queries_BHTC, keys_BHSC = self.split(self.query(x_BTD)), self.split(self.key(latent_BSR))
        if self.turned:
            rotated_B1SP = self.place(x_BTD).unsqueeze(-3)
            keys_BHSC = torch.cat([keys_BHSC, rotated_B1SP.expand(*keys_BHSC.shape[:-1], -1)], dim=-1)
        return QKV(queries_BHTC, keys_BHSC, self.split(self.value(latent_BSR)))

    def rotated(self, qkv: QKV, rotation: Rotation) -> QKV:
        """Queries and keys with only the last channels rotated."""
        return super().rotated(qkv, PartialRotation(rotation, self.turned))


@final
class PartialRotation:
    """A position that rotates the last channels only.

    Args:
        rotation: What the position of the model does in the layer.
        turned: How many channels it rotates.
    """

    def __init__(self, rotation: Rotation, turned: int) -> None:
        self.rotation, self.turned = rotation, turned

    def rotate(self, tensor_BHTC: Tensor, start: int = 0) -> Tensor:
        """Rotate the last channels.

        Args:
            tensor_BHTC: Queries or keys.
            start: Position of the first token.

        Returns:
            A tensor of the same shape.
        """
        if not self.turned:
            return tensor_BHTC
        content, rotated = tensor_BHTC[..., : -self.turned], tensor_BHTC[..., -self.turned :]
        return torch.cat([content, self.rotation.rotate(rotated, start)], dim=-1)

    def rotate_keys(self, tensor_BHSC: Tensor) -> Tensor:
        """Rotate the last channels of keys.

        Args:
            tensor_BHSC: Keys.

        Returns:
            A tensor of the same shape.
        """
        if not self.turned:
            return tensor_BHSC
        content, rotated = tensor_BHSC[..., : -self.turned], tensor_BHSC[..., -self.turned :]
        return torch.cat([content, self.rotation.rotate_keys(rotated)], dim=-1)


def sizes(width: int, heads: int, rank: int | None, turned: int | None) -> tuple[int, int]:
    """Compute R and P.

    Args:
        width: D.
        heads: H.
        rank: R; None for the default, D / 2.
        turned: P; None for the default, about C / 2.

    Returns:
        R and P.

    >>> sizes(64, 4, None, None)
    (32, 8)
    """
    channels = width // heads
    return width // 2 if rank is None else rank, channels // 4 * 2 if turned is None else turned
