"""One level of a task, or one subtask of a mixture at that level: what an audit measured of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from attnlab.errors import InvalidValueError
from attnlab.records import Score
from attnlab.tasks import Split, Task
from attnlab.tasks.io.streams import generator
from attnlab.testing._chance_baselines import baseline_scores
from attnlab.testing._labels import Labels, check_labels
from attnlab.testing._leak import Repeats, repeats
from attnlab.testing._samples import Material
from attnlab.testing._shortcuts import fitted, hits


@dataclass(frozen=True)
class LevelAudit:
    """The measurements."""

    level: Any
    subtask: str
    task: Task
    sequences: int
    """Of the test sample."""
    tokens: int
    """One more than the highest token that was drawn."""
    labels: Labels
    repeats: Repeats
    baselines: dict[str, Score]
    """Blind guesses."""
    shortcuts: dict[str, Score]

    @property
    def name(self) -> str:
        """The level, and which member of it."""
        return f"{self.level} {self.subtask}".strip()

    @property
    def best_baseline(self) -> tuple[str, Score]:
        """The blind guess that is nearest to the declared chance."""
        return min(self.baselines.items(), key=lambda item: abs(item[1].mean - self.task.chance))

    @property
    def best(self) -> tuple[str, Score]:
        """The shortcut that goes furthest, the cheapest of equals."""
        return max(self.shortcuts.items(), key=lambda item: item[1].mean)

    def data(self) -> dict[str, Any]:
        """The measurements as plain data."""
        ceiling, written = self.task.best_accuracy, self.labels
        return {
            "complexity": self.level,
            "member": self.subtask,
            "length": self.task.length,
            "vocabulary": self.task.vocabulary,
            "sequences": self.sequences,
            "chance": self.task.chance,
            "ceiling": None if math.isnan(ceiling) else ceiling,
            "guesses": {name: _data(score) for name, score in self.baselines.items()},
            "labels": {
                "read": written.sequences,
                "asked": written.asked,
                "agreed": written.agreed,
                "unasked": written.unasked,
                "contradictions": written.contradictions,
            },
            "leak": {
                "found": self.repeats.found,
                "expected": self.repeats.expected,
                "rarity": self.repeats.rarity,
            },
            "shortcuts": {name: _data(score) for name, score in self.shortcuts.items()},
            "intended": self.task.intended_shortcut or None,
        }


def audit_level(material: Material, complexity: Any, member: str, seed: int) -> LevelAudit:
    """Everything there is to measure.

    Raises:
        InvalidValueError: it asks nothing, so that there is nothing to measure.
    """
    task = material.task
    if not all(
        any(len(batch.query_positions()) for batch in batches) for batches in (material.training, material.test)
    ):
        raise InvalidValueError("It asks nothing: every target is IGNORE.", where=f"{member} at {complexity}".strip())
    every = (*material.training, *material.fresh, *material.test)
    tokens = 1 + max(int(max(batch.inputs_BT.max(), batch.targets_BT.max())) for batch in every)
    questions = sum(len(batch.query_positions()) for batch in material.test)
    shortcuts = {
        name: Score(correct=sum(hits(guess, batch) for batch in material.test), total=questions, chance=task.chance)
        for name, guess in fitted(material.training, tokens).items()
    }
    return LevelAudit(
        level=complexity,
        subtask=member,
        task=task,
        sequences=sum(len(batch.inputs_BT) for batch in material.test),
        tokens=tokens,
        labels=check_labels(material),
        repeats=repeats(material),
        baselines=baseline_scores(material, tokens, generator(seed, Split.BOOTSTRAP)),
        shortcuts=shortcuts,
    )


def _data(score: Score) -> dict[str, Any]:
    return {"accuracy": score.mean, "interval": list(score.interval)}
