"""The catalog of positions: how order enters a model."""

from attnlab.position.base import POSITIONS, Position, register

__all__ = ["POSITIONS", "Position", "register"]
