from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.recall_composed import RecallComposed
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[RecallComposed, Batch]:
    task = RecallComposed(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = RecallComposed(side=2, length=24, vocabulary=30)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("recall-composed") == 0


@pytest.mark.parametrize(("side", "length", "vocabulary"), [(2, 96, 96), (1, 6, 3), (3, 55, 27), (4, 96, 48)])
def test_every_pair_of_the_grid_is_a_query_once(side: int, length: int, vocabulary: int) -> None:
    task, batch = drawn(100, side=side, length=length, vocabulary=vocabulary)
    third, context = vocabulary // 3, 3 * side * side
    assert (task.vocabulary, task.length, task.chance) == (vocabulary, length, 1 / side**2)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        firsts, seconds, values = (tokens[kind:context:3] for kind in range(3))
        assert all(0 <= token < third for token in firsts)
        assert all(third <= token < 2 * third for token in seconds)
        assert all(2 * third <= token < vocabulary for token in values)
        assert len(set(firsts)) == len(set(seconds)) == side
        table = dict(zip(zip(firsts, seconds, strict=True), values, strict=True))
        assert len(table) == len(set(values)) == side * side
        queries = [position for position, answer in enumerate(targets) if answer != IGNORE]
        assert all(position >= context and (position - context) % 3 == 1 for position in queries)
        assert {(tokens[position - 1], tokens[position]): targets[position] for position in queries} == table
        heads = {position - back for position in queries for back in (0, 1)}
        rest = [tokens[position] for position in range(context, length) if position not in heads]
        assert not {*firsts, *seconds} & set(rest)


def test_ids_cells_and_values_are_uniform() -> None:
    _, batch = drawn(6000, side=2, vocabulary=15, length=24)
    context = batch.inputs_BT[:, :12].reshape(-1, 4, 3)
    for kind in range(3):
        assert min(p_value(counts(context[:, cell, kind] - 5 * kind, 5)) for cell in range(4)) > ALPHA
    # Of the three other cells one shares the first id with the first cell, one the second, one neither.
    shares = (context[:, 1, :2] == context[:, 0, :2]) @ np.array([1, 2])
    assert p_value(counts(shares, 3)) > ALPHA
    assert p_value(counts((context[:, 1:, 0] == context[:, :1, 0]).argmax(axis=1), 3)) > ALPHA
    assert p_value(counts(shares, 3), [0.4, 0.3, 0.3]) < ALPHA


def test_filler_is_uniform_over_the_other_ids() -> None:
    _, batch = drawn(6000, side=1, vocabulary=12, length=12, power=1.0)
    first, second = batch.inputs_BT[:, 0], batch.inputs_BT[:, 1]
    rows = (first == 0) & (second == 4)
    filler = batch.inputs_BT[rows][:, [5, 8, 11]]
    assert p_value(np.delete(counts(filler, 12), [0, 4])) > ALPHA


def test_a_guess_among_the_values_of_the_context_scores_the_chance() -> None:
    task, batch = drawn(1000, side=3)
    guesses = np.random.default_rng(1).permuted(batch.inputs_BT[:, 2:27:3], axis=1)[:, :1]
    score = guess_score(task, batch, guesses)
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1 / 3}))


def test_symbols() -> None:
    task = RecallComposed(vocabulary=12)
    assert [task.token_to_str(token) for token in (0, 3, 4, 7, 8, 11)] == ["a0", "a3", "b0", "b3", "v0", "v3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 97}, "Vocabulary must be a multiple of 3, not 97."),
        (
            {"side": 5},
            "The 25 keys of a grid of side 5 do not fit 96 tokens.\n  Use at most 4, or a length of at least 150.",
        ),
        (
            {"side": 4, "vocabulary": 30},
            "The 16 keys of a grid of side 4 need more than 10 values.\n"
            "  Use at most 3, or a vocabulary of at least 48.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        RecallComposed(**options)
    assert str(caught.value) == f"recall-composed\n  {message}"
