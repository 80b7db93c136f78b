"""What a run showed: frozen, one line of the journal each."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict

from attnlab.specs import RunSpec, Value

SOLVED = 0.99
"""Test accuracy from which a run counts as solved."""


class Score(Value):
    """Right answers among questions, against chance."""

    correct: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]
    chance: float

    @property
    def mean(self) -> float:
        """Share of right answers."""
        return self.correct / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % score interval of Wilson (JASA 1927) for a proportion."""
        if not self.total:
            return (math.nan, math.nan)
        z, n, p = 1.959963984540054, self.total, self.mean
        center = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (max(0.0, center - half), min(1.0, center + half))


class HistoryPoint(Value):
    """One look at the validation stream."""

    step: int
    loss: float
    """Mean training loss since the last look, in nats per question."""
    accuracy: float
    """Share of right answers on the validation stream."""
    validation_loss: float | None = None
    """Nats per question on the validation stream."""


class DiagnosticsPoint(Value):
    """What a model showed of itself at one step of its training."""

    step: int
    values: dict[str, Annotated[tuple[float, ...], Strict(False)]]
    """Per layer, by the name of the metric; what is measured of the stream begins with the embedding."""


class Evaluation(Value):
    """A score on other test sequences than those of the run's own level: another level, or one subtask of a mixture."""

    subtask: str = ""
    """Which task of a mixture; empty for all of it."""
    level: int | float | str | None
    length: int
    """Tokens of the longest sequence."""
    accuracy: Score
    exact_match: Score
    loss: float | None
    """Nats per question."""


class Record(Value):
    """What one run showed."""

    id: str
    spec: RunSpec
    status: Literal["done", "diverged", "failed"]
    """Failed: it raised, or its worker was lost, before it could show anything."""
    reason: str = ""
    """Why a run that is not done ended."""
    steps: int
    """Steps taken."""
    early_stopped: bool = False
    """Whether it stopped before its last step because the validation stream was solved."""
    parameters: int = 0
    accuracy: Score
    """Tokens, on the test stream."""
    exact_match: Score
    """Whole answers (every question of a sequence right), on the test stream."""
    loss: float | None = None
    """Nats per question, on the test stream."""
    length: int = 0
    """Tokens of the longest test sequence; 0 in records of old."""
    evaluations: Annotated[tuple[Evaluation, ...], Strict(False)] = ()
    """Other levels, and subtasks of a mixture."""
    diagnostics: dict[str, float] = {}
    """What was measured of the trained model, by name."""
    history: Annotated[tuple[HistoryPoint, ...], Strict(False)] = ()
    diagnostics_history: Annotated[tuple[DiagnosticsPoint, ...], Strict(False)] = ()
    """What was asked to be watched, step by step."""
    environment: dict[str, Any] = {}
    """Where and how fast: not part of the numbers."""

    @property
    def validation_accuracy(self) -> float:
        """Accuracy on the validation stream at the end: what learning rates are chosen by."""
        return self.history[-1].accuracy if self.history and self.status == "done" else -math.inf

    @property
    def solved(self) -> bool:
        """Whether the test accuracy reaches :data:`SOLVED`."""
        return self.status == "done" and self.accuracy.mean >= SOLVED

    def numbers(self) -> dict[str, Any]:
        """Everything that equal specs must reproduce: all but the environment."""
        return self.model_dump(mode="json", exclude={"environment"})

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read one line of the journal."""
        return cls.model_validate_json(line)
