from __future__ import annotations

from itertools import pairwise, permutations, product
from typing import Any

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch, recall_stream
from attnlab.tasks.recall_stream import (
    RecallStream,
    draw,
    inverse_mean,
    kinds_so_far,
    seen_letter_accuracy,
    seen_value_accuracy,
)
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[RecallStream, Batch]:
    task = RecallStream(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def seen_value_accuracy_by_listing(keys: int, contents: list[tuple[bool, ...]], shares: list[float]) -> float:
    """Correct guesses per target of a guess among the values so far, over all possible series."""
    num_correct = num_targets = 0.0
    for content, share in zip(contents, shares, strict=True):
        series = list(product(range(keys), repeat=len(content)))
        for one in series:
            so_far: set[int] = set()
            for key, has_pair in zip(one, content, strict=True):
                if has_pair and key in so_far:
                    num_targets += share / len(series)
                    num_correct += share / len(series) / len(so_far)
                if has_pair:
                    so_far.add(key)
            num_targets += share / len(series)
            num_correct += share / len(series) / len(so_far)
    return num_correct / num_targets


def test_the_example_of_the_module() -> None:
    inputs, targets = example(RecallStream(keys=4))
    assert RecallStream(keys=4).solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("recall-stream") == 0


@pytest.mark.parametrize(("keys", "uses"), [(2, 1), (2, 5), (8, 8), (64, 1)])
def test_later_uses_of_a_key_have_targets_and_so_has_the_last_one(keys: int, uses: int) -> None:
    task, batch = drawn(50, keys=keys, uses=uses)
    assert (task.vocabulary, task.length) == (2 * keys, 2 * keys * uses - 1)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert targets[-1] != IGNORE
        assert all(position % 2 == 0 for position, answer in enumerate(targets) if answer != IGNORE)
        first = {token: position for position, token in reversed(list(enumerate(tokens)))}
        for position, token in enumerate(tokens):
            assert (token < keys) == (position % 2 == 0)
            if token < keys:
                assert targets[position] == (IGNORE if first[token] == position else tokens[first[token] + 1])
        given = {token: value for token, value in pairwise(tokens) if token < keys}
        assert len(set(given.values())) == len(given)


def test_keys_are_uniform_in_every_slot_and_an_uneven_draw_is_rejected() -> None:
    _, batch = drawn(6000, keys=5, uses=2)
    slots = batch.inputs_BT[:, :-1:2]
    assert min(p_value(counts(slot, 5)) for slot in slots.T) > ALPHA
    assert p_value(counts(np.minimum(slots[:, 0], slots[:, 1]), 5)) < ALPHA


def test_keys_of_two_slots_are_independent() -> None:
    _, batch = drawn(9000, keys=3, uses=2)
    assert p_value(counts(3 * batch.inputs_BT[:, 0] + batch.inputs_BT[:, 4], 9)) > ALPHA


def test_the_last_key_is_uniform_over_the_keys_so_far_and_not_over_the_slots() -> None:
    _, batch = drawn(6000, keys=2, uses=2)
    ones = batch.inputs_BT[:, 0:6:2].sum(axis=1)
    mixed = (ones == 1) | (ones == 2)
    rarer = (batch.inputs_BT[:, 6] == 1) == (ones == 1)
    seen = counts(rarer[mixed], 2)
    assert p_value(seen) > ALPHA
    assert p_value(seen, [2 / 3, 1 / 3]) < ALPHA


def test_values_are_a_uniform_permutation() -> None:
    pairs = draw(np.random.default_rng(0), 3, np.ones((20_000, 8), dtype=np.bool_))
    numbers = {order: number for number, order in enumerate(permutations(range(3, 6)))}
    seen = [0] * 6
    for keys, values in zip(pairs.keys_BS.tolist(), pairs.values_BS.tolist(), strict=True):
        given = dict(zip(keys, values, strict=True))
        if len(given) == 3:
            seen[numbers[given[0], given[1], given[2]]] += 1
    assert p_value(seen) > ALPHA


@pytest.mark.parametrize(("keys", "slots"), [(2, 1), (2, 6), (3, 4), (4, 5), (6, 1)])
def test_chance_is_that_of_all_series_listed(keys: int, slots: int) -> None:
    listed = seen_value_accuracy_by_listing(keys, [(True,) * slots], [1.0])
    assert seen_value_accuracy(keys, np.ones((1, slots))) == pytest.approx(listed, abs=1e-12)


@pytest.mark.parametrize("options", [{}, {"keys": 16, "uses": 1}, {"keys": 3, "uses": 9}])
def test_a_guess_among_the_values_so_far_scores_the_chance(options: dict[str, int]) -> None:
    task, batch = drawn(1500, **options)
    random, guesses = np.random.default_rng(1), np.zeros_like(batch.targets_BT)
    for row, position in np.argwhere(batch.targets_BT != IGNORE).tolist():
        guesses[row, position] = random.choice(np.unique(batch.inputs_BT[row, 1:position:2]))
    score = guess_score(task, batch, guesses)
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1 / task.keys}))


def test_sizes_of_the_published_baseline() -> None:
    task = RecallStream(keys=8, uses=8)
    assert (task.vocabulary, task.length) == (16, 127)
    assert [task.token_to_str(token) for token in (0, 7, 8, 15)] == ["k0", "k7", "v0", "v7"]


@pytest.mark.parametrize(("alphabet", "letters"), [(1, 3), (2, 200), (16, 5), (300, 7), (300, 700), (5000, 9)])
def test_the_chance_of_a_string_is_that_of_its_whole_distribution(alphabet: int, letters: int) -> None:
    whole = inverse_mean(kinds_so_far(alphabet, np.ones((1, letters)))[-1])
    assert seen_letter_accuracy(alphabet, letters) == pytest.approx(whole, rel=1e-14)


@pytest.mark.parametrize(("keys", "slots"), [(1000, 500), (1000, 1000), (1000, 4000)])
def test_the_chance_of_what_is_long_is_that_of_the_distribution(
    keys: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content_GS = np.stack([np.full(slots, 1.0), np.linspace(0.1, 1.0, slots)])
    exact = seen_letter_accuracy(keys, slots), seen_value_accuracy(keys, content_GS)
    monkeypatch.setattr(recall_stream, "EXACT_COST", 0)
    long = seen_letter_accuracy(keys, slots), seen_value_accuracy(keys, content_GS)
    assert long == pytest.approx(exact, rel=1e-6)
    assert long != exact


@pytest.mark.parametrize("sizes", [(10**8, 16), (16, 10**8), (10**8, 10**8), (10**6, 10**15)])
def test_the_chance_of_what_is_very_long_takes_no_time(sizes: tuple[int, int]) -> None:
    assert 1 / min(sizes) <= seen_letter_accuracy(*sizes) * (1 + 1e-6) <= 2 / min(sizes)
