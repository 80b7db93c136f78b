"""Shortcuts and blind guesses against slow readings of one sequence after another."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.base import Tokens
from attnlab.testing._chance_baselines import baseline_scores
from attnlab.testing._leak import repeats
from attnlab.testing._samples import Material
from attnlab.testing._shortcuts import fitted, last_stood
from tests.testing.faulty_tasks import Sums

VOCABULARY = 5


def made(seed: int, rows: int = 40, length: int = 9) -> Batch:
    """Random tokens, with random questions about tokens 1 .. 4."""
    random = np.random.default_rng(seed)
    inputs_BT = random.integers(0, VOCABULARY, (rows, length))
    answers_BT = random.integers(1, VOCABULARY, (rows, length))
    return Batch(inputs_BT, np.where(random.random((rows, length)) < 0.4, answers_BT, IGNORE))


TRAINING, TEST = [made(0), made(1, length=7)], made(2)
Read = list[tuple[list[int], int, int]]


def questions(batches: list[Batch]) -> Read:
    """Past, place and answer of every question."""
    return [
        (tokens[: place + 1], place, answer)
        for batch in batches
        for tokens, answers in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True)
        for place, answer in enumerate(answers)
        if answer != IGNORE
    ]


def favorite(answers: list[int]) -> int:
    """The commonest, the lowest of equals."""
    counted = Counter(answers)
    return min(counted, key=lambda answer: (-counted[answer], answer))


def slow(name: str, past: list[int], place: int) -> int:
    known = questions(TRAINING)
    majority = favorite([answer for _, _, answer in known])
    if name == "position":
        return favorite([answer for _, at, answer in known if at == place] or [majority])
    if name == "last value":
        return next((token for token in reversed(past) if token in {answer for _, _, answer in known}), majority)
    unigram = favorite([answer for before, _, answer in known if before[-1] == past[-1]] or [majority])
    if name == "unigram":
        return unigram
    if name == "bigram":
        return favorite([answer for before, _, answer in known if before[-2:] == past[-2:]] or [unigram])
    return majority


@pytest.mark.parametrize("name", ["majority", "position", "last value", "unigram", "bigram"])
def test_a_shortcut_is_what_a_slow_reader_learns(name: str) -> None:
    expected = [slow(name, past, place) for past, place, _ in questions([TEST])]
    assert fitted(TRAINING, VOCABULARY)[name](TEST).tolist() == expected


def nearest(past: list[int], size: int) -> int | None:
    """What followed the last earlier place where these tokens stand."""
    for place in range(len(past) - 2, size - 2, -1):
        if past[place - size + 1 : place + 1] == past[-size:]:
            return past[place + 1]
    return None


@pytest.mark.parametrize("size", [1, 2])
def test_the_nearest_context_is_found_and_its_length_chosen_in_training(size: int) -> None:
    """Answers are what followed the context of that length, so that this length is the better one in training."""
    batches = []
    for seed in (3, 4):
        inputs_BT = np.random.default_rng(seed).integers(0, VOCABULARY, (60, 30))
        targets_BT = np.full_like(inputs_BT, IGNORE)
        for row, tokens in enumerate(inputs_BT.tolist()):
            for place in range(len(tokens)):
                result = nearest(tokens[: place + 1], size)
                targets_BT[row, place] = IGNORE if result is None else result
        batches.append(Batch(inputs_BT, targets_BT))
    predictions = fitted(batches[:1], VOCABULARY)["nearest context"](batches[1])
    assert predictions.tolist() == [answer for _, _, answer in questions(batches[1:])]


def test_the_last_place_of_a_context_is_found_in_its_own_row() -> None:
    context_BT: Tokens = np.random.default_rng(0).integers(0, 4, (6, 8))
    expected = []
    for row, tokens in enumerate(context_BT.tolist()):
        for place, token in enumerate(tokens):
            earlier = [at for at in range(place) if tokens[at] == token]
            expected.append(8 * row + earlier[-1] if earlier else -1)
    assert last_stood(context_BT).tolist() == expected


def test_uniform_guesses_are_as_right_as_reckoned() -> None:
    """Over all answers, those of the row, and the tokens so far that can be answers."""
    tests = [made(seed, rows=200) for seed in range(10, 30)]
    guesses = baseline_scores(
        Material(Sums(letters=9), TRAINING, TRAINING, tests), VOCABULARY, np.random.default_rng(0)
    )
    reckoned: dict[str, list[float]] = {"any answer": [], "row's answer": [], "value so far": []}
    for batch in tests:
        for tokens, answers in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            due = [answer for answer in answers if answer != IGNORE]
            for place, answer in enumerate(answers):
                if answer == IGNORE:
                    continue
                values = {token for token in tokens[: place + 1] if token}
                reckoned["any answer"].append(1 / 4)
                reckoned["value so far"].append((answer in values) / max(1, len(values)))
                reckoned["row's answer"] += [1 / len(set(due))] if len(due) > 1 else []
    for name, shares in reckoned.items():
        assert guesses[name].total == len(shares)
        assert guesses[name].mean == pytest.approx(np.mean(shares), abs=4 * 0.5 / np.sqrt(len(shares)))


def test_repeats_are_counted_against_what_chance_makes() -> None:
    task, random = Sums(letters=3), np.random.default_rng(0)
    seen, fresh = task.sample(random, 64), task.sample(random, 256)
    rows = {tuple(row) for row in seen.inputs_BT.tolist()}
    expected = sum(tuple(row) in rows for row in fresh.inputs_BT.tolist()) / 4
    fair, copied = task.sample(random, 64), seen
    result = repeats(Material(task, [seen], [fresh], [fair]))
    assert result.found == sum(tuple(row) in rows for row in fair.inputs_BT.tolist())
    assert result.expected == pytest.approx(expected)
    assert not result.leaks
    assert not result.covered
    leaking = repeats(Material(Sums(letters=9), [made(0)], [made(1)], [made(0)]))
    assert (leaking.found, leaking.expected, leaking.leaks, leaking.covered) == (40, 0, True, False)
    assert repeats(Material(task, [seen], [copied], [copied])).covered
