from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.recall_fuzzy import RecallFuzzy
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score
from tests.tasks.examples import example, unsolved

Motif = tuple[int, ...]


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[RecallFuzzy, Batch]:
    task = RecallFuzzy(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def whole(task: RecallFuzzy, tokens: list[int], targets: list[int]) -> list[tuple[Motif, Motif]]:
    """The pairs of a sequence, with the last target added, which is not in the input."""
    pairs: list[tuple[list[int], list[int]]] = []
    for token in [token for token in [*tokens, targets[-1]] if token < task.vocabulary - 1]:
        if token < task.ids and (not pairs or pairs[-1][1]):
            pairs.append(([], []))
        pairs[-1][token >= task.ids].append(token)
    return [(tuple(key), tuple(value)) for key, value in pairs]


def test_the_example_of_the_module() -> None:
    inputs, targets = example(RecallFuzzy())
    assert RecallFuzzy().solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("recall-fuzzy") == 0


@pytest.mark.parametrize(
    ("length", "ids", "value_ids", "motif", "shortest"),
    [
        (32, 8, None, 3, 1),
        (11, 3, None, 3, 3),
        (3, 2, None, 1, 1),
        (40, 4, None, 2, 2),
        (64, 9, None, 4, 1),
        (128, 7, 8, 3, 1),
        (40, 9, 4, 4, 2),
    ],
)
def test_pairs_are_motifs_and_repeated_keys_have_targets_for_each_token(
    length: int, ids: int, value_ids: int | None, motif: int, shortest: int
) -> None:
    task, batch = drawn(100, length=length, ids=ids, value_ids=value_ids, motif=motif, shortest=shortest)
    filler = ids + (value_ids or ids)
    assert (task.vocabulary, task.length) == (filler + 1, length)
    assert batch.inputs_BT.shape == (100, length)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        dots = tokens.count(filler)
        assert tokens[:dots] == [filler] * dots
        pairs = whole(task, tokens, targets)
        assert len(pairs) >= 2
        position, known = dots - 1, dict[Motif, Motif]()
        expected = [IGNORE] * (length + 1)
        for key, value in pairs:
            assert shortest <= len(key) <= motif
            assert 1 <= len(value) <= motif
            assert len(set(key)) == len(key)
            assert len(set(value)) == len(value)
            position += len(key)
            if key in known:
                expected[position : position + len(value)] = value
            assert known.setdefault(key, value) == value
            position += len(value)
        assert pairs[-1][0] in [key for key, _ in pairs[:-1]]
        assert targets == expected[:length]


def test_as_many_pairs_as_fit_are_shown() -> None:
    """Before the last pair the free positions do not fit the largest pair and one more token."""
    task, batch = drawn(500, length=40)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        *before, _ = whole(task, tokens, targets)
        used = sum(len(key) + len(value) for key, value in before)
        assert 41 - 2 * 6 < used <= 41 - 6


def first_pairs(rows: int, **options: Any) -> list[tuple[Motif, Motif]]:
    task, batch = drawn(rows, **options)
    return [
        whole(task, tokens, targets)[0]
        for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
    ]


def test_sizes_and_motifs_of_a_size_are_uniform() -> None:
    pairs = first_pairs(9000, length=24, ids=4, motif=3)
    for part, base in ((0, 0), (1, 4)):
        motifs = Counter(pair[part] for pair in pairs)
        sizes = [sum(count for motif, count in motifs.items() if len(motif) == size) for size in (1, 2, 3)]
        assert p_value(sizes) > ALPHA
        assert p_value(sizes, [1 / 2, 1 / 4, 1 / 4]) < ALPHA
        for size in (1, 2, 3):
            every = list(permutations(range(base, base + 4), size))
            assert p_value([motifs[motif] for motif in every]) > ALPHA


def test_the_last_key_is_uniform_over_the_keys_so_far_and_not_over_the_pairs() -> None:
    task, batch = drawn(12_000, length=8, ids=2, motif=1)
    rare = []
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        *before, (last, _) = whole(task, tokens, targets)
        times = Counter(key for key, _ in before)
        if sorted(times.values()) == [1, 2]:
            rare.append(times[last] == 1)
    assert len(rare) > 5000
    assert p_value(counts(rare, 2)) > ALPHA
    assert p_value(counts(rare, 2), [2 / 3, 1 / 3]) < ALPHA


@pytest.mark.parametrize("options", [{}, {"length": 64, "ids": 5, "shortest": 2}])
def test_a_uniform_guess_among_the_value_ids_scores_the_chance(options: dict[str, int]) -> None:
    task, batch = drawn(1500, **options)
    guesses = np.random.default_rng(1).integers(task.ids, 2 * task.ids, batch.targets_BT.shape)
    score = uniform_score(task, batch, guesses)
    assert at_chance(score)
    assert not at_chance(score.model_copy(update={"chance": 1.5 / task.ids}))


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
            {"value_ids": 2},
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


def test_the_vocabulary_of_the_benchmark() -> None:
    """A vocabulary of 16: one id for padding, and the others in two parts, of 7 for keys and 8 for values."""
    task, batch = drawn(400, length=128, ids=7, value_ids=8)
    assert task.vocabulary == 16
    assert set(batch.query_targets().tolist()) == set(range(7, 15))
    assert [task.token_to_str(token) for token in (0, 6, 7, 14, 15)] == ["k0", "k6", "v0", "v7", "·"]
