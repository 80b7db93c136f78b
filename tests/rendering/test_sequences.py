from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from attnlab.rendering.sequences import Sequences
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.copying import Copy
from attnlab.tasks.recall import Recall
from tests.rendering.capture import console, drawn


def test_targets_are_below_their_query_positions() -> None:
    task = Copy(symbols=2, alphabet=12)
    batch = Batch(np.array([[11, 3, 12, 11]]), np.array([[IGNORE, IGNORE, 11, 3]]))
    assert drawn(Sequences(task, batch)) == [
        "inputs  11  3  | 11",
        "targets  .  . 11  3",
        "",
    ]


def test_each_sequence_is_drawn() -> None:
    task = Copy(symbols=2)
    lines = drawn(Sequences(task, task.sample(np.random.default_rng(0), 3)))
    assert sum(line.startswith("inputs") for line in lines) == 3


@pytest.mark.parametrize("width", [80, 40, 13, 12])
def test_long_sequences_continue_below(width: int) -> None:
    task = Recall(length=32)
    batch = task.sample(np.random.default_rng(0), 1)
    lines = drawn(Sequences(task, batch), width=width)
    tokens = [token for line in lines if line.startswith("inputs") for token in line.split()[1:]]
    targets = [target for line in lines if line.startswith("targets") for target in line.split()[1:]]
    cells = task.render(batch, 0)
    assert tokens == [cell.token for cell in cells]
    assert targets == [cell.target or "." for cell in cells]


def test_query_positions_and_targets_are_colored() -> None:
    task = Copy(symbols=1, alphabet=2)
    batch = Batch(np.array([[1, 2]]), np.array([[IGNORE, 1]]))
    screen = Console(file=console().file, width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    with screen.capture() as capture:
        screen.print(Sequences(task, batch))
    inputs, targets = capture.get().splitlines()[:2]
    assert inputs == "\x1b[2minputs  \x1b[0m1 \x1b[1;36m|\x1b[0m"
    assert targets == "\x1b[2mtargets \x1b[0m\x1b[2m. \x1b[0m\x1b[1;32m1\x1b[0m"


@pytest.mark.parametrize(("padding", "ending"), [(3, ["0", "0", "0"]), (4, ["0", "x4"]), (60, ["0", "x60"])])
def test_padding_at_the_end_is_counted(padding: int, ending: list[str]) -> None:
    task = Copy(symbols=1, alphabet=12)
    batch = Batch(np.array([[11, 12, *[0] * padding]]), np.array([[IGNORE, 11, *[IGNORE] * padding]]))
    assert drawn(Sequences(task, batch))[0].split() == ["inputs", "11", "|", *ending]


def test_repeats_with_a_query_position_are_shown() -> None:
    task = Copy(symbols=1, alphabet=12)
    batch = Batch(np.array([[7, 7, 7, 7, 7, 7]]), np.array([[IGNORE, IGNORE, 7, IGNORE, IGNORE, 7]]))
    assert drawn(Sequences(task, batch))[0].split() == ["inputs", *"777777"]
