"""No position (NoPE): order enters through the causal mask alone.

Source   Kazemnejad et al., arXiv:2305.19466.
Differs  in nothing.
"""

from __future__ import annotations

from typing import final

from attnlab.position.base import Position, register


@register("none", source="arXiv:2305.19466")
@final
class NoPosition(Position):
    """No position encoding; only the causal mask depends on the order."""
