"""The registered positions: how the order of the tokens enters a model."""

from attnlab.position.base import POSITIONS, Position, register

__all__ = ["POSITIONS", "Position", "register"]
