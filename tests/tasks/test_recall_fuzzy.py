from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.recall_fuzzy import RecallFuzzy
from tests.tasks.chance import DOUBT, belief, counts, guessed, met
from tests.tasks.examples import example, unsolved

Motif = tuple[int, ...]


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[RecallFuzzy, Batch]:
    task = RecallFuzzy(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def whole(task: RecallFuzzy, tokens: list[int], due: list[int]) -> list[tuple[Motif, Motif]]:
    """The pairs of a sequence, with the very last token, which is due and not shown."""
    pairs: list[tuple[list[int], list[int]]] = []
    for token in [token for token in [*tokens, due[-1]] if token < 2 * task.ids]:
        if token < task.ids and (not pairs or pairs[-1][1]):
            pairs.append(([], []))
        pairs[-1][token >= task.ids].append(token)
    return [(tuple(key), tuple(value)) for key, value in pairs]


def test_the_example_of_the_module() -> None:
    inputs, answers = example(RecallFuzzy())
    assert RecallFuzzy().solve(inputs) == answers


def test_every_rung_is_solved() -> None:
    assert unsolved("recall-fuzzy") == 0


@pytest.mark.parametrize(
    ("length", "ids", "motif", "shortest"), [(32, 8, 3, 1), (11, 3, 3, 3), (3, 2, 1, 1), (40, 4, 2, 2), (64, 9, 4, 1)]
)
def test_pairs_are_motifs_and_keys_that_come_again_are_asked_token_by_token(
    length: int, ids: int, motif: int, shortest: int
) -> None:
    task, batch = drawn(100, length=length, ids=ids, motif=motif, shortest=shortest)
    assert (task.vocabulary, task.length, task.chance) == (2 * ids + 1, length, 1 / ids)
    assert batch.inputs_BT.shape == (100, length)
    for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        dots = tokens.count(2 * ids)
        assert tokens[:dots] == [2 * ids] * dots
        pairs = whole(task, tokens, due)
        assert len(pairs) >= 2
        place, known = dots - 1, dict[Motif, Motif]()
        expected = [IGNORE] * (length + 1)
        for key, value in pairs:
            assert shortest <= len(key) <= motif
            assert 1 <= len(value) <= motif
            assert len(set(key)) == len(key)
            assert len(set(value)) == len(value)
            place += len(key)
            if key in known:
                expected[place : place + len(value)] = value
            assert known.setdefault(key, value) == value
            place += len(value)
        assert pairs[-1][0] in [key for key, _ in pairs[:-1]]
        assert due == expected[:length]


def test_as_many_pairs_as_fit_are_shown() -> None:
    """Before the last pair there is no room for the largest pair and one more token."""
    task, batch = drawn(500, length=40)
    for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        *before, _ = whole(task, tokens, due)
        used = sum(len(key) + len(value) for key, value in before)
        assert 41 - 2 * 6 < used <= 41 - 6


def first_pairs(rows: int, **options: Any) -> list[tuple[Motif, Motif]]:
    task, batch = drawn(rows, **options)
    return [
        whole(task, tokens, due)[0]
        for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
    ]


def test_sizes_and_motifs_of_a_size_are_uniform() -> None:
    pairs = first_pairs(9000, length=24, ids=4, motif=3)
    for part, base in ((0, 0), (1, 4)):
        motifs = Counter(pair[part] for pair in pairs)
        sizes = [sum(count for motif, count in motifs.items() if len(motif) == size) for size in (1, 2, 3)]
        assert belief(sizes) > DOUBT
        assert belief(sizes, [1 / 2, 1 / 4, 1 / 4]) < DOUBT
        for size in (1, 2, 3):
            every = list(permutations(range(base, base + 4), size))
            assert belief([motifs[motif] for motif in every]) > DOUBT


def test_the_last_key_is_uniform_over_the_keys_so_far_and_not_over_the_pairs() -> None:
    task, batch = drawn(12_000, length=8, ids=2, motif=1)
    rare = []
    for tokens, due in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        *before, (last, _) = whole(task, tokens, due)
        times = Counter(key for key, _ in before)
        if sorted(times.values()) == [1, 2]:
            rare.append(times[last] == 1)
    assert len(rare) > 5000
    assert belief(counts(rare, 2)) > DOUBT
    assert belief(counts(rare, 2), [2 / 3, 1 / 3]) < DOUBT


@pytest.mark.parametrize("options", [{}, {"length": 64, "ids": 5, "shortest": 2}])
def test_a_uniform_guess_among_the_value_ids_scores_the_chance(options: dict[str, int]) -> None:
    task, batch = drawn(1500, **options)
    guesses = np.random.default_rng(1).integers(task.ids, 2 * task.ids, batch.targets_BT.shape)
    score = guessed(task, batch, guesses)
    assert met(score)
    assert not met(score.model_copy(update={"chance": 1.5 / task.ids}))


def test_symbols() -> None:
    task = RecallFuzzy(ids=3)
    assert [task.token_to_str(token) for token in range(7)] == ["k0", "k1", "k2", "v0", "v1", "v2", "·"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"shortest": 4},
            "The shortest key, of 4 tokens, is longer than the longest motif, of 3.\n  Use at most 3.",
        ),
        (
            {"ids": 2},
            "Motifs of 3 tokens do not repeat any, and there are 2 ids.\n  Use at most 2 tokens, or at least 3 ids.",
        ),
        (
            {"length": 10},
            "Two pairs of motifs of 3 do not fit 10 tokens.\n  Use at most 2, or a length of at least 11.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        RecallFuzzy(**options)
    assert str(caught.value) == f"recall-fuzzy\n  {message}"
