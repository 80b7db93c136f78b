"""Tasks that an audit must catch, each with one thing wrong, and one with nothing wrong to compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from attnlab.config.ladder import Ladder
from attnlab.tasks import IGNORE, TASKS, Batch, Split, Task
from attnlab.tasks.base import Tokens, no_targets
from attnlab.testing.check_task import Audit, JudgedLevel, check_task

LETTERS = 8


class Sums(Task):
    """At the last letter, the sum of all letters modulo eight: sound."""

    complexity = "letters"

    def __init__(self, *, letters: Annotated[int, Field(ge=1)] = 6) -> None:
        self.vocabulary, self.length, self.chance = LETTERS, letters, 1 / LETTERS

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Uniform letters."""
        return self.asked(random.integers(0, LETTERS, (batch, self.length)))

    def asked(self, inputs_BT: Tokens) -> Batch:
        """The sum, due at the end."""
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = inputs_BT.sum(axis=1) % LETTERS
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int] | None:
        """Add."""
        return [IGNORE] * (self.length - 1) + [sum(tokens) % LETTERS]


class Leaking(Sums):
    """One test sequence in fifty is one of the first that training shows."""

    facing_test = False

    def for_split(self, split: Split) -> Leaking:
        """Remember who asks."""
        split_task = Leaking(letters=self.length)
        split_task.facing_test = split is Split.TEST
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Letters, some of them from the beginning of the training stream of seed 0."""
        inputs_BT = random.integers(0, LETTERS, (batch, self.length))
        if self.facing_test:
            shown_BT = np.random.default_rng([0, int(Split.TRAIN), 0]).integers(0, LETTERS, (64, self.length))
            again_B = random.random(batch) < 0.02
            inputs_BT = np.where(again_B[:, None], shown_BT[random.integers(0, 64, batch)], inputs_BT)
        return self.asked(inputs_BT)


class Ambiguous(Sums):
    """One label in twenty is another one, at random."""

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Sums, some of them off."""
        inputs_BT, targets_BT, _ = super().sample(random, batch)
        off_B = random.integers(1, LETTERS, batch) * (random.random(batch) < 0.05)
        targets_BT[:, -1] = (targets_BT[:, -1] + off_B) % LETTERS
        return Batch(inputs_BT, targets_BT)


class Unsolved(Ambiguous):
    """Nobody knows a solver: only equal pasts can show it."""

    def solve(self, tokens: Sequence[int]) -> None:
        """Nothing."""


class WrongSolver(Sums):
    """Its solver forgets the first letter."""

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Add all but the first."""
        return [IGNORE] * (self.length - 1) + [sum(tokens[1:]) % LETTERS]


class RaisingSolver(Sums):
    """Its solver fails."""

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Fail."""
        raise IndexError("no such letter")


class HighChance(Sums):
    """It says that a guess is right half the time."""

    def __init__(self, *, letters: Annotated[int, Field(ge=1)] = 6) -> None:
        super().__init__(letters=letters)
        self.chance = 0.5


class LowChance(HighChance):
    """It says that a guess is hardly ever right."""

    def __init__(self, *, letters: Annotated[int, Field(ge=1)] = 6) -> None:
        super().__init__(letters=letters)
        self.chance = 0.01


class OwnGuess(HighChance):
    """Its own guess does not reach what it says either."""

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens:
        """Any letter."""
        return random.integers(0, LETTERS, len(batch.inputs_BT))


class Shortcut(Sums):
    """The answer is the letter before the last."""

    def asked(self, inputs_BT: Tokens) -> Batch:
        """That letter."""
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, -1] = inputs_BT[:, -2]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Read it."""
        return [IGNORE] * (self.length - 1) + [tokens[-2]]


class Meant(Shortcut):
    """The same, on purpose."""

    intended_shortcut = "bigram"


class Outside(Sums):
    """Its vocabulary is too small for its letters."""

    def __init__(self, *, letters: Annotated[int, Field(ge=1)] = 6) -> None:
        super().__init__(letters=letters)
        self.vocabulary = LETTERS - 1


class Silent(Sums):
    """It asks nothing."""

    def asked(self, inputs_BT: Tokens) -> Batch:
        """Nothing."""
        return Batch(inputs_BT, no_targets(inputs_BT))


class Noisy(Ambiguous):
    """Labels off on purpose, with the ceiling that follows."""

    best_accuracy = 0.95


class HighCeiling(Ambiguous):
    """Labels off on purpose, and a ceiling nobody reaches."""

    best_accuracy = 0.99


class LowCeiling(Meant):
    """A ceiling that a shortcut surpasses, and so does the solver."""

    best_accuracy = 0.5


class UnknownCeiling(Ambiguous):
    """Labels off on purpose; nobody has reckoned how many can be known."""

    best_accuracy = float("nan")


def audited(kind: type[Task], *levels: int, samples: int = 2048) -> Audit:
    """The audit of a task at these levels."""
    levels = levels or (6,)
    TASKS.register("spoiled", source="tests", summary="Spoiled.")(kind)
    ladder = Ladder(
        name="spoiled",
        summary="Spoiled.",
        task="spoiled",
        complexity="letters",
        levels=levels,
        default=6,
        source="tests",
    )
    try:
        return check_task(ladder, {}, samples=samples)
    finally:
        del TASKS._entries["spoiled"]


def found(one: JudgedLevel) -> dict[str, tuple[str, str]]:
    """Outcome and sentence of each finding."""
    return {finding.check: (finding.outcome, finding.evidence) for finding in one.findings}
