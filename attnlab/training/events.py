"""What a training tells whoever watches it: one callable takes every event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnlab.records import HistoryPoint, Record
from attnlab.specs import RunSpec


@dataclass(frozen=True)
class RunStarted:
    """A run starts, or goes on from a checkpoint."""

    spec: RunSpec
    step: int
    """Steps already taken."""
    parameters: int
    device: str


@dataclass(frozen=True)
class StepsTaken:
    """Some steps were taken."""

    spec: RunSpec
    step: int
    loss: float
    tokens: int
    """Tokens trained on since the last of these events."""


@dataclass(frozen=True)
class Validated:
    """The validation stream was looked at."""

    spec: RunSpec
    point: HistoryPoint


@dataclass(frozen=True)
class RunFinished:
    """A run has its record."""

    record: Record


Event = RunStarted | StepsTaken | Validated | RunFinished
Progress = Callable[[Event], None]


def no_callback(event: Event) -> None:
    """Watch nothing."""
