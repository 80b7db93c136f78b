from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.recall_nback import RecallNBack
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[RecallNBack, Batch]:
    task = RecallNBack(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = RecallNBack(back=2, pairs=1, writes=5, length=14, vocabulary=20)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("recall-nback") == 0


@pytest.mark.parametrize(
    ("back", "pairs", "writes", "length", "vocabulary"),
    [(1, 4, 5, 64, 128), (4, 4, 5, 64, 128), (3, 3, 3, 27, 18), (1, 1, 1, 4, 4), (2, 32, 4, 768, 256)],
)
def test_the_target_of_each_key_is_that_many_writes_ago(
    back: int, pairs: int, writes: int, length: int, vocabulary: int
) -> None:
    """Walk back from the end of the context and count the writes of the key."""
    task, batch = drawn(60, back=back, pairs=pairs, writes=writes, length=length, vocabulary=vocabulary)
    half, context = vocabulary // 2, 2 * pairs * writes
    assert (task.vocabulary, task.length, task.chance) == (vocabulary, length, 1 / pairs)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert len(set(tokens[1:context:2])) == pairs * writes
        assert min(tokens[1:context:2]) >= half
        queries = [position for position, answer in enumerate(targets) if answer != IGNORE]
        assert len(queries) == pairs
        assert {tokens[position] for position in queries} == set(tokens[0:context:2])
        for position in queries:
            left, slot = back, context
            while left:
                slot -= 2
                left -= tokens[slot] == tokens[position]
            assert targets[position] == tokens[slot + 1]
            assert position >= context
            assert position % 2 == 0
        rest = set(range(context, length)) - set(queries)
        assert not {tokens[position] for position in rest} & set(tokens[0:context:2])


def test_keys_have_a_random_order_and_a_random_number_of_values() -> None:
    _, batch = drawn(6000, back=2, pairs=2, writes=3, length=20, vocabulary=12)
    written = batch.inputs_BT[:, 0:12:2]
    first = (written == written[:, :1]).sum(axis=1)
    # Two values of each key are certain; of the other two pairs the first key has 0, 1 or 2, but a key with more values
    # is more often the first one: P(first of the two with n of 6) = n / 6.
    assert p_value(counts(first - 2, 3), [0.25 * 2 * 2 / 6, 0.5, 0.25 * 2 * 4 / 6]) > ALPHA
    assert min(p_value(counts(column, 6)) for column in written.T) > ALPHA


def test_with_one_back_and_one_key_the_nearest_value_is_right() -> None:
    _, batch = drawn(50, back=1, pairs=1, writes=5, length=20)
    answers = batch.targets_BT[batch.targets_BT != IGNORE]
    np.testing.assert_array_equal(answers, batch.inputs_BT[:, 9])


def test_a_guess_among_the_answers_scores_the_chance() -> None:
    task, batch = drawn(1000)
    random, guesses = np.random.default_rng(1), np.zeros_like(batch.targets_BT)
    for row, targets in enumerate(batch.targets_BT):
        values = targets[targets != IGNORE]
        guesses[row, targets != IGNORE] = random.choice(values, len(values))
    score = guess_score(task, batch, guesses)
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1 / 5}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 65}, "Vocabulary must be even, not 65."),
        ({"back": 6}, "A key with 5 values has no 6-th last one.\n  Use writes of at least 6."),
        (
            {"length": 47},
            "4 pairs with 5 values each do not fit 47 tokens.\n"
            "  Use a length of at least 48, or fewer pairs or writes.",
        ),
        (
            {"vocabulary": 38},
            "4 pairs with 5 values each need 20 of the 19 values.\n"
            "  Use a vocabulary of at least 40, or fewer pairs or writes.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        RecallNBack(**options)
    assert str(caught.value) == f"recall-nback\n  {message}"


@pytest.mark.parametrize("options", [{"back": 5}, {"length": 48}, {"vocabulary": 40}])
def test_the_values_that_the_messages_name_work(options: dict[str, Any]) -> None:
    _, batch = drawn(3, **options)
    assert ((batch.targets_BT != IGNORE).sum(axis=1) == 4).all()
