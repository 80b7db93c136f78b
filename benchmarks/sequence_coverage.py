"""How often the 95 % interval of an accuracy covers the accuracy of the model, for every built-in task.

    python -m benchmarks.sequence_coverage                    # every built-in task, 1,000 tests each: a Markdown table
    python -m benchmarks.sequence_coverage --sequences 20     # tests of 20 sequences
    python -m benchmarks.sequence_coverage copy regular       # these tasks only

A test is simulated: the numbers of questions of its sequences are drawn from those of the task, and its mistakes from
a model of mistakes with a known accuracy. Nothing is trained. A model of mistakes says how those of one sequence depend
on one another; real models are between them. The table has the lowest and the highest coverage over all models of
mistakes and accuracies, beside the lowest of Wilson's interval over questions. A case outside of 93 to 99 % is
simulated once more with ten times as many tests, of other seeds, and the second result counts: among two thousand cases
of 1,000 tests each, some are that far from 95 % by chance. Exit 1 if a case stays outside.

Letters  R simulated tests, S sequences of a test.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.intervals import clustered_interval, wilson_interval

Counts = NDArray[np.int64]


class Simulated(NamedTuple):
    """Mistakes in the sequences of some tests."""

    correct_RS: Counts
    """Correct answers of each sequence."""
    accuracy: float
    """The accuracy of the model on all sequences of the task."""


Mistakes = Callable[[np.random.Generator, Counts, Counts, float, float], Simulated]
"""Generator, questions of the sequences R x S, questions of all sequences of the task, accuracy, chance -> mistakes."""

ACCURACIES = (0.3, 0.5, 0.75, 0.9, 0.97, 0.99)
"""Accuracies that are aimed at; those below chance are left out."""
POOL = 2048
"""Sequences of a task whose numbers of questions are drawn from."""
LOWEST, HIGHEST = 0.93, 0.99
"""The coverage that is asked for."""
REPEATS = 10
"""How many times more tests a case outside of that is simulated with."""
BLOCK = 2**22
"""Simulated sequences at once."""


def independent(random: np.random.Generator, n_RS: Counts, pool: Counts, accuracy: float, chance: float) -> Simulated:
    """Every question is answered by itself."""
    return Simulated(random.binomial(n_RS, accuracy), accuracy)


def whole(random: np.random.Generator, n_RS: Counts, pool: Counts, accuracy: float, chance: float) -> Simulated:
    """A sequence is answered correctly as a whole, or not at all."""
    return Simulated(n_RS * (random.random(n_RS.shape) < accuracy), accuracy)


def guessed(random: np.random.Generator, n_RS: Counts, pool: Counts, accuracy: float, chance: float) -> Simulated:
    """A sequence is solved, or all of its answers are guesses."""
    solved = random.random(n_RS.shape) < (accuracy - chance) / (1 - chance)
    return Simulated(np.where(solved, n_RS, random.binomial(n_RS, chance)), accuracy)


def rates(correlation: float) -> Mistakes:
    """Each sequence has an accuracy of its own, drawn from a beta distribution."""

    def draw(random: np.random.Generator, n_RS: Counts, pool: Counts, accuracy: float, chance: float) -> Simulated:
        size = 1 / correlation - 1
        return Simulated(
            random.binomial(n_RS, random.beta(accuracy * size, (1 - accuracy) * size, n_RS.shape)), accuracy
        )

    return draw


def spoiled(random: np.random.Generator, n_RS: Counts, pool: Counts, accuracy: float, chance: float) -> Simulated:
    """After the first mistake of a sequence all of its answers are wrong."""
    low, high = 0.0, 1.0
    for _ in range(60):
        survival = (low + high) / 2
        low, high = (survival, high) if _unspoiled(survival, pool) < accuracy else (low, survival)
    return Simulated(np.minimum(random.geometric(1 - low, n_RS.shape) - 1, n_RS), _unspoiled(low, pool))


def _unspoiled(survival: float, pool: Counts) -> float:
    """Share of the answers before the first mistake, if each is correct with this probability."""
    counts = np.bincount(pool)
    before = np.cumsum(survival ** np.arange(len(counts))) - 1
    return float((counts * before).sum() / pool.sum())


def run_of(random: np.random.Generator, n_RS: Counts, pool: Counts, accuracy: float, chance: float) -> Simulated:
    """In some sequences half of the answers are wrong, in the others none."""
    half_RS, half = (n_RS + 1) // 2, (pool + 1) // 2
    share = min(1.0, (1 - accuracy) * float(pool.sum() / half.sum()))
    wrong_RS = half_RS * (random.random(n_RS.shape) < share)
    return Simulated(n_RS - wrong_RS, 1 - share * float(half.sum() / pool.sum()))


def second_half(random: np.random.Generator, n_RS: Counts, pool: Counts, accuracy: float, chance: float) -> Simulated:
    """The first half of every sequence is answered correctly, the second half is guessed."""
    rest_RS, rest = n_RS // 2, pool // 2
    guesses = 1 - (1 - chance) * float(rest.sum() / pool.sum())
    return Simulated(n_RS - rest_RS + random.binomial(rest_RS, chance), guesses)


def harder(random: np.random.Generator, n_RS: Counts, pool: Counts, accuracy: float, chance: float) -> Simulated:
    """A sequence with more questions is more likely to be wrong as a whole."""
    scale = (1 - accuracy) * float(pool.sum() / (pool**2).sum())
    wrong_RS = random.random(n_RS.shape) < np.minimum(1.0, scale * n_RS)
    expected = float((pool * np.minimum(1.0, scale * pool)).sum() / pool.sum())
    return Simulated(n_RS * ~wrong_RS, 1 - expected)


MISTAKES: dict[str, Mistakes] = {
    "independent": independent,
    "whole sequences": whole,
    "solved or guessed": guessed,
    "rates, correlation 0.1": rates(0.1),
    "rates, correlation 0.5": rates(0.5),
    "all after the first": spoiled,
    "half of some sequences": run_of,
    "second half guessed": second_half,
    "longer is harder": harder,
}
"""The models of mistakes, by name."""


class Case(NamedTuple):
    """The coverage of one model of mistakes at one accuracy."""

    mistakes: str
    accuracy: float
    coverage: float
    """Share of the tests whose interval, clustered by sequence, holds the accuracy of the model."""
    wilson: float
    """The same for Wilson's interval over questions."""
    width: float
    """Mean width of the clustered interval."""

    @property
    def is_within(self) -> bool:
        """Whether the coverage is what is asked for."""
        return LOWEST <= self.coverage <= HIGHEST


def simulate(
    mistakes: str, pool: Counts, accuracy: float, chance: float, *, sequences: int, tests: int, seed: int
) -> Case:
    """Simulate tests of one model of mistakes.

    Args:
        mistakes: Name of the model of mistakes.
        pool: Questions of each sequence of the task.
        accuracy: The accuracy that is aimed at.
        chance: Chance accuracy of the task.
        sequences: Sequences of a test.
        tests: Simulated tests.
        seed: Seed of the simulation.

    Returns:
        How often the intervals cover.
    """
    random = np.random.default_rng([seed, list(MISTAKES).index(mistakes), round(1e6 * accuracy)])
    truth, covered, by_wilson, width = math.nan, 0, 0, 0.0
    size = max(1, BLOCK // sequences)
    for start in range(0, tests, size):
        n_RS = random.choice(pool, (min(size, tests - start), sequences))
        correct_RS, truth = MISTAKES[mistakes](random, n_RS, pool, accuracy, chance)
        counts = [correct_RS.sum(1), n_RS.sum(1), np.full(len(n_RS), sequences)]
        sums = [*counts, (correct_RS**2).sum(1), (correct_RS * n_RS).sum(1), (n_RS**2).sum(1)]
        for row in zip(*(one.tolist() for one in sums), strict=True):
            low, high = clustered_interval(*row)
            covered, width = covered + (low <= truth <= high), width + high - low
            low, high = wilson_interval(*row[:2])
            by_wilson += low <= truth <= high
    return Case(mistakes, truth, covered / tests, by_wilson / tests, width / tests)


def cases(pool: Counts, chance: float, *, sequences: int, tests: int, seed: int = 0) -> list[Case]:
    """Simulate every model of mistakes at every accuracy above chance.

    Args:
        pool: Questions of each sequence of the task.
        chance: Chance accuracy of the task.
        sequences: Sequences of a test.
        tests: Simulated tests of each case.
        seed: Seed of the simulation.

    Returns:
        The cases; with one question per sequence there is one model of mistakes.
    """
    result = []
    for mistakes in MISTAKES if pool.max() > 1 else ("independent",):
        for accuracy in [one for one in ACCURACIES if one > chance]:
            if mistakes == "second half guessed" and accuracy != ACCURACIES[-1]:
                continue  # its accuracy is that of the task
            if mistakes == "half of some sequences" and accuracy < 0.6:
                continue
            case = simulate(mistakes, pool, accuracy, chance, sequences=sequences, tests=tests, seed=seed)
            if not case.is_within:
                more = REPEATS * tests
                case = simulate(mistakes, pool, accuracy, chance, sequences=sequences, tests=more, seed=seed + 1)
            result.append(case)
    return result


def question_counts(name: str) -> tuple[Counts, float]:
    """Draw test sequences of a ladder at its default level.

    Args:
        name: Name of the ladder.

    Returns:
        Questions of each sequence that has any, and the chance accuracy.
    """
    from attnlab.tasks import IGNORE, Split
    from attnlab.tasks.io.ladders import find_ladder, task_spec
    from attnlab.tasks.io.streams import Source

    spec = task_spec(find_ladder(name), {}, None)
    source = Source(spec.model_copy(update={"evaluate": ()}), 0)
    counts = [(batch.targets_BT != IGNORE).sum(1) for batch in source.held_out(Split.TEST, POOL, 256)]
    pool = np.concatenate(counts)
    return pool[pool > 0], source.task.chance


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table.

    Args:
        arguments: The command line; None takes that of the process.

    Returns:
        The exit code: 1 if a case is outside of what is asked for.
    """
    from attnlab import resources

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tasks", nargs="*", help="ladders (default: every built-in one)")
    parser.add_argument("--sequences", type=int, default=1024, help="sequences of a test (default: 1024)")
    parser.add_argument("--tests", type=int, default=1000, help="simulated tests of each case (default: 1000)")
    options = parser.parse_args(arguments)
    print("| task | questions | cases | lowest | highest | outside | Wilson's lowest |\n|---|--:|--:|---|---|--:|--:|")
    outside = total = 0
    for name in options.tasks or resources.names("tasks"):
        pool, chance = question_counts(name)
        found = cases(pool, chance, sequences=options.sequences, tests=options.tests)
        low, high = min(found, key=lambda one: one.coverage), max(found, key=lambda one: one.coverage)
        ends = [f"{100 * one.coverage:.1f} ({one.mistakes}, {one.accuracy:.2f})" for one in (low, high)]
        wrong = sum(not one.is_within for one in found)
        outside, total = outside + wrong, total + len(found)
        worst = 100 * min(one.wilson for one in found)
        questions = f"{pool.min()}-{pool.max()}" if pool.min() < pool.max() else str(pool.max())
        print(f"| {name} | {questions} | {len(found)} | {' | '.join(ends)} | {wrong} | {worst:.1f} |", flush=True)
    print(f"\n{outside} of {total} cases are outside of {100 * LOWEST:.0f} to {100 * HIGHEST:.0f} %.")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
