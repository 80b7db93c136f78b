from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, TASKS, Batch
from attnlab.tasks.recall_stacked import RecallStacked
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 100, seed: int = 0, **options: Any) -> tuple[RecallStacked, Batch]:
    task = RecallStacked(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    task = RecallStacked(pairs=3)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("recall-stacked", rows=50) == 0


def test_it_has_the_name_of_the_paper_too() -> None:
    assert TASKS.entry("stacked-mqar").name == "recall-stacked"


@pytest.mark.parametrize(
    "options",
    [{}, {"pairs": 1, "keys": 1, "values": 2}, {"pairs": 7, "passes": 3, "keys": 9, "values": 7}, {"pairs": 16}],
)
def test_each_pass_has_the_same_pairs_and_each_key_is_asked_once(options: dict[str, Any]) -> None:
    """Read the words: k3v0 names a key and its value."""
    task, batch = drawn(**options)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        words = [task.token_to_str(token) for token in tokens]
        size = task.pairs
        passes = [words[start : start + size] for start in range(0, len(words) - size, size)]
        assert len(passes) == task.passes
        assert all(sorted(one) == sorted(passes[0]) for one in passes)
        pairs = dict(word.split("v") for word in passes[0])
        assert len(pairs) == len(set(pairs.values())) == size
        asked = words[-size:]
        assert sorted(asked) == sorted(pairs)
        answers = [task.token_to_str(target) for target in targets if target != IGNORE]
        assert answers == [f"v{pairs[key]}" for key in asked]
        assert targets[:-size] == [IGNORE] * (len(targets) - size)


def test_keys_values_and_orders_are_uniform() -> None:
    task, batch = drawn(6000, pairs=3, keys=4, values=4, passes=2)
    assert p_value(counts(batch.inputs_BT[:, 0], 16)) > ALPHA
    first, second, asked = (batch.inputs_BT[:, start : start + 3] for start in (0, 3, 6))
    place = (second[:, :1] == first).argmax(axis=1)
    assert p_value(counts(place, 3)) > ALPHA
    place = (asked[:, :1] - task.first_key == second // 4).argmax(axis=1)
    assert p_value(counts(place, 3)) > ALPHA


def test_a_guess_among_the_values_of_the_context_scores_the_chance() -> None:
    task, batch = drawn(1000, pairs=5)
    context = batch.inputs_BT[:, :5] % task.values
    taken = np.random.default_rng(1).integers(0, 5, batch.inputs_BT.shape)
    score = guess_score(task, batch, task.first_value + np.take_along_axis(context, taken, axis=1))
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 0.8 * task.chance}))


@pytest.mark.parametrize("what", ["keys", "values"])
def test_more_pairs_than_keys_or_values_are_refused(what: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        RecallStacked(**{"pairs": 9, what: 8})
    assert str(caught.value) == (
        f"recall-stacked\n  9 pairs need more than 8 {what}.\n  Use at least 9 {what}, or at most 8 pairs."
    )
