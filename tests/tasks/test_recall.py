from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.recall import Recall, without_replacement


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[Recall, Batch]:
    task = Recall(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def supervised(batch: Batch) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return batch.targets_BT != IGNORE


@given(
    some.integers(1, 6).flatmap(
        lambda pairs: some.tuples(some.just(pairs), some.integers(2 * pairs, 20), some.integers(pairs + 1, 20))
    ),
    some.sampled_from(["distinct", "zeros", "random"]),
    some.floats(0.01, 2),
)
def test_every_key_is_a_query_once_and_the_target_is_its_value(
    sizes: tuple[int, int, int], filler: str, power: float
) -> None:
    pairs, half_length, half = sizes
    options: dict[str, Any] = {
        "pairs": pairs,
        "length": 2 * half_length,
        "vocabulary": 2 * half,
        "filler": filler,
        "power": power,
    }
    _, batch = drawn(10, **options)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert len(tokens) == 2 * half_length
        keys, values = tokens[0 : 2 * pairs : 2], tokens[1 : 2 * pairs : 2]
        assert len(set(keys)) == len(set(values)) == pairs
        assert all(1 <= key < half for key in keys)
        assert all(half <= value < 2 * half for value in values)
        positions = [position for position, answer in enumerate(targets) if answer != IGNORE]
        assert sorted(tokens[position] for position in positions) == sorted(keys)
        for position in positions:
            assert position >= 2 * pairs
            assert position % 2 == 0
            assert targets[position] == values[keys.index(tokens[position])]


@pytest.mark.parametrize(("pairs", "vocabulary"), [(4, 16), (7, 16), (1, 4), (16, 128)])
def test_distinct_filler_never_repeats_a_key_and_is_uniform_over_the_rest(pairs: int, vocabulary: int) -> None:
    task, batch = drawn(500, pairs=pairs, vocabulary=vocabulary)
    assert task.filler == "distinct"
    seen, possible = np.zeros(vocabulary), np.zeros(vocabulary)
    for tokens, is_query in zip(batch.inputs_BT, supervised(batch), strict=True):
        keys = set(tokens[0 : 2 * pairs : 2].tolist())
        filler = tokens[2 * pairs :][~is_query[2 * pairs :]].tolist()
        assert not keys & set(filler)
        for token in range(vocabulary):
            possible[token] += len(filler) / (vocabulary - pairs) if token not in keys else 0
        for token in filler:
            seen[token] += 1
    allowed = possible > 0
    assert (seen[~allowed] == 0).all()
    deviation = np.abs(seen - possible)[allowed] / np.sqrt(possible[allowed])
    assert deviation.max() < 4.5


def test_zeros_filler_is_zero() -> None:
    task, batch = drawn(filler="zeros")
    zone = np.arange(task.length) >= 2 * task.pairs
    assert (batch.inputs_BT[~supervised(batch) & zone] == 0).all()


def test_random_filler_is_uniform_and_sometimes_repeats_a_key_without_a_target() -> None:
    task, batch = drawn(2000, filler="random", vocabulary=32)
    filler = ~supervised(batch)
    filler[:, : 2 * task.pairs] = False
    shares = np.bincount(batch.inputs_BT[filler], minlength=32) / filler.sum()
    np.testing.assert_allclose(shares, 1 / 32, atol=0.003)
    keys = batch.inputs_BT[:, 0 : 2 * task.pairs : 2]
    repeats = (batch.inputs_BT[:, :, None] == keys[:, None, :]).any(-1) & filler
    assert repeats.sum() / filler.sum() == pytest.approx(4 / 32, abs=0.005)


@pytest.mark.parametrize("power", [0.01, 1.0, 0.5])
def test_slots_are_drawn_one_after_the_other_by_their_weights(power: float) -> None:
    pairs, length, rows, rounds = 3, 24, 20_000, 4_000
    _, batch = drawn(rows, pairs=pairs, length=length, power=power)
    slots = (length - 2 * pairs) // 2
    ours = supervised(batch)[:, 2 * pairs :: 2].mean(axis=0)
    assert ours.sum() == pytest.approx(pairs)
    random = np.random.default_rng(1)
    weights = np.array([j ** (power - 1) for j in range(1, slots + 1)])
    theirs = np.zeros(slots)
    for _ in range(rounds):
        theirs[random.choice(slots, pairs, replace=False, p=weights / weights.sum())] += 1 / rounds
    np.testing.assert_allclose(ours, theirs, atol=4.5 * np.sqrt(0.25 / rounds))


@pytest.mark.parametrize("power", [0.01, 1.0])
def test_the_slot_of_the_first_key_has_exactly_the_weights(power: float) -> None:
    """Each key draws in turn, so the first one draws from all slots."""
    rows = 40_000
    _, batch = drawn(rows, pairs=2, length=16, power=power)
    first = (batch.inputs_BT[:, 4::2] == batch.inputs_BT[:, :1]) & supervised(batch)[:, 4::2]
    weights = np.array([j ** (power - 1) for j in range(1, 7)])
    np.testing.assert_allclose(first.mean(axis=0), weights / weights.sum(), atol=4.5 * np.sqrt(0.25 / rows))


def test_the_first_slot_is_mostly_taken_at_the_default() -> None:
    _, batch = drawn(20_000)
    occupied = supervised(batch)[:, 8::2].mean(axis=0)
    assert occupied[0] == pytest.approx(0.71, abs=0.015)
    assert occupied[-1] == pytest.approx(0.045, abs=0.01)


@pytest.mark.parametrize(("kinds", "count"), [(6, 2), (6, 6), (6, 4), (40, 3), (5, 1), (1, 1)])
def test_draws_without_replacement_are_distinct_and_uniform(kinds: int, count: int) -> None:
    rows = 6000
    drawn_BC = without_replacement(np.random.default_rng(0), kinds, count, rows)
    assert drawn_BC.shape == (rows, count)
    assert all(len(set(row)) == count for row in drawn_BC.tolist())
    bound = 4.5 * np.sqrt(rows / kinds)
    for column in drawn_BC.T:
        assert np.abs(np.bincount(column, minlength=kinds) - rows / kinds).max() <= bound
    if count > 1:
        ordered = np.bincount(kinds * drawn_BC[:, 0] + drawn_BC[:, 1], minlength=kinds * kinds).reshape(kinds, kinds)
        expected = rows / (kinds * (kinds - 1))
        assert (np.diag(ordered) == 0).all()
        assert (np.abs(ordered - expected)[~np.eye(kinds, dtype=bool)] < 6 * np.sqrt(expected)).all()


def test_sizes_and_symbols() -> None:
    task = Recall(pairs=2, length=8, vocabulary=8)
    assert (task.vocabulary, task.length, task.chance) == (8, 8, 0.5)
    assert [task.token_to_str(token) for token in range(8)] == ["·", "k1", "k2", "k3", "v0", "v1", "v2", "v3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 9}, "Length and vocabulary must be even, not 64 and 9."),
        ({"length": 33}, "Length and vocabulary must be even, not 33 and 128."),
        (
            {"pairs": 17},
            "17 pairs do not fit 64 tokens.\n  Use at most 16 pairs, or a length of at least 68.",
        ),
        (
            {"pairs": 4, "vocabulary": 8},
            "A vocabulary of 8 has too few keys for 4 pairs.\n  Use at most 3 pairs, or a vocabulary of at least 10.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Recall(**options)  # type: ignore[arg-type]  # sizes only
    assert str(caught.value) == f"recall\n  {message}"


@pytest.mark.parametrize("options", [{"pairs": 16}, {"pairs": 4, "vocabulary": 10}, {"pairs": 1, "length": 4}])
def test_the_largest_sizes_that_fit_are_accepted(options: dict[str, int]) -> None:
    _, batch = drawn(3, **options)
    assert (supervised(batch).sum(axis=1) == options["pairs"]).all()
