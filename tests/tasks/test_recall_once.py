from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE
from attnlab.tasks.recall_once import RecallOnce
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def test_the_example_of_the_module() -> None:
    inputs, targets = example(RecallOnce(keys=4))
    assert RecallOnce(keys=4).solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("recall-once") == 0


@pytest.mark.parametrize(("keys", "uses"), [(2, 1), (8, 2), (5, 6)])
def test_layout_and_sizes(keys: int, uses: int) -> None:
    task = RecallOnce(keys=keys, uses=uses)
    assert (task.vocabulary, task.length) == (2 * keys + 1, 2 * keys * uses)
    batch = task.sample(np.random.default_rng(0), 60)
    assert batch.inputs_BT.shape == (60, task.length)
    assert (batch.inputs_BT[:, -2] == 2 * keys).all()
    assert (batch.targets_BT[:, :-1] == IGNORE).all()
    for tokens, answer in zip(batch.inputs_BT.tolist(), batch.targets_BT[:, -1].tolist(), strict=True):
        pairs, query = tokens[:-2], tokens[-1]
        follows = {pairs[position]: set[int]() for position in range(0, len(pairs), 2)}
        for position in range(0, len(pairs), 2):
            follows[pairs[position]].add(pairs[position + 1])
        assert follows[query] == {answer}
        assert all(len(values) == 1 for values in follows.values())


def test_keys_are_uniform() -> None:
    batch = RecallOnce(keys=6).sample(np.random.default_rng(0), 4000)
    assert p_value(counts(batch.inputs_BT[:, 0], 6)) > ALPHA
    assert p_value(counts(batch.inputs_BT[:, -1], 6)) > ALPHA


@pytest.mark.parametrize("options", [{}, {"keys": 3, "uses": 2}])
def test_a_guess_among_the_values_shown_scores_the_chance(options: dict[str, int]) -> None:
    task = RecallOnce(**options)
    batch = task.sample(np.random.default_rng(0), 4000)
    random = np.random.default_rng(1)
    guesses = [random.choice(np.unique(row[1:-2:2])) for row in batch.inputs_BT]
    score = guess_score(task, batch, np.array(guesses)[:, None])
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1 / task.keys}))


def test_chance_by_hand() -> None:
    """With two keys, one slot has one key, and three slots have both keys with probability 3/4."""
    assert RecallOnce(keys=2, uses=1).chance == 1
    assert RecallOnce(keys=2, uses=2).chance == pytest.approx(0.75 / 2 + 0.25)


def test_symbols() -> None:
    task = RecallOnce(keys=2)
    assert [task.token_to_str(token) for token in range(5)] == ["k0", "k1", "v0", "v1", "?"]
