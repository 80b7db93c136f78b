"""Campaigns of hostile inputs, and their figures.

    python -m tests.fuzzing.campaign --inputs 10000 --seed 0

Inputs are drawn by hypothesis and shared evenly among the kinds. Each is a command that must end with an exit status
and, where it refuses, with one clear block: no traceback, no hang, no leftover, nothing half-written, nothing lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzzing import checkpoint_files, data_files, store_files, yaml_files
from tests.fuzzing.golden import Golden, golden
from tests.fuzzing.option_strings import RUN, commands
from tests.fuzzing.running import Case, Runner, fault, limits

KINDS: Mapping[str, Callable[[Golden], st.SearchStrategy[Case]]] = {
    "options": lambda made: commands().map(lambda words: option_case(words, made)),
    "experiments": lambda made: yaml_files.cases(),
    "stores": store_files.cases,
    "checkpoints": checkpoint_files.cases,
    "data files": lambda made: data_files.cases(),
}
"""Kind of input -> its strategy, given the files that are damaged."""
FAULTS = ("traceback", "hang", "leftover", "half_written", "lost", "changed", "message", "status", "unexpected")
SHOWN = 5
"""Faults that are shown in full."""


def option_case(words: Sequence[str], made: Golden) -> Case:
    """Make the case of a command line: where it names :data:`RUN`, there is a store with that run."""
    named = tuple(word.replace(RUN, made.run) for word in words)
    return Case(named, made.finished if RUN in " ".join(words) else {})


@dataclass
class Figures:
    """What a campaign of one kind has seen."""

    kind: str
    inputs: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    """Exit status -> commands."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Name of a fault -> the cases, described."""
    slowest: tuple[float, str] = (0.0, "")
    """Processor seconds of the slowest command, and the command."""

    def __str__(self) -> str:
        counts = ", ".join(f"{len(self.faults.get(name, []))} {name.replace('_', '-')}" for name in FAULTS)
        return (
            f"{self.kind}: {self.inputs} inputs; {self.answers[2]} refused, {self.answers[0]} accepted, "
            f"{self.answers[1]} failed runs or claims; {counts}; slowest {self.slowest[0]:.1f} s"
        )

    def details(self) -> str:
        """The first faults of each name, in full."""
        return "\n\n".join(f"== {name}: {one}" for name, found in self.faults.items() for one in found[:SHOWN])


def campaign(folder: Path, kind: str, inputs: int, seed: int | None) -> Figures:
    """Try inputs of one kind.

    Args:
        folder: An empty folder.
        kind: One of :data:`KINDS`.
        inputs: How many.
        seed: Of the generator of inputs; None draws those that the strategy always draws.

    Returns:
        The figures.
    """
    figures, runner, seen = Figures(kind), Runner(folder), set[int]()
    with limits():
        made = golden(runner)

        def attempt(case: Case) -> None:
            key = hash((case.words, tuple(sorted(case.files.items()))))
            if key in seen or figures.inputs == inputs:
                return  # hypothesis repeats itself now and then
            seen.add(key)
            answer = runner.run(case.words, case.files)
            figures.inputs += 1
            figures.answers[answer.status] += 1
            figures.slowest = max(figures.slowest, (answer.seconds, str(case.words)))
            if found := fault(case, answer):
                name, _, detail = found.partition("\n")
                described = f"{case.words} ({case.told})\n{detail}"
                figures.faults.setdefault(name, []).append(described)

        drawn = settings(
            max_examples=3 * inputs,
            derandomize=seed is None,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(KINDS[kind](made))(attempt))
        (drawn if seed is None else hypothesis.seed(seed)(drawn))()
    return figures


def main(words: Sequence[str] | None = None) -> int:
    """Run campaigns and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kinds", default=",".join(KINDS))
    given_words = parser.parse_args(words)
    kinds, faults = given_words.kinds.split(","), 0
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            figures = campaign(Path(folder), kind, given_words.inputs // len(kinds), given_words.seed)
        sys.stdout.write(f"{figures}: {figures.slowest[1]:.300}\n")
        sys.stdout.write(f"{details}\n" if (details := figures.details()) else "")
        sys.stdout.flush()
        faults += sum(map(len, figures.faults.values()))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
