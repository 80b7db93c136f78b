"""What a training tells whoever watches it: one callable takes every event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnlab.records import Point, Record
from attnlab.specs import RunSpec


@dataclass(frozen=True)
class Began:
    """A run starts, or goes on from a checkpoint."""

    spec: RunSpec
    step: int
    """Steps already taken."""
    parameters: int
    device: str


@dataclass(frozen=True)
class Stepped:
    """Some steps were taken."""

    spec: RunSpec
    step: int
    loss: float
    tokens: int
    """Tokens trained on since the last of these events."""


@dataclass(frozen=True)
class Looked:
    """The validation stream was looked at."""

    spec: RunSpec
    point: Point


@dataclass(frozen=True)
class Ended:
    """A run has its record."""

    record: Record


Event = Began | Stepped | Looked | Ended
Progress = Callable[[Event], None]


def unseen(event: Event) -> None:
    """Watch nothing."""
