"""Softmax attention, the baseline.

    A_ij = exp(s_ij) / sum_{k <= i} exp(s_ik),   s_ij = q_i.k_j / sqrt(C)

Source   Vaswani et al., "Attention is all you need", arXiv:1706.03762, equation 1.
Theirs   d_k -> our C.
Differs  in nothing; projections have no bias.

Letters  C channels per head.
"""

from __future__ import annotations

from typing import final

from attnlab.attention.base import Attention, register


@register("softmax", source="arXiv:1706.03762, equation 1")
@final
class Softmax(Attention):
    """Scaled dot-product attention with a softmax over the keys."""

    sdpa_compatible = True
