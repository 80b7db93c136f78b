"""Measurements of an audit: one level of a task, or one subtask of a mixture at that level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from attnlab.errors import InvalidValueError
from attnlab.records import Score
from attnlab.tasks import Split, Task
from attnlab.tasks.io.streams import generator
from attnlab.testing._chance_baselines import BaselineScore, baseline_scores
from attnlab.testing._labels import LabelCheck, check_labels
from attnlab.testing._leak import Repeats, count_repeats
from attnlab.testing._numbers import fit_number_shortcuts
from attnlab.testing._rows import RowCounts, count_rows
from attnlab.testing._samples import TaskSamples
from attnlab.testing._shortcuts import fit_shortcuts, num_correct
from attnlab.testing._splits import SplitComparison, compare_splits


@dataclass(frozen=True)
class LevelAudit:
    """The measurements of one level."""

    level: Any
    subtask: str
    """Name of the subtask; empty for a task that is no mixture."""
    task: Task
    sequences: int
    """Sequences of the test sample."""
    tokens: int
    """One more than the highest token that was drawn; 0 where tokens are numbers."""
    labels: LabelCheck
    repeats: Repeats
    splits: SplitComparison | None
    """Comparison of the splits of a finite data set."""
    rows: RowCounts | None
    """How many rows of a file are different, and how many of the test stand in training."""
    baselines: dict[str, BaselineScore]
    """Scores of the chance baselines by name."""
    shortcuts: dict[str, Score]
    """Scores of the shortcuts by name."""

    @property
    def name(self) -> str:
        """The level, and the subtask of a mixture."""
        return f"{self.level} {self.subtask}".strip()

    @property
    def best_blind_guess(self) -> tuple[str, BaselineScore]:
        """The blind guess with the highest accuracy; of equals, the simplest."""
        blind = {name: score for name, score in self.baselines.items() if score.is_blind}
        return max(blind.items(), key=lambda item: item[1].mean)

    @property
    def best_shortcut(self) -> tuple[str, Score]:
        """The shortcut with the highest accuracy; of equals, the simplest."""
        return max(self.shortcuts.items(), key=lambda item: item[1].mean)

    def data(self) -> dict[str, Any]:
        """The measurements as plain data."""
        best_accuracy, labels = self.task.best_accuracy, self.labels
        return {
            "complexity": self.level,
            "subtask": self.subtask,
            "length": self.task.length,
            "vocabulary": self.task.vocabulary,
            "sequences": self.sequences,
            "chance": self.task.chance,
            "best_accuracy": None if math.isnan(best_accuracy) else best_accuracy,
            "best_blind_guess": self.best_blind_guess[0],
            "chance_baselines": {name: _data(score) for name, score in self.baselines.items()},
            "labels": {
                "sequences": labels.sequences,
                "targets": labels.targets,
                "agreed": labels.agreed,
                "unlabeled": labels.unlabeled,
                "contradictions": labels.contradictions,
            },
            "leak": {
                "repeats": self.repeats.repeated,
                "expected": self.repeats.expected,
                "p_value": self.repeats.p_value,
            },
            "rows": None if self.rows is None else self.rows._asdict(),
            "splits": None if self.splits is None else {**self.splits._asdict(), "rows": list(self.splits.rows)},
            "shortcuts": {name: _data(score) for name, score in self.shortcuts.items()},
            "intended_shortcut": self.task.intended_shortcut or None,
        }


def audit_level(samples: TaskSamples, level: Any, subtask: str, seed: int) -> LevelAudit:
    """Measure everything that an audit reports of one level.

    Args:
        samples: The samples of the task at this level.
        level: The level.
        subtask: Name of the subtask of a mixture; empty otherwise.
        seed: Seed of the uniform guesses.

    Returns:
        The measurements.

    Raises:
        InvalidValueError: No position has a target, so that there is nothing to measure.
    """
    task = samples.task
    if not all(any(len(batch.query_positions()) for batch in batches) for batches in (samples.training, samples.test)):
        raise InvalidValueError(
            "No position has a target: every target is IGNORE.",
            "Set a target at one position of each sequence at least.",
            where=f"{subtask} at {level}".strip(),
        )
    every = (*samples.training, *samples.fresh, *samples.test)
    tokens = 1 + max(int(max(batch.inputs_BT.max(), batch.targets_BT.max())) for batch in every)
    tokens = 0 if task.features else tokens
    total = sum(len(batch.query_positions()) for batch in samples.test)
    fitted = fit_number_shortcuts(samples.training) if task.features else fit_shortcuts(samples.training, tokens)
    shortcuts = {
        name: Score(correct=sum(num_correct(predict, batch) for batch in samples.test), total=total, chance=task.chance)
        for name, predict in fitted.items()
    }
    return LevelAudit(
        level=level,
        subtask=subtask,
        task=task,
        sequences=sum(len(batch.inputs_BT) for batch in samples.test),
        tokens=tokens,
        labels=check_labels(samples),
        repeats=count_repeats(samples),
        splits=compare_splits(task, seed),
        rows=count_rows(task, seed),
        baselines=baseline_scores(samples, tokens, generator(seed, Split.BOOTSTRAP)),
        shortcuts=shortcuts,
    )


def _data(score: Score | BaselineScore) -> dict[str, Any]:
    """A score as plain data."""
    return {"accuracy": score.mean, "interval": list(score.interval)}
