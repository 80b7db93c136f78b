"""Records: the results of runs, frozen, one line of the journal each."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, Strict, computed_field

from attnlab.specs import Level, RunSpec, Value

SOLVED = 0.99
"""Test accuracy from which a run counts as solved."""


def _to_json(value: float) -> float | str | None:
    """Write a number as strict JSON, which has neither NaN nor infinities."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _from_json(value: Any) -> Any:
    """Read what :func:`_to_json` writes."""
    return math.nan if value is None else float(value) if value in ("Infinity", "-Infinity") else value


Number = Annotated[float, BeforeValidator(_from_json), PlainSerializer(_to_json, when_used="json")]
"""A float that may be NaN (null in JSON) or infinite (a word in JSON)."""


class Result(Value):
    """A value that is read back from a store; fields of a newer attnlab are kept, and written again."""

    model_config = ConfigDict(extra="allow", ser_json_inf_nan="null")


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """Compute the 95 % score interval of Wilson for a proportion.

    Args:
        successes: How many of the trials succeeded.
        total: How many trials there were.

    Returns:
        The lower and the upper end, within [0, 1]; (nan, nan) without trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    if not total:
        return (math.nan, math.nan)
    z, n, p = 1.959963984540054, total, successes / total
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (max(0.0, center - half), min(1.0, center + half))


class Score(Value):
    """Correct answers among questions, beside the chance accuracy."""

    # The mean is written to JSON for its readers, and computed anew when a record is read.
    model_config = ConfigDict(extra="ignore")

    correct: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]
    chance: Number

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mean(self) -> Number:
        """Share of correct answers; nan without questions."""
        return self.correct / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson."""
        return wilson_interval(self.correct, self.total)


class HistoryPoint(Result):
    """One validation."""

    step: int
    loss: Number
    """Mean training loss since the previous validation, in nats per question."""
    accuracy: Number
    """Share of correct answers on the validation split."""
    validation_loss: Number | None = None
    """Nats per question on the validation split."""


class DiagnosticsPoint(Result):
    """Diagnostics of a model at one step of its training."""

    step: int
    values: dict[str, Annotated[tuple[Number, ...], Strict(False)]]
    """One number per layer, by the name of the metric; metrics of the residual stream begin with the embedding."""


class Evaluation(Result):
    """A score on test sequences other than the run's own: of another level, or of one subtask of a mixture."""

    subtask: str = ""
    """The subtask of a mixture; empty for the whole mixture, and for other tasks."""
    level: Level | None
    length: int
    """Tokens of the longest sequence."""
    rollout: bool = False
    """Whether each question was asked given the answers generated before it, instead of the right ones."""
    accuracy: Score
    exact_match: Score
    loss: Number | None
    """Nats per question; None for a rollout."""


class Record(Result):
    """The result of one run."""

    id: str
    spec: RunSpec
    status: Literal["done", "diverged", "failed"]
    """Failed: the run raised an exception, or its worker was lost, before there was a result."""
    reason: str = ""
    """Why a run that is not done ended."""
    steps: int
    """Steps taken."""
    early_stopped: bool = False
    """Whether it stopped before its last step because it had solved the validation split."""
    parameters: int = 0
    """Number of learned parameters."""
    accuracy: Score
    """Per question, on the test split."""
    exact_match: Score
    """Per sequence, on the test split: every question of the sequence is answered correctly."""
    loss: Number | None = None
    """Nats per question, on the test split; None for a rollout."""
    rollout: bool = False
    """Whether each test question was asked given the answers generated before it, instead of the right ones."""
    length: int = 0
    """Tokens of the longest test sequence; 0 where an old record does not say."""
    evaluations: Annotated[tuple[Evaluation, ...], Strict(False)] = ()
    """Scores on other levels, and on the subtasks of a mixture."""
    diagnostics: dict[str, Number] = {}
    """Diagnostics of the trained model, by name."""
    history: Annotated[tuple[HistoryPoint, ...], Strict(False)] = ()
    """One point per validation."""
    diagnostics_history: Annotated[tuple[DiagnosticsPoint, ...], Strict(False)] = ()
    """The logged diagnostics, by step."""
    environment: dict[str, Any] = {}
    """Machine, versions and times; no part of the numbers."""

    @property
    def validation_accuracy(self) -> float:
        """Accuracy at the last validation, by which hyperparameters are tuned; -inf if the run is not done."""
        return self.history[-1].accuracy if self.history and self.status == "done" else -math.inf

    @property
    def solved(self) -> bool:
        """Whether the test accuracy reaches :data:`SOLVED`."""
        return self.status == "done" and self.accuracy.mean >= SOLVED

    def numbers(self) -> dict[str, Any]:
        """Everything that equal specs reproduce: all fields but the environment.

        Returns:
            Plain data, by field.
        """
        return self.model_dump(mode="json", exclude={"environment"})

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read one line of the journal.

        Args:
            line: A JSON object.

        Returns:
            The record.

        Raises:
            ValueError: The line is no record.
        """
        return cls.model_validate_json(line)
