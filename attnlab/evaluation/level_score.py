"""The score of a model at one length or level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attnlab.records import Score, SequenceMean


@dataclass(frozen=True)
class LevelScore:
    """The score of a model at one length or level."""

    length: int
    """Tokens of the longest sequence."""
    level: Any
    """The level of the task."""
    trained_length: int
    """Tokens of the longest sequence that the model was trained on."""
    accuracy: Score
    """Correct predictions of all supervised tokens."""
    exact_match: Score
    """Sequences with every supervised token correct."""
    loss: float | None
    """Cross-entropy in nats per supervised token; None where it is not finite, for a rollout and for numbers."""
    scores: Mapping[str, SequenceMean] = field(default_factory=dict)
    """What the scorers of the task give, by name."""
    best_accuracy: float = 1.0
    """The best achievable accuracy; nan where it is not known."""
    rollout: bool = False
    """Whether each question was asked given the answers generated before it, instead of the right ones."""
    fed_back: bool = False
    """Whether an answer generated for one question is an input of a later one; without, both ways are the same."""
    asked_length: int | None = None
    """The length that was asked for, in tokens; ``length`` is shorter where the task has no such sequences. None where
    a level was asked for."""
