from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.recall_updated import RecallUpdated
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[RecallUpdated, Batch]:
    task = RecallUpdated(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = RecallUpdated(pairs=2, length=12, vocabulary=20)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("recall-updated") == 0


@pytest.mark.parametrize(
    ("pairs", "updates", "length", "vocabulary"),
    [(4, 0.5, 64, 128), (1, 0.0, 6, 4), (3, 1.0, 19, 12), (8, 0.3, 64, 64)],
)
def test_the_latest_value_is_a_target_once_for_each_key(
    pairs: int, updates: float, length: int, vocabulary: int
) -> None:
    task, batch = drawn(100, pairs=pairs, updates=updates, length=length, vocabulary=vocabulary)
    updated = max(1, round(updates * pairs))
    half, context = vocabulary // 2, 2 * (pairs + updated)
    assert (task.vocabulary, task.length, task.chance) == (vocabulary, length, 1 / pairs)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        keys, values = tokens[0:context:2], tokens[1:context:2]
        assert len(set(keys[:pairs])) == pairs
        assert len(set(keys[pairs:])) == updated
        assert set(keys[pairs:]) <= set(keys[:pairs])
        assert len(set(values)) == pairs + updated
        assert all(0 <= key < half <= value < vocabulary for key, value in zip(keys, values, strict=True))
        queries = [position for position, answer in enumerate(targets) if answer != IGNORE]
        assert sorted(tokens[position] for position in queries) == sorted(keys[:pairs])
        for position in queries:
            assert position >= context
            assert position % 2 == 0
            last = max(number for number, key in enumerate(keys) if key == tokens[position])
            assert targets[position] == values[last]
        assert all(
            token not in keys
            for position, token in enumerate(tokens)
            if position >= context and position not in queries
        )


def test_keys_values_and_which_are_updated_are_uniform() -> None:
    _, batch = drawn(6000, pairs=4, vocabulary=16, length=20)
    keys, values = batch.inputs_BT[:, 0:12:2], batch.inputs_BT[:, 1:12:2]
    assert min(p_value(counts(column, 8)) for column in keys.T) > ALPHA
    assert min(p_value(counts(column - 8, 8)) for column in values.T) > ALPHA
    again = (keys[:, :4, None] == keys[:, None, 4:]).argmax(axis=1)
    ordered = counts(4 * again[:, 0] + again[:, 1], 16).reshape(4, 4)
    seen = [ordered[one, other] + ordered[other, one] for one, other in combinations(range(4), 2)]
    assert p_value(seen) > ALPHA
    assert p_value(ordered[~np.eye(4, dtype=bool)]) > ALPHA
    assert p_value(counts(again.min(axis=1), 3)) < ALPHA


def test_query_positions_are_distributed_as_in_recall() -> None:
    """The key that draws first takes the first slot of the zone with the probability of its weight."""
    _, batch = drawn(20_000, pairs=1, length=16, power=0.5)
    seen = (batch.targets_BT[:, 4::2] != IGNORE).sum(axis=0)
    weights = np.arange(1, 7) ** -0.5
    assert p_value(seen, weights / weights.sum()) > ALPHA
    assert p_value(seen) < ALPHA


def test_a_guess_among_the_latest_values_scores_the_chance() -> None:
    task, batch = drawn(1000)
    random, guesses = np.random.default_rng(1), np.zeros_like(batch.targets_BT)
    for row, targets in enumerate(batch.targets_BT):
        values = targets[targets != IGNORE]
        guesses[row, targets != IGNORE] = random.choice(values, len(values))
    score = guess_score(task, batch, guesses)
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1 / 6}))


def test_symbols() -> None:
    assert [RecallUpdated(vocabulary=12).token_to_str(token) for token in (0, 5, 6, 11)] == ["k0", "k5", "v0", "v5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 65}, "Vocabulary must be even, not 65."),
        (
            {"pairs": 14},
            "14 pairs, 7 of them updated, do not fit 64 tokens.\n  Use at most 13, or a length of at least 70.",
        ),
        (
            {"vocabulary": 10},
            "4 pairs, 2 of them updated, need 6 of the 5 values.\n  Use at most 3, or a vocabulary of at least 12.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        RecallUpdated(**options)
    assert str(caught.value) == f"recall-updated\n  {message}"


@pytest.mark.parametrize("options", [{"pairs": 13}, {"length": 70, "pairs": 14}, {"pairs": 3, "vocabulary": 10}])
def test_the_values_that_the_messages_name_work(options: dict[str, int]) -> None:
    _, batch = drawn(3, **options)
    assert ((batch.targets_BT != IGNORE).sum(axis=1) == options["pairs"]).all()
