from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Split
from attnlab.tasks.memorization import Memorization
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def given(task: Memorization, seed: int = 0) -> dict[int, int]:
    """The map, collected from enough sequences to contain all keys."""
    batch = task.sample(np.random.default_rng(seed), 500)
    pairs = set(zip(batch.inputs_BT[:, ::2].ravel().tolist(), batch.targets_BT[:, 1::2].ravel().tolist(), strict=True))
    assert len(pairs) == task.pairs
    return dict(pairs)


def test_the_example_of_the_module() -> None:
    task = Memorization(pairs=6, slots=3)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("memorization") == 0


def test_layout_and_sizes() -> None:
    task = Memorization(pairs=127, slots=16)
    assert (task.vocabulary, task.length, task.chance) == (255, 32, 1 / 127)
    batch = task.sample(np.random.default_rng(0), 50)
    assert (batch.inputs_BT[:, 1::2] == 254).all()
    assert (batch.inputs_BT[:, ::2] < 127).all()
    assert (batch.targets_BT[:, ::2] == IGNORE).all()
    assert (batch.targets_BT[:, 1::2] >= 127).all()


def test_the_map_is_one_to_one_and_the_same_for_every_split_batch_and_instance() -> None:
    task = Memorization(pairs=40)
    known = given(task)
    assert sorted(known) == list(range(40))
    assert sorted(known.values()) == list(range(40, 80))
    for split in (Split.TRAIN, Split.VALIDATION, Split.TEST):
        assert given(Memorization(pairs=40).for_split(split), seed=int(split)) == known
    assert given(Memorization(pairs=40, map_seed=1)) != known


def test_the_map_of_a_seed_stays() -> None:
    """Fixed values, so that a change of the map needs a new version of the task."""
    assert [Memorization(pairs=6).values[key] - 6 for key in range(6)] == [3, 2, 5, 4, 0, 1]


def test_maps_of_seeds_are_uniform() -> None:
    firsts = np.array([Memorization(pairs=5, map_seed=seed).values[:2] - 5 for seed in range(2000)])
    ordered = counts(firsts @ np.array([5, 1]), 25).reshape(5, 5)
    assert (np.diag(ordered) == 0).all()
    assert p_value(ordered[~np.eye(5, dtype=bool)]) > ALPHA


def test_keys_are_uniform_and_independent() -> None:
    batch = Memorization(pairs=5, slots=2).sample(np.random.default_rng(0), 5000)
    seen = counts(5 * batch.inputs_BT[:, 0] + batch.inputs_BT[:, 2], 25)
    assert p_value(seen) > ALPHA
    assert p_value(seen, np.linspace(0.8, 1.2, 25) / 25) < ALPHA


@pytest.mark.parametrize("pairs", [4, 32])
def test_a_uniform_value_scores_the_chance(pairs: int) -> None:
    task = Memorization(pairs=pairs)
    batch = task.sample(np.random.default_rng(0), 1000)
    score = guess_score(task, batch, np.random.default_rng(1).integers(pairs, 2 * pairs, batch.targets_BT.shape))
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1.2 / pairs}))


def test_symbols() -> None:
    assert [Memorization(pairs=2).token_to_str(token) for token in range(5)] == ["k0", "k1", "v0", "v1", "?"]
