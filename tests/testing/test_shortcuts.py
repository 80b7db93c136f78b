"""Shortcuts and chance baselines, compared with slow loops over single sequences."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.base import Tokens
from attnlab.testing._chance_baselines import baseline_scores
from attnlab.testing._leak import count_repeats
from attnlab.testing._samples import TaskSamples
from attnlab.testing._shortcuts import fit_shortcuts, previous_occurrence
from tests.testing.faulty_tasks import Sums

VOCABULARY = 5


def made(seed: int, rows: int = 40, length: int = 9) -> Batch:
    """Random tokens, with random targets 1 .. 4."""
    random = np.random.default_rng(seed)
    inputs_BT = random.integers(0, VOCABULARY, (rows, length))
    random_targets_BT = random.integers(1, VOCABULARY, (rows, length))
    return Batch(inputs_BT, np.where(random.random((rows, length)) < 0.4, random_targets_BT, IGNORE))


TRAINING, TEST = [made(0), made(1, length=7)], made(2)
Read = list[tuple[list[int], int, int]]


def supervised(batches: list[Batch]) -> Read:
    """Prefix, position and target of every supervised position."""
    return [
        (tokens[: position + 1], position, target)
        for batch in batches
        for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
        for position, target in enumerate(targets)
        if target != IGNORE
    ]


def most_common(targets: list[int]) -> int:
    """The most common target; of equals, the lowest."""
    counted = Counter(targets)
    return min(counted, key=lambda target: (-counted[target], target))


def slow(name: str, prefix: list[int], position: int) -> int:
    training = supervised(TRAINING)
    majority = most_common([target for _, _, target in training])
    if name == "position":
        return most_common([target for _, at, target in training if at == position] or [majority])
    if name == "last value":
        return next((token for token in reversed(prefix) if token in {target for _, _, target in training}), majority)
    unigram = most_common([target for before, _, target in training if before[-1] == prefix[-1]] or [majority])
    if name == "unigram":
        return unigram
    if name == "bigram":
        return most_common([target for before, _, target in training if before[-2:] == prefix[-2:]] or [unigram])
    return majority


@pytest.mark.parametrize("name", ["majority", "position", "last value", "unigram", "bigram"])
def test_a_shortcut_equals_a_slow_loop(name: str) -> None:
    expected = [slow(name, prefix, position) for prefix, position, _ in supervised([TEST])]
    assert fit_shortcuts(TRAINING, VOCABULARY)[name](TEST).tolist() == expected


def nearest(prefix: list[int], size: int) -> int | None:
    """The token after the last earlier occurrence of these tokens."""
    for position in range(len(prefix) - 2, size - 2, -1):
        if prefix[position - size + 1 : position + 1] == prefix[-size:]:
            return prefix[position + 1]
    return None


@pytest.mark.parametrize("size", [1, 2])
def test_the_nearest_context_is_found_and_its_length_chosen_in_training(size: int) -> None:
    """The targets are what followed the context of that length, so that this length is the better one in training."""
    batches = []
    for seed in (3, 4):
        inputs_BT = np.random.default_rng(seed).integers(0, VOCABULARY, (60, 30))
        targets_BT = np.full_like(inputs_BT, IGNORE)
        for row, tokens in enumerate(inputs_BT.tolist()):
            for position in range(len(tokens)):
                result = nearest(tokens[: position + 1], size)
                targets_BT[row, position] = IGNORE if result is None else result
        batches.append(Batch(inputs_BT, targets_BT))
    predictions = fit_shortcuts(batches[:1], VOCABULARY)["nearest context"](batches[1])
    assert predictions.tolist() == [target for _, _, target in supervised(batches[1:])]


def test_the_previous_occurrence_of_a_context_is_in_its_own_row() -> None:
    context_BT: Tokens = np.random.default_rng(0).integers(0, 4, (6, 8))
    expected = []
    for row, tokens in enumerate(context_BT.tolist()):
        for position, token in enumerate(tokens):
            earlier = [at for at in range(position) if tokens[at] == token]
            expected.append(8 * row + earlier[-1] if earlier else -1)
    assert previous_occurrence(context_BT).tolist() == expected


def test_uniform_guesses_have_the_expected_accuracy() -> None:
    """Over all answers, those of the sequence, and the tokens so far that can be answers."""
    tests = [made(seed, rows=200) for seed in range(10, 30)]
    guesses = baseline_scores(
        TaskSamples(Sums(letters=9), TRAINING, TRAINING, tests), VOCABULARY, np.random.default_rng(0)
    )
    expected: dict[str, list[float]] = {"any answer": [], "sequence's answers": [], "seen": []}
    for batch in tests:
        for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            row_targets = [target for target in targets if target != IGNORE]
            for position, target in enumerate(targets):
                if target == IGNORE:
                    continue
                values = {token for token in tokens[: position + 1] if token}
                expected["any answer"].append(1 / 4)
                expected["seen"].append((target in values) / len(values) if values else 1 / 4)
                expected["sequence's answers"] += [1 / len(set(row_targets))] if len(row_targets) > 1 else []
    for name, shares in expected.items():
        assert guesses[name].mean == pytest.approx(np.mean(shares))


def test_repeats_are_compared_with_chance() -> None:
    task, random = Sums(letters=3), np.random.default_rng(0)
    seen, fresh = task.sample(random, 64), task.sample(random, 256)
    rows = {tuple(row) for row in seen.inputs_BT.tolist()}
    expected = sum(tuple(row) in rows for row in fresh.inputs_BT.tolist()) / 4
    fair, copied = task.sample(random, 64), seen
    result = count_repeats(TaskSamples(task, [seen], [fresh], [fair]))
    assert result.repeated == sum(tuple(row) in rows for row in fair.inputs_BT.tolist())
    assert result.expected == pytest.approx(expected)
    assert not result.leaks
    assert not result.covered
    leaking = count_repeats(TaskSamples(Sums(letters=9), [made(0)], [made(1)], [made(0)]))
    assert (leaking.repeated, leaking.expected, leaking.leaks, leaking.covered) == (40, 0, True, False)
    assert count_repeats(TaskSamples(task, [seen], [copied], [copied])).covered
