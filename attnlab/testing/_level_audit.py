"""One rung of a task, or one member of a medley at that rung: what an audit measured of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from attnlab.errors import BadValue
from attnlab.records import Score
from attnlab.tasks import Stream, Task
from attnlab.tasks.io.streams import generator
from attnlab.testing._chance_baselines import blind
from attnlab.testing._labels import Labels, labels
from attnlab.testing._leak import Repeats, repeats
from attnlab.testing._samples import Material
from attnlab.testing._shortcuts import fitted, hits
from attnlab.training.scoring import asked


@dataclass(frozen=True)
class Rung:
    """The measurements."""

    complexity: Any
    member: str
    task: Task
    sequences: int
    """Of the test sample."""
    tokens: int
    """One more than the highest token that was drawn."""
    labels: Labels
    repeats: Repeats
    guesses: dict[str, Score]
    """Blind guesses."""
    shortcuts: dict[str, Score]

    @property
    def name(self) -> str:
        """The rung, and which member of it."""
        return f"{self.complexity} {self.member}".strip()

    @property
    def guess(self) -> tuple[str, Score]:
        """The blind guess that is nearest to the declared chance."""
        return min(self.guesses.items(), key=lambda item: abs(item[1].mean - self.task.chance))

    @property
    def best(self) -> tuple[str, Score]:
        """The shortcut that goes furthest, the cheapest of equals."""
        return max(self.shortcuts.items(), key=lambda item: item[1].mean)

    def data(self) -> dict[str, Any]:
        """The measurements as plain data."""
        ceiling, said = self.task.ceiling, self.labels
        return {
            "complexity": self.complexity,
            "member": self.member,
            "length": self.task.length,
            "vocabulary": self.task.vocabulary,
            "sequences": self.sequences,
            "chance": self.task.chance,
            "ceiling": None if math.isnan(ceiling) else ceiling,
            "guesses": {name: _data(score) for name, score in self.guesses.items()},
            "labels": {
                "read": said.sequences,
                "asked": said.asked,
                "agreed": said.agreed,
                "unasked": said.unasked,
                "contradictions": said.contradictions,
            },
            "leak": {
                "found": self.repeats.found,
                "expected": self.repeats.expected,
                "rarity": self.repeats.rarity,
            },
            "shortcuts": {name: _data(score) for name, score in self.shortcuts.items()},
            "intended": self.task.intended or None,
        }


def measured(material: Material, complexity: Any, member: str, seed: int) -> Rung:
    """Everything there is to measure.

    Raises:
        BadValue: it asks nothing, so that there is nothing to measure.
    """
    task = material.task
    if not all(any(len(asked(batch)) for batch in batches) for batches in (material.training, material.test)):
        raise BadValue("It asks nothing: every target is IGNORE.", where=f"{member} at {complexity}".strip())
    every = (*material.training, *material.fresh, *material.test)
    tokens = 1 + max(int(max(batch.inputs_BT.max(), batch.targets_BT.max())) for batch in every)
    questions = sum(len(asked(batch)) for batch in material.test)
    shortcuts = {
        name: Score(correct=sum(hits(guess, batch) for batch in material.test), total=questions, chance=task.chance)
        for name, guess in fitted(material.training, tokens).items()
    }
    return Rung(
        complexity=complexity,
        member=member,
        task=task,
        sequences=sum(len(batch.inputs_BT) for batch in material.test),
        tokens=tokens,
        labels=labels(material),
        repeats=repeats(material),
        guesses=blind(material, tokens, generator(seed, Stream.BOOTSTRAP)),
        shortcuts=shortcuts,
    )


def _data(score: Score) -> dict[str, Any]:
    return {"accuracy": score.mean, "interval": list(score.interval)}
