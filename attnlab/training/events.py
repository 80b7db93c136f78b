"""Events of a training: one callable receives all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnlab.records import DiagnosticsPoint, HistoryPoint, Record
from attnlab.specs import RunSpec


@dataclass(frozen=True)
class Notice:
    """Something that the user should know before the runs start, in one line."""

    text: str


@dataclass(frozen=True)
class Preparing:
    """Something that takes time before the runs start."""

    text: str
    """What is done now, in words."""


@dataclass(frozen=True)
class RunStarted:
    """A run starts, or resumes from a checkpoint."""

    spec: RunSpec
    step: int
    """Steps already taken."""
    parameters: int
    """Number of learned parameters."""
    device: str
    """Type of the device: cpu, cuda or mps."""


@dataclass(frozen=True)
class StepsTaken:
    """A run has taken some steps."""

    spec: RunSpec
    step: int
    """Steps taken so far."""
    loss: float
    """Training loss of the last step per query position, in nats, or the squared error of numbers."""
    tokens: int
    """Tokens trained on since the previous event of this kind."""
    gradient_norm: float | None = None
    """Norm of the gradient of all weights at the last step, before it is clipped; None without clipping."""


@dataclass(frozen=True)
class Validated:
    """A run was evaluated on the validation split."""

    spec: RunSpec
    point: HistoryPoint


@dataclass(frozen=True)
class DiagnosticsLogged:
    """Diagnostics of a run were measured, which asks for them with ``log_diagnostics``."""

    spec: RunSpec
    point: DiagnosticsPoint


@dataclass(frozen=True)
class RunFinished:
    """A run has its record."""

    record: Record


Event = Notice | Preparing | RunStarted | StepsTaken | Validated | DiagnosticsLogged | RunFinished
Progress = Callable[[Event], None]
"""A callback that receives every event."""


def no_callback(event: Event) -> None:
    """Ignore every event.

    Args:
        event: Any event.
    """
