"""Each scorer against a slow reading of its definition, sequence by sequence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.errors import UnknownNameError
from attnlab.scorer import SCORERS, find_scorer
from attnlab.scorer.base import PADDING

Reference = Callable[[Sequence[int], Sequence[int]], float]


def set_match(answers: Sequence[int], targets: Sequence[int]) -> float:
    return float(set(answers) == set(targets))


def f1(answers: Sequence[int], targets: Sequence[int]) -> float:
    common = sum((Counter(answers) & Counter(targets)).values())
    precision, recall = common / len(answers), common / len(targets)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def edit_distance(answers: Sequence[int], targets: Sequence[int]) -> float:
    @cache
    def edits(i: int, j: int) -> int:
        """Edits that make the first j targets of the first i answers."""
        if not i or not j:
            return i + j
        replaced = edits(i - 1, j - 1) + (answers[i - 1] != targets[j - 1])
        return min(edits(i - 1, j) + 1, edits(i, j - 1) + 1, replaced)

    return edits(len(answers), len(targets)) / len(targets)


def mean_squared_error(answers: Sequence[int], targets: Sequence[int]) -> float:
    return sum((one - other) ** 2 for one, other in zip(answers, targets, strict=True)) / len(targets)


REFERENCES: dict[str, Reference] = {
    "set_match": set_match,
    "f1": f1,
    "edit_distance": edit_distance,
    "mean_squared_error": mean_squared_error,
}


def padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    width = max(map(len, rows))
    return np.array([[*row, *[PADDING] * (width - len(row))] for row in rows])


def test_every_built_in_scorer_has_a_reference() -> None:
    assert {entry.name for entry in SCORERS if not entry.code.digest} == set(REFERENCES)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_scorer_is_what_it_says(name: str) -> None:
    random = np.random.default_rng(0)
    answers, targets = [], []
    for _ in range(400):
        size = int(random.integers(1, 9))
        target = random.integers(0, 4, size).tolist()
        # Some answers are right, some are the right ones in another order, some are shifted, some are random.
        kinds = [target, random.permutation(target).tolist(), [9, *target][:size], random.integers(0, 4, size).tolist()]
        answers.append(kinds[int(random.integers(4))])
        targets.append(target)
    found = find_scorer(name).score(padded(answers), padded(targets))
    expected = [REFERENCES[name](one, other) for one, other in zip(answers, targets, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("name", REFERENCES)
def test_right_answers_have_the_best_value_and_bounds_hold(name: str) -> None:
    scorer, random = find_scorer(name), np.random.default_rng(1)
    targets = random.integers(0, 5, (200, 6))
    right, wrong = scorer.score(targets, targets), scorer.score((targets + 1) % 5, targets)
    best = 1.0 if scorer.higher_is_better else 0.0
    assert set(right.tolist()) == {best}
    assert (wrong < right).any() if scorer.higher_is_better else (wrong > right).all()
    low, high = scorer.bounds or (0.0, math.inf)
    assert ((low <= wrong) & (wrong <= high)).all()


@pytest.mark.parametrize("name", REFERENCES)
def test_the_example_of_the_module(name: str) -> None:
    examples = {
        "set_match": [("cab", "abc", 1.0), ("aab", "abb", 1.0), ("abd", "abc", 0.0)],
        "f1": [("bada", "abca", 0.75)],
        "edit_distance": [("acde", "abcd", 0.5)],
        "mean_squared_error": [("ac", "ba", 2.5)],
    }
    for answers, targets, value in examples[name]:
        rows = (np.array([[ord(letter) for letter in word]]) for word in (answers, targets))
        assert find_scorer(name).score(*rows).tolist() == [value]


def test_an_unknown_scorer_is_refused_with_the_closest_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'set_match'"):
        find_scorer("set_mach")
