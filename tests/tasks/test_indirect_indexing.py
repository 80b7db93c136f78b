from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from attnlab.records import Score
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.indirect_indexing import IndirectIndexing
from tests.tasks.chance import ALPHA, at_chance, counts, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[IndirectIndexing, Batch]:
    task = IndirectIndexing(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = IndirectIndexing(letters=5)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("indirect-indexing") == 0


@pytest.mark.parametrize(("letters", "shift"), [(2, 1), (8, 15), (40, 15), (52, 3)])
def test_the_answer_is_so_many_places_from_the_source(letters: int, shift: int) -> None:
    task, batch = drawn(letters=letters, shift=shift)
    assert (task.length, task.vocabulary) == (letters + 4, 53 + 2 * shift + 1)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        text, (comma, source, again, distance) = tokens[:letters], tokens[letters:]
        assert comma == again == 52
        assert len(set(text)) == letters
        assert max(text) < 52
        (place,) = [index for index, letter in enumerate(text) if letter == source]
        step = distance - 53 - shift
        assert abs(step) <= shift
        assert 0 <= place + step < letters
        assert targets == [IGNORE] * (letters + 3) + [text[place + step]]


def test_letters_sources_and_shifts_are_uniform() -> None:
    task, batch = drawn(20_000, letters=5, shift=2)
    text = batch.inputs_BT[:, :5]
    assert min(p_value(counts(column, 52)) for column in text.T) > ALPHA
    source = (text == batch.inputs_BT[:, 6:7]).argmax(axis=1)
    assert p_value(counts(source, 5)) > ALPHA
    step = batch.inputs_BT[:, -1] - 53 - 2
    for place, possible in enumerate([(0, 1, 2), (-1, 0, 1, 2), (-2, -1, 0, 1, 2), (-2, -1, 0, 1), (-2, -1, 0)]):
        seen = counts(step[source == place] + 2, 5)
        assert p_value(seen[np.array(possible) + 2]) > ALPHA
        assert seen.sum() == seen[np.array(possible) + 2].sum()
    assert task.token_to_str(53) == "-2"


@pytest.mark.parametrize(("letters", "shift"), [(5, 15), (9, 2), (40, 15)])
def test_chance_is_that_of_the_likeliest_place_of_all_questions_listed(letters: int, shift: int) -> None:
    shares = Counter[int]()
    for source in range(letters):
        reached = [place for place in range(letters) if abs(place - source) <= shift]
        for place in reached:
            shares[place] += 1 / letters / len(reached)  # type: ignore[assignment]
    assert IndirectIndexing(letters=letters, shift=shift).chance == pytest.approx(max(shares.values()), abs=1e-12)


def test_its_own_guess_is_as_good_as_chance() -> None:
    task, batch = drawn(20_000, letters=12, shift=3)
    right = batch.query_targets()
    predictions = task.chance_baseline(np.random.default_rng(0), batch)
    score = Score(correct=int((predictions == right).sum()), total=len(right), chance=task.chance)
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1 / 12}))
