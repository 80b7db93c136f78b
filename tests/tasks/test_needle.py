from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.needle import Needle
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[Needle, Batch]:
    task = Needle(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = Needle(haystack=6, digits=2)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("needle") == 0


@pytest.mark.parametrize(("haystack", "digits", "kinds"), [(32, 4, 16), (1, 1, 1), (9, 12, 3)])
@pytest.mark.parametrize("filler", ["random", "cycle"])
def test_the_targets_after_the_question_mark_are_the_number(
    haystack: int, digits: int, kinds: int, filler: str
) -> None:
    task, batch = drawn(100, haystack=haystack, digits=digits, kinds=kinds, filler=filler)
    assert task.vocabulary == 12 + kinds
    assert batch.inputs_BT.shape[1] == task.length == haystack + 2 * digits + 1
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        mark, question = tokens.index(10 + kinds), tokens.index(11 + kinds)
        number = tokens[mark + 1 : mark + 1 + digits]
        assert question == haystack + digits + 1
        assert max(number) < 10
        assert tokens[question + 1 :] == number[:-1]
        assert targets == [IGNORE] * question + number
        hay = tokens[:mark] + tokens[mark + 1 + digits : question]
        assert len(hay) == haystack
        assert all(10 <= token < 10 + kinds for token in hay)
        if filler == "cycle":
            assert hay == [10 + position % kinds for position in range(haystack)]


def test_positions_digits_and_filler_are_uniform() -> None:
    _, batch = drawn(6000, haystack=7, digits=2, kinds=5)
    positions = counts((batch.inputs_BT == 15).argmax(axis=1), 8)
    assert p_value(positions) > ALPHA
    assert p_value(positions, [0.05] + [0.95 / 7] * 7) < ALPHA
    assert p_value(counts(10 * batch.targets_BT[:, -2] + batch.targets_BT[:, -1], 100)) > ALPHA
    hay = batch.inputs_BT[(batch.inputs_BT >= 10) & (batch.inputs_BT < 15)]
    assert p_value(counts(hay - 10, 5)) > ALPHA


def test_a_uniform_digit_scores_the_chance() -> None:
    task, batch = drawn(1000)
    score = uniform_score(task, batch, np.random.default_rng(1).integers(0, 10, batch.targets_BT.shape))
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1 / 8}))


def test_symbols() -> None:
    task = Needle(kinds=2)
    assert [task.token_to_str(token) for token in (0, 9, 10, 11, 12, 13)] == ["0", "9", "f0", "f1", "!", "?"]
