from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.recall_joint import RecallJoint
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[RecallJoint, Batch]:
    task = RecallJoint(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = RecallJoint(contexts=2, keys=2, vocabulary=30)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("recall-joint") == 0


@pytest.mark.parametrize(("contexts", "keys", "vocabulary"), [(2, 4, 96), (1, 1, 3), (3, 2, 18), (4, 5, 60)])
def test_sections_list_the_same_keys_and_every_entry_is_a_query_once(contexts: int, keys: int, vocabulary: int) -> None:
    task, batch = drawn(100, contexts=contexts, keys=keys, vocabulary=vocabulary)
    third, width = vocabulary // 3, 1 + 2 * keys
    assert (task.vocabulary, task.chance) == (vocabulary, 1 / (contexts * keys))
    assert batch.inputs_BT.shape[1] == task.length == contexts * width + 2 * contexts * keys
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        table: dict[tuple[int, int], int] = {}
        sections = [tokens[start : start + width] for start in range(0, contexts * width, width)]
        for context, *entries in sections:
            assert 0 <= context < third
            table |= {(context, key): value for key, value in zip(entries[::2], entries[1::2], strict=True)}
        assert len({context for context, _ in table}) == contexts
        assert len(table) == len(set(table.values())) == contexts * keys
        assert all(third <= key < 2 * third <= value < vocabulary for (_, key), value in table.items())
        assert len({frozenset(section[1::2]) for section in sections}) == 1
        questions = list(range(contexts * width, task.length, 2))
        assert {(tokens[position], tokens[position + 1]): targets[position + 1] for position in questions} == table
        assert sum(answer != IGNORE for answer in targets) == contexts * keys


def test_contexts_keys_values_and_orders_are_uniform() -> None:
    _, batch = drawn(6000, contexts=2, keys=3, vocabulary=18)
    sections = batch.inputs_BT[:, :14].reshape(-1, 2, 7)
    for section in (0, 1):
        assert p_value(counts(sections[:, section, 0], 6)) > ALPHA
        assert p_value(counts(sections[:, section, 3] - 6, 6)) > ALPHA
        assert p_value(counts(sections[:, section, 4] - 12, 6)) > ALPHA
    # The position of the first key of one section in the other; then which entry is the first query.
    moved = (sections[:, 1, 1::2] == sections[:, 0, 1:2]).argmax(axis=1)
    assert p_value(counts(moved, 3)) > ALPHA
    assert p_value(counts(moved, 3), [0.4, 0.3, 0.3]) < ALPHA
    values = sections[:, :, 2::2].reshape(-1, 6)
    for question in (15, 25):
        assert p_value(counts((values == batch.targets_BT[:, question, None]).argmax(axis=1), 6)) > ALPHA


def test_a_guess_among_the_values_scores_the_chance_and_one_by_the_key_alone_more() -> None:
    task, batch = drawn(1000)
    random = np.random.default_rng(1)
    values = batch.inputs_BT[:, :18].reshape(-1, 2, 9)[:, :, 2::2].reshape(-1, 8)
    score = guess_score(task, batch, random.permuted(values, axis=1)[:, :1])
    assert at_chance(score)
    guesses = np.zeros_like(batch.targets_BT)
    for row, tokens in enumerate(batch.inputs_BT.tolist()):
        for position in range(19, 34, 2):
            positions = [back + 1 for back in range(18) if tokens[back] == tokens[position]]
            guesses[row, position] = tokens[random.choice(positions)]
    assert at_chance(guess_score(task, batch, guesses).model_copy(update={"chance": 0.5}))


def test_symbols() -> None:
    task = RecallJoint(vocabulary=24)
    assert [task.token_to_str(token) for token in (0, 7, 8, 15, 16, 23)] == ["c0", "c7", "k0", "k7", "v0", "v7"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 97}, "Vocabulary must be a multiple of 3, not 97."),
        (
            {"contexts": 9},
            "9 * 4 entries need more than 32 values.\n  Use at most 8 contexts, or a vocabulary of at least 108.",
        ),
        (
            {"contexts": 1, "keys": 33},
            "1 * 33 entries need more than 32 values.\n  Use at most 32 keys, or a vocabulary of at least 99.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        RecallJoint(**options)
    assert str(caught.value) == f"recall-joint\n  {message}"
