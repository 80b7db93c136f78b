"""Sequences per second that each task draws on one core: at its default level, and at about 64 tokens.

    python -m benchmarks.generation                  # every registered task
    python -m benchmarks.generation recall delay     # only these
    python -m benchmarks.generation file:path=F reasoning-gym:dataset=spell_backward,length=64

The project promises 20,000 sequences per second at up to 64 tokens, and 100,000 of recall, at a vocabulary of 8192 too.
For comparison a row generator draws multi-query recall row by row with ``Generator.choice``, as the published
description does it; tests/tasks/test_recall.py tests that it agrees with ours. Times are processor time, so that other
programs on the machine matter little. Tasks that need an option are measured where they are named with it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attnlab.config.inline_parts import parse_part
from attnlab.errors import AttnlabError
from attnlab.tasks import TASKS, Task
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tasks.recall import Recall

BATCH, ROUNDS, SECONDS = 512, 5, 0.1
TOKENS = 64
LONGER: Mapping[str, Mapping[str, Any]] = {"length": {"length": TOKENS}, "slots": {"slots": TOKENS // 2}}
"""The options that give a task 64 tokens. Tasks without one of them take the level that comes nearest."""


def per_second(draw: Callable[[np.random.Generator], int]) -> float:
    """Measure the sequences drawn per second, the median over rounds."""
    random = np.random.default_rng(0)
    draw(random)
    speeds = []
    for _ in range(ROUNDS):
        start, drawn = time.process_time(), 0
        while time.process_time() - start < SECONDS:
            drawn += draw(random)
        speeds.append(drawn / (time.process_time() - start))
    return statistics.median(speeds)


def at_default(name: str) -> Task:
    """Make the task at the default level of its ladder."""
    part = parse_part(name)
    return build(task_spec(find_ladder(part.name), part.options, None))


def near_64_tokens(name: str) -> Task:
    """Make the task with the options that come nearest to 64 tokens."""
    if parse_part(name).options:  # the options given tell how long its sequences are
        return at_default(name)
    ladder, options = find_ladder(name), TASKS.entry(name).options
    for option, values in LONGER.items():
        if option in options:
            level = None if option == ladder.complexity else ladder.default
            return build(task_spec(ladder, dict(values), level))
    tasks = []
    for level in range(TOKENS + 1):
        try:
            tasks.append(build(task_spec(ladder, {}, level)))
        except AttnlabError:
            continue
    return min(tasks, key=lambda task: (max(0, task.length - TOKENS - 1), abs(task.length - TOKENS)))


def speed(task: Task) -> float:
    """Measure the sequences per second of one task."""
    return per_second(lambda random: len(task.sample(random, BATCH).inputs_BT))


def row_by_row(random: np.random.Generator, vocabulary: int = 8192, length: int = 64, pairs: int = 4) -> int:
    """Draw one sequence as a row generator does."""
    keys = random.choice(np.arange(1, vocabulary // 2), size=pairs, replace=False)
    values = random.choice(np.arange(vocabulary // 2, vocabulary), size=pairs, replace=False)
    slots = (length - 2 * pairs) // 2
    odds = np.arange(1, slots + 1) ** (0.01 - 1)
    gaps = random.choice(slots, size=pairs, replace=False, p=odds / odds.sum())
    row = random.integers(0, vocabulary, length)
    row[0 : 2 * pairs : 2], row[1 : 2 * pairs : 2] = keys, values
    row[2 * pairs + 2 * gaps] = keys
    return 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Sequences per second that each task draws on one core.")
    parser.add_argument("names", nargs="*", help="registered tasks, with their options; all that need none by default")
    names = parser.parse_args().names or [entry.name for entry in TASKS if not entry.required]
    print(f"{'task':<30}{'T':>5}{'default level':>15}{'T':>7}{'sequences/s':>14}")
    for name in names:
        default, longer = at_default(name), near_64_tokens(name)
        print(
            f"{name:<30}{default.length:>5}{speed(default):>15,.0f}{longer.length:>7}{speed(longer):>14,.0f}",
            flush=True,
        )
    print(f"{'recall, vocabulary 8192':<50}{64:>7}{speed(Recall(vocabulary=8192, length=64, pairs=4)):>14,.0f}")
    print(f"{'the same, drawn row by row':<50}{64:>7}{per_second(row_by_row):>14,.0f}")


if __name__ == "__main__":
    main()
