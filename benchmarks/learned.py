"""Which ladders softmax attention learns at their easiest and their default level, by position.

    attnlab sweep benchmarks/learned.yaml --store results/learned --executor processes:2 --no-weights
    attnlab sweep benchmarks/learned-default.yaml --store results/learned-default --executor processes:2 --no-weights
    python -m benchmarks.learned results/learned results/learned-default

The default model with each ladder's own budget. A cell has the steps until each run was solved, or in italics the
accuracy of a run that was not, in the order of the seeds. A run stops as soon as the validation split is solved. Where
the best achievable accuracy is not known, as for plain text, no run counts as solved. The ladder ``k-hop-16`` is left
out: its one training, for all levels, takes 20,000 steps.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from attnlab.config.ladder import Ladder
from attnlab.records import Record
from attnlab.specs import TaskSpec
from attnlab.storage import Store
from attnlab.tasks.io.ladders import builtin_ladders, task_spec
from attnlab.tasks.io.streams import build


class Row(NamedTuple):
    """One level of one ladder."""

    ladder: Ladder
    task: TaskSpec
    runs: dict[str, list[Record]]
    """By position, in the order of the seeds."""

    @property
    def is_known(self) -> bool:
        """Whether the best achievable accuracy is known."""
        return not math.isnan(build(self.task).best_accuracy)

    @property
    def is_easiest(self) -> bool:
        """Whether it is the easiest level of the ladder."""
        return bool(self.task.level == self.ladder.levels[0])

    def solved_by_all(self, position: str) -> bool:
        """Whether the runs with a position were all solved; there is one at least."""
        return bool(self.runs.get(position)) and all(record.solved for record in self.runs[position])


def rows_of(records: Iterable[Record]) -> list[Row]:
    """Sort runs into rows, by the ladder and the level that they are of."""
    by_task: dict[bytes, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.spec.seed):
        by_task.setdefault(record.spec.task.canonical, []).append(record)
    found = []
    for ladder in builtin_ladders():
        for level in ladder.levels:
            task = task_spec(ladder, {}, level, ())
            runs: dict[str, list[Record]] = {}
            for record in by_task.get(task.canonical, ()):
                runs.setdefault(str(record.spec.model.position), []).append(record)
            if runs:
                found.append(Row(ladder, task, runs))
    return found


def line(cells: Iterable[str]) -> str:
    """Write a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def cell(runs: Sequence[Record]) -> str:
    """Write the steps or the accuracy of each run."""
    return " / ".join(f"{run.steps:,}" if run.solved else f"*{100 * run.accuracy.mean:.1f} %*" for run in runs) or "-"


def table(rows: Sequence[Row]) -> list[str]:
    """Write the table, and how many rows each position solves with every seed."""
    positions = list(dict.fromkeys(position for row in rows for position in row.runs))
    heads = ("ladder", "level", "T", "V", "chance", "budget", *positions)
    lines = [line(heads), "|" + "---|" * len(heads)]
    for row in rows:
        task, any_run = build(row.task), next(run for runs in row.runs.values() for run in runs)
        level = f"{row.ladder.complexity} {row.task.level}{' (easiest)' if row.is_easiest else ''}"
        start = (f"`{row.ladder.name}`", level, str(task.length), str(task.vocabulary), f"{100 * task.chance:.1f} %")
        budget = f"{any_run.spec.train.max_steps:,}"
        lines.append(line((*start, budget, *(cell(row.runs.get(position, [])) for position in positions))))
    for text, easiest in (("easiest", True), ("other", False)):
        counted = [row for row in rows if row.is_known and row.is_easiest == easiest]
        for position in positions if counted else ():
            ran = [row for row in counted if position in row.runs]
            solved = sum(row.solved_by_all(position) for row in ran)
            lines.append(f"\n{text} levels, {position}: {solved} of {len(ran)} are solved with every seed.")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Which ladders softmax attention learns, by position.")
    parser.add_argument("stores", nargs="+", type=Path, help="the stores of the sweeps")
    args = parser.parse_args()
    print("\n".join(table(rows_of(record for store in args.stores for record in Store(store).records()))))


if __name__ == "__main__":
    main()
