"""Tasks with one fault each, which an audit must detect, and one task without a fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from attnlab.config.ladder import Ladder
from attnlab.tasks import IGNORE, TASKS, Batch, Split, Task
from attnlab.tasks.base import Tokens, no_targets
from attnlab.testing.check_task import Audit, LevelReport, check_task

LETTERS = 8


class Sums(Task):
    """At the last letter, the sum of all letters modulo eight; no fault."""

    complexity = "letters"

    def __init__(self, *, letters: Annotated[int, Field(ge=1)] = 6) -> None:
        self.vocabulary, self.length = LETTERS, letters

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Uniform letters."""
        return self.labeled(random.integers(0, LETTERS, (batch, self.length)))

    def labeled(self, inputs_BT: Tokens) -> Batch:
        """The sum, as target of the last position."""
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = inputs_BT.sum(axis=1) % LETTERS
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int] | None:
        """Add."""
        return [IGNORE] * (self.length - 1) + [sum(tokens) % LETTERS]


class Leaking(Sums):
    """One test sequence in fifty is one of the first training sequences."""

    is_test = False

    def for_split(self, split: Split) -> Leaking:
        """Store whether this is the test split."""
        split_task = Leaking(letters=self.length)
        split_task.is_test = split is Split.TEST
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Letters, some of them from the first training batch of seed 0."""
        inputs_BT = random.integers(0, LETTERS, (batch, self.length))
        if self.is_test:
            training_BT = np.random.default_rng([0, int(Split.TRAIN), 0]).integers(0, LETTERS, (64, self.length))
            again_B = random.random(batch) < 0.02
            inputs_BT = np.where(again_B[:, None], training_BT[random.integers(0, 64, batch)], inputs_BT)
        return self.labeled(inputs_BT)


class Ambiguous(Sums):
    """One target in twenty is replaced at random."""

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Sums, some of them wrong."""
        inputs_BT, targets_BT, _ = super().sample(random, batch)
        offset_B = random.integers(1, LETTERS, batch) * (random.random(batch) < 0.05)
        targets_BT[:, -1] = (targets_BT[:, -1] + offset_B) % LETTERS
        return Batch(inputs_BT, targets_BT)


class Unsolved(Ambiguous):
    """It has no solver, so that only equal prefixes show the fault."""

    def solve(self, tokens: Sequence[int]) -> None:
        """No solver."""


class WrongSolver(Sums):
    """Its solver leaves out the first letter."""

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Add all but the first."""
        return [IGNORE] * (self.length - 1) + [sum(tokens[1:]) % LETTERS]


class RaisingSolver(Sums):
    """Its solver fails."""

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Fail."""
        raise IndexError("no such letter")


class HighChance(Sums):
    """It declares a chance of one half."""

    def __init__(self, *, letters: Annotated[int, Field(ge=1)] = 6) -> None:
        super().__init__(letters=letters)
        self.chance = 0.5


class LowChance(HighChance):
    """It declares a chance of 1 %."""

    def __init__(self, *, letters: Annotated[int, Field(ge=1)] = 6) -> None:
        super().__init__(letters=letters)
        self.chance = 0.01


class OwnBaseline(HighChance):
    """Its own baseline does not reach the declared chance either."""

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens:
        """Any letter."""
        return random.integers(0, LETTERS, len(batch.inputs_BT))


class Shortcut(Sums):
    """The target is the letter before the last."""

    def labeled(self, inputs_BT: Tokens) -> Batch:
        """That letter."""
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = inputs_BT[:, -2]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Read it."""
        return [IGNORE] * (self.length - 1) + [tokens[-2]]


class Intended(Shortcut):
    """The same shortcut, declared as the intended one."""

    intended_shortcut = "bigram"


class Outside(Sums):
    """Its vocabulary is too small for its letters."""

    def __init__(self, *, letters: Annotated[int, Field(ge=1)] = 6) -> None:
        super().__init__(letters=letters)
        self.vocabulary = LETTERS - 1


class Unlabeled(Sums):
    """It has no targets."""

    def labeled(self, inputs_BT: Tokens) -> Batch:
        """No targets."""
        return Batch(inputs_BT, no_targets(inputs_BT))


class Noisy(Ambiguous):
    """Random targets, with the right best achievable accuracy."""

    best_accuracy = 0.95


class HighBestAccuracy(Ambiguous):
    """Random targets, and a best achievable accuracy that cannot be reached."""

    best_accuracy = 0.99


class LowBestAccuracy(Intended):
    """A best achievable accuracy that a shortcut exceeds, and the solver too."""

    best_accuracy = 0.5


class UnknownBestAccuracy(Ambiguous):
    """Random targets; the best achievable accuracy is not known."""

    best_accuracy = float("nan")


def audited(cls: type[Task], *levels: int, samples: int = 2048) -> Audit:
    """The audit of a task at these levels."""
    levels = levels or (6,)
    TASKS.register("faulty", source="tests", summary="Faulty.")(cls)
    ladder = Ladder(
        name="faulty",
        summary="Faulty.",
        task="faulty",
        complexity="letters",
        levels=levels,
        default=6,
        source="tests",
    )
    try:
        return check_task(ladder, {}, samples=samples)
    finally:
        del TASKS._entries["faulty"]


def outcomes(report: LevelReport) -> dict[str, tuple[str, str]]:
    """Outcome and sentence of each finding, by the name of the rule."""
    return {finding.check: (finding.outcome, finding.evidence) for finding in report.findings}
