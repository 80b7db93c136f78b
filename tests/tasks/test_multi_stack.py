from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tasks.multi_stack import MultiStack
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 100, seed: int = 0, **options: Any) -> tuple[MultiStack, Batch]:
    task = MultiStack(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = MultiStack(operations=6, stacks=2, values=4)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


@pytest.mark.parametrize("name", ["multi-stack", "palindrome"])
def test_every_level_is_solved(name: str) -> None:
    assert unsolved(name, rows=50) == 0


@pytest.mark.parametrize(
    ("operations", "stacks", "values"), [(2, 1, 2), (3, 1, 2), (5, 2, 3), (16, 4, 16), (40, 64, 16)]
)
def test_a_pop_gives_the_latest_push_that_no_pop_has_taken(operations: int, stacks: int, values: int) -> None:
    """Match pops with pushes from the end, as brackets, instead of playing the stacks."""
    task, batch = drawn(operations=operations, stacks=stacks, values=values)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        words = [task.token_to_str(token) for token in tokens]
        played = [(words[start], words[start + 1]) for start in range(0, 3 * operations, 3)]
        assert played[-1][0] == "pop"
        answers = {
            start // 3: task.token_to_str(targets[start + 1])
            for start in range(0, 3 * operations, 3)
            if targets[start + 1] != IGNORE
        }
        assert sorted(answers) == [index for index, (word, _) in enumerate(played) if word == "pop"]
        assert sum(target != IGNORE for target in targets) == len(answers)
        for index, answer in answers.items():
            open_pops, earlier = 1, index
            while open_pops:
                earlier -= 1
                if played[earlier][1] == played[index][1]:
                    open_pops += 1 if played[earlier][0] == "pop" else -1
            assert words[3 * earlier + 2] == answer
            assert index == operations - 1 or words[3 * index + 2] == answer


def test_operations_stacks_and_values_are_uniform() -> None:
    _, batch = drawn(6000, operations=9, stacks=3, values=4)
    tokens = batch.inputs_BT
    assert set(tokens[:, 0].tolist()) == {0}
    assert p_value(counts(tokens[:, 1] - 2, 3)) > ALPHA
    assert p_value(counts(tokens[:, 2] - 5, 4)) > ALPHA
    assert p_value(counts(tokens[:, 3], 2)) > ALPHA
    pushed = tokens[:, 12:15][tokens[:, 12] == 0]
    assert p_value(counts(pushed[:, 1] - 2, 3)) > ALPHA
    # Of sequences that begin with pushes on two stacks and a pop, the stack of the pop is either one.
    two = (tokens[:, 3] == 0) & (tokens[:, 6] == 1) & (tokens[:, 1] != tokens[:, 4])
    assert p_value(counts(tokens[two, 7] == tokens[two, 1], 2)) > ALPHA


def test_a_guess_among_the_values_so_far_scores_the_chance() -> None:
    """Of the blind guesses it is the best: a pop takes one of the values that have been pushed."""
    task, batch = drawn(1000)
    random, guesses = np.random.default_rng(1), np.zeros_like(batch.targets_BT)
    for row, position in np.argwhere(batch.targets_BT != IGNORE).tolist():
        seen = batch.inputs_BT[row, :position]
        guesses[row, position] = random.choice(np.unique(seen[seen >= task.first_value]))
    score = guess_score(task, batch, guesses)
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 0.7 * task.chance}))


def test_palindrome_is_the_string_backwards() -> None:
    task = build(task_spec(find_ladder("palindrome"), {}, 16))
    batch = task.sample(np.random.default_rng(0), 20)
    np.testing.assert_array_equal(batch.targets_BT[:, 16:], batch.inputs_BT[:, 15::-1])
    assert batch.inputs_BT[:, :16].max() < 64 == task.vocabulary - 1
