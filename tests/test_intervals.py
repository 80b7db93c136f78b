"""The clustered interval: a slow reference, its limits, and that it covers where Wilson's does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

from attnlab.intervals import EXTRA_SEQUENCES, clustered_interval, student_quantile, wilson_interval
from attnlab.records import Score, SequenceSums


def sums(correct: list[int], questions: list[int]) -> SequenceSums:
    pairs = list(zip(correct, questions, strict=True))
    return SequenceSums(
        count=len(pairs),
        correct_squared=sum(c * c for c, _ in pairs),
        correct_questions=sum(c * n for c, n in pairs),
        questions_squared=sum(n * n for _, n in pairs),
    )


def score(correct: list[int], questions: list[int], chance: float = 0.25) -> Score:
    return Score(correct=sum(correct), total=sum(questions), chance=chance, sequences=sums(correct, questions))


def reference(correct: list[int], questions: list[int]) -> tuple[float, float]:
    """The interval by its definition: a weighted list of sequences, of which the last is added."""
    size = sum(n * n for n in questions) / sum(questions)
    weight = EXTRA_SEQUENCES * (1 - 1 / size)
    z = float(student.ppf(0.975, len(questions) - 1))
    ends = []
    for added in (0.0, size):
        c, n = np.array([*correct, added]), np.array([*questions, size])
        w = np.array([*[1.0] * len(questions), weight])
        p = (w * c).sum() / (w * n).sum()
        variance = w.sum() / (w.sum() - 1) * (w * (c - p * n) ** 2).sum() / (w * n).sum() ** 2
        trials = p * (1 - p) / variance
        # Wilson's ends are the shares at distance z, in standard errors of the share itself.
        roots = np.roots([1 + z * z / trials, -2 * p - z * z / trials, p * p])
        ends.append(sorted(roots.real))
    return float(ends[0][0]), float(ends[1][1])


@pytest.mark.parametrize("seed", range(6))
def test_the_interval_is_that_of_its_definition(seed: int) -> None:
    random = np.random.default_rng(seed)
    questions = random.integers(1, 9, 12)
    correct = random.binomial(questions, random.random(12))
    expected = reference(correct.tolist(), questions.tolist())
    assert score(correct.tolist(), questions.tolist()).interval == pytest.approx(expected, abs=1e-9)


def test_with_one_question_per_sequence_it_is_wilsons() -> None:
    for right in (0, 1, 13, 20):
        assert score([1] * right + [0] * (20 - right), [1] * 20).interval == wilson_interval(right, 20)


def test_sequences_that_are_answered_as_a_whole_count_once() -> None:
    low, high = score([16] * 700 + [0] * 300, [16] * 1000).interval
    assert (low, high) == pytest.approx(wilson_interval(700, 1000), abs=1e-3)
    assert high - low > 3.5 * np.diff(wilson_interval(700 * 16, 16_000))[0]


@pytest.mark.parametrize("right", [0, 1])
def test_without_a_mistake_the_interval_is_that_of_so_many_sequences_not_questions(right: int) -> None:
    low, high = score([16 * right] * 100, [16] * 100).interval
    of_sequences = wilson_interval(100 * right, 100)
    width = high - low
    assert (low, high)[right] == right
    assert 1 <= width / (of_sequences[1] - of_sequences[0]) < 1.5
    assert width > 10 * np.diff(wilson_interval(1600 * right, 1600))[0]


def test_questions_of_a_single_sequence_say_nothing_about_others() -> None:
    assert score([3], [4]).interval == (0.0, 1.0)
    assert all(map(math.isnan, clustered_interval(0, 0, 0, 0, 0, 0)))


@pytest.mark.parametrize("degrees", [1, 2, 5, 29, 30, 31, 100, 1023, 10**6])
def test_students_quantile_is_that_of_scipy(degrees: int) -> None:
    assert student_quantile(degrees) == pytest.approx(student.ppf(0.975, degrees), abs=1e-7)


def test_scores_can_be_added() -> None:
    one, other = score([1, 2], [2, 2]), score([0, 3, 3], [1, 4, 3])
    assert one.plus(other) == score([1, 2, 0, 3, 3], [2, 2, 1, 4, 3])
    assert one.plus(other).chance == one.chance
    mixed = one.plus(score([4], [4], chance=0.75))
    assert mixed.chance == pytest.approx(0.5)
    nothing = Score(correct=0, total=0, chance=0.5, sequences=sums([], []))
    assert nothing.plus(one) == one


def test_a_score_without_sequences_says_so() -> None:
    old = Score.model_validate_json('{"correct": 7, "total": 10, "chance": 0.25, "mean": 0.7}')
    assert (old.interval_over, old.interval) == ("questions", wilson_interval(7, 10))
    assert old.plus(score([1, 2], [2, 2])).interval_over == "questions"
    new = score([1, 2], [2, 2])
    assert new.interval_over == "sequences"
    assert '"interval_over":"sequences"' in new.model_dump_json()
    assert Score.model_validate_json(new.model_dump_json()) == new


@pytest.mark.parametrize("total", [1, 3, 10, 1024, 4096, 6144, 10**7])
def test_all_right_ends_at_one_and_all_wrong_begins_at_zero(total: int) -> None:
    assert wilson_interval(total, total)[1] == 1.0
    assert wilson_interval(0, total)[0] == 0.0
    assert clustered_interval(2 * total, 2 * total, total, 4 * total, 4 * total, 4 * total)[1] == 1.0
    assert clustered_interval(0, 2 * total, total, 0, 0, 4 * total)[0] == 0.0
