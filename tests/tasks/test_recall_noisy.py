from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.recall_noisy import RecallNoisy
from attnlab.tasks.recall_stream import RecallStream
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved
from tests.tasks.test_recall_stream import seen_value_accuracy_by_listing


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[RecallNoisy, Batch]:
    task = RecallNoisy(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def test_the_example_of_the_module() -> None:
    inputs, targets = example(RecallNoisy(keys=4, kinds=6))
    assert RecallNoisy(keys=4, kinds=6).solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("recall-noisy") == 0


def test_slots_are_pairs_or_noise_and_later_uses_have_targets() -> None:
    task, batch = drawn(100, keys=6, uses=4, noise=0.5, kinds=3)
    assert (task.vocabulary, task.length) == (15, 47)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        known: dict[int, int] = {}
        for position in range(0, len(tokens) - 1, 2):
            one, other = tokens[position : position + 2]
            assert (one < 6 and 6 <= other < 12) or min(one, other) >= 12
            assert targets[position] == known.get(one, IGNORE)
            assert targets[position + 1] == IGNORE
            if one < 6:
                assert known.setdefault(one, other) == other
        assert targets[-1] == known[tokens[-1]]


def test_noise_has_its_probability_and_is_uniform() -> None:
    _, batch = drawn(3000, keys=4, uses=4, noise=0.3, kinds=5)
    noise = batch.inputs_BT[:, :-1] >= 8
    # One slot in fifteen always has a pair.
    share = 0.3 * 14 / 15
    slots = noise[:, ::2].ravel()
    assert p_value(counts(slots, 2), [1 - share, share]) > ALPHA
    assert p_value(counts(slots, 2), [0.7, 0.3]) < ALPHA
    assert p_value(counts(batch.inputs_BT[:, :-1][noise] - 8, 5)) > ALPHA


def test_the_slot_without_noise_is_uniform() -> None:
    _, batch = drawn(4000, keys=2, uses=3, noise=0.999)
    pairs = batch.inputs_BT[:, :-1:2] < 4
    alone = pairs.sum(axis=1) == 1
    assert alone.mean() > 0.98
    assert p_value(counts(pairs[alone].argmax(axis=1), 5)) > ALPHA


def test_keys_are_uniform() -> None:
    _, batch = drawn(3000, keys=5, uses=2)
    keys = batch.inputs_BT[:, :-1:2]
    assert p_value(counts(keys[keys < 5], 5)) > ALPHA


def test_without_noise_chance_is_that_of_recall_stream() -> None:
    assert RecallNoisy(keys=7, uses=3, noise=0.0).chance == pytest.approx(RecallStream(keys=7, uses=3).chance)


@pytest.mark.parametrize(("keys", "uses", "noise"), [(2, 2, 0.5), (3, 2, 0.2), (2, 3, 0.9)])
def test_chance_is_that_of_all_series_listed(keys: int, uses: int, noise: float) -> None:
    slots = keys * uses - 1
    contents, shares = [], []
    for spared in range(slots):
        for others in product([False, True], repeat=slots - 1):
            contents.append((*others[:spared], True, *others[spared:]))
            shares.append((1 - noise) ** sum(others) * noise ** (slots - 1 - sum(others)) / slots)
    listed = seen_value_accuracy_by_listing(keys, contents, shares)
    assert RecallNoisy(keys=keys, uses=uses, noise=noise).chance == pytest.approx(listed, abs=1e-12)


def test_a_guess_among_the_values_so_far_scores_the_chance() -> None:
    task, batch = drawn(1500, noise=0.4)
    random, guesses = np.random.default_rng(1), np.zeros_like(batch.targets_BT)
    for row, position in np.argwhere(batch.targets_BT != IGNORE).tolist():
        before = batch.inputs_BT[row, :position]
        guesses[row, position] = random.choice(np.unique(before[(before >= 8) & (before < 16)]))
    assert at_chance(guess_score(task, batch, guesses))


def test_symbols() -> None:
    task = RecallNoisy(keys=2, kinds=2)
    assert [task.token_to_str(token) for token in range(6)] == ["k0", "k1", "v0", "v1", "n0", "n1"]
