from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.ngram import NGram
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[NGram, Batch]:
    task = NGram(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def walked(task: NGram, tokens: list[int], targets: list[int]) -> list[list[int]]:
    """The walks, the last one with the last target added, which is not in the input."""
    walks: list[list[int]] = [[]]
    for token in [*tokens, targets[-1]]:
        if token == task.alphabet:
            walks.append([])
        else:
            walks[-1].append(token)
    return walks


def test_the_example_of_the_module() -> None:
    task = NGram(alphabet=4, order=2, steps=3, visits=2)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


@pytest.mark.parametrize("name", ["ngram", "trigram"])
def test_every_level_is_solved(name: str) -> None:
    assert unsolved(name) == 0


@pytest.mark.parametrize(
    ("alphabet", "order", "steps", "visits"), [(8, 2, 4, 3), (2, 2, 1, 1), (3, 4, 5, 1), (5, 3, 2, 2), (40, 2, 30, 1)]
)
def test_walks_follow_one_table_and_shown_contexts_have_targets(
    alphabet: int, order: int, steps: int, visits: int
) -> None:
    task, batch = drawn(60, alphabet=alphabet, order=order, steps=steps, visits=visits)
    back = order - 1
    assert task.vocabulary == alphabet + 1
    assert batch.inputs_BT.shape[1] == task.length
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        walks = walked(task, tokens, targets)
        assert len(walks) == max(2, int(np.ceil(visits * alphabet**back / steps)))
        table: dict[tuple[int, ...], int] = {}
        expected = []
        for walk in walks:
            assert len(walk) == back + steps
            expected += [IGNORE] * (back - 1)
            for position in range(steps):
                context, letter = tuple(walk[position : position + back]), walk[position + back]
                expected.append(letter if context in table else IGNORE)
                assert table.setdefault(context, letter) == letter
            expected += [IGNORE, IGNORE]
        assert targets == expected[:-2]
        assert walks[-1] in walks[:-1]
        assert all(answer != IGNORE for answer in targets[-steps:])


def test_beginnings_and_what_follows_are_uniform() -> None:
    _, batch = drawn(12_000, alphabet=3, order=3, steps=2, visits=1)
    seen = counts(batch.inputs_BT[:, :3] @ np.array([9, 3, 1]), 27)
    assert p_value(seen) > ALPHA
    assert p_value(seen, np.repeat([0.3, 0.3, 0.4], 9) / 9) < ALPHA


def test_contexts_of_one_ending_are_followed_by_different_letters_and_others_by_any() -> None:
    _, batch = drawn(12_000, alphabet=3, order=3, steps=2, visits=1)
    one, other = batch.inputs_BT[:, :3], batch.inputs_BT[:, 5:8]
    after = 3 * one[:, 2] + other[:, 2]
    oldest, ending = one[:, 0] == other[:, 0], one[:, 1] == other[:, 1]
    seen = counts(after[~oldest & ending], 9).reshape(3, 3)
    assert (np.diag(seen) == 0).all()
    assert p_value(seen[~np.eye(3, dtype=bool)]) > ALPHA
    assert p_value(counts(after[~ending], 9)) > ALPHA
    assert (one[:, 2] == other[:, 2])[oldest & ending].all()


def test_walks_from_different_letters_never_meet() -> None:
    _, batch = drawn(2000, alphabet=6, steps=2, visits=1)
    one, other = batch.inputs_BT[:, :3], batch.inputs_BT[:, 4:7]
    apart = one[:, 0] != other[:, 0]
    assert apart.sum() > 1000
    assert (one != other)[apart].all()


def test_the_last_walk_repeats_each_of_the_others_as_often() -> None:
    task, batch = drawn(6000, alphabet=32, steps=8, visits=1)
    assert task.walks == 4
    starts = batch.inputs_BT[:, ::10]
    apart = (np.diff(np.sort(starts[:, :3], axis=1), axis=1) > 0).all(axis=1)
    seen = counts((starts[apart, :3] == starts[apart, 3:]).argmax(axis=1), 3)
    assert p_value(seen) > ALPHA
    assert p_value(seen, [0.4, 0.3, 0.3]) < ALPHA


@pytest.mark.parametrize("options", [{}, {"alphabet": 3, "order": 3}])
def test_a_uniform_letter_scores_the_chance(options: dict[str, int]) -> None:
    task, batch = drawn(1000, **options)
    score = uniform_score(task, batch, np.random.default_rng(1).integers(0, task.alphabet, batch.targets_BT.shape))
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1 / (task.alphabet + 1)}))


def test_symbols() -> None:
    assert [NGram(alphabet=3).token_to_str(token) for token in range(4)] == ["0", "1", "2", "|"]


def test_a_table_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        NGram(alphabet=30, order=4)
    assert str(caught.value) == (
        "ngram\n  30 letters have 30^3 contexts, more than 16384.\n  Use at most 25 letters, or a lower order."
    )
    assert NGram(alphabet=25, order=4).contexts == 15625
    assert NGram(alphabet=128, order=3).contexts == 16384
