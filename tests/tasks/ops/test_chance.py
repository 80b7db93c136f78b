"""Tests of chance: the family of blind guesses, and that no built-in task declares less than the best of them."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from attnlab.config.ladder import Ladder
from attnlab.tasks import IGNORE, Batch, Split, Task
from attnlab.tasks.copying import Copy
from attnlab.tasks.copying_selective import SelectiveCopy
from attnlab.tasks.counting import Majority, ModularCounting
from attnlab.tasks.io.ladders import builtin_ladders, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tasks.mixture import Mixture
from attnlab.tasks.needle import Needle
from attnlab.tasks.ops.blind_guesses import fit_blind_guesses
from attnlab.tasks.ops.chance import Chance, best_blind_guess, clustered_mean, measure_chance
from attnlab.tasks.parity import Parity
from attnlab.tasks.sorting import Unique
from attnlab.tasks.square_root import SquareRoot
from attnlab.testing._numbers import fit_number_guesses

FIRST_STREAM = 100
"""The samples of these tests are none of those that chance is measured on."""
STANDARD_ERRORS = 4.5
MAX_TOKENS = 2**16


def samples(task: Task) -> tuple[Batch, Batch]:
    """One sample to fit on, one to score on; of the test where training asks more."""
    split = Split.TEST if task.asks_more_in_training else Split.TRAIN
    source, rows = task.for_split(split), min(4096, max(64, MAX_TOKENS // task.length))
    first, second = (source.sample(np.random.default_rng([FIRST_STREAM, part]), rows) for part in range(2))
    return first, second


@pytest.mark.parametrize("ladder", builtin_ladders(), ids=lambda ladder: ladder.name)
def test_no_blind_guess_is_better_than_the_declared_chance(ladder: Ladder) -> None:
    """Every level of every ladder; a measured chance has the standard error of another sample of the same size."""
    for level in dict.fromkeys((*ladder.levels, *ladder.evaluate)):
        task = build(task_spec(ladder, {}, level))
        assert task.chance < 0.95, f"{level}: a guess solves it"
        fitted, scored = samples(task)
        guesses = fit_number_guesses([fitted]) if task.features else fit_blind_guesses([fitted], task.vocabulary)
        for name, guess in guesses.items():
            mean, standard_error = clustered_mean([scored], [guess(scored)])
            tolerance = STANDARD_ERRORS * max(2**0.5 * standard_error, 1 / len(scored.inputs_BT))
            assert mean <= task.chance + tolerance, f"{level}: {name} has {mean:.4f}, declared {task.chance:.4f}"


@pytest.mark.parametrize("ladder", builtin_ladders(), ids=lambda ladder: ladder.name)
def test_chance_of_an_exact_match_is_a_share_and_at_most_that_of_one_answer(ladder: Ladder) -> None:
    task = build(task_spec(ladder, {}, None))
    assert 0 <= task.exact_match_chance <= 1
    if not task.subtasks():
        assert task.exact_match_chance <= task.chance + 1e-9


def test_square_root_of_four_bits_has_a_constant_answer() -> None:
    """Listed: roots of 1 .. 15, whose first bit is one, written as two bits, drawn as the task draws numbers."""
    task = SquareRoot(bits=4)
    targets = np.concatenate([samples(task)[part].query_targets() for part in range(2)])
    assert measure_chance(task).guess == "constant"
    assert task.chance == pytest.approx(np.bincount(targets).max() / len(targets), abs=0.02)
    assert task.chance > 0.7


@pytest.mark.parametrize(
    ("word", "level", "least"), [("binary-addition", 5, 0.60), ("modular-counting", 2, 0.48), ("needle", 16, 0.29)]
)
def test_ladders_on_which_a_blind_guess_beat_the_declared_chance(word: str, level: int, least: float) -> None:
    ladder = next(ladder for ladder in builtin_ladders() if ladder.name == word)
    assert build(task_spec(ladder, {}, level)).chance > least


def test_counting_two_letters_is_right_half_of_the_time_by_position() -> None:
    """Listed: the count of a after one and after two letters, all four strings."""
    counts = [[bits[0], sum(bits)] for bits in product((0, 1), repeat=2)]
    expected = np.mean([max(Counter(column).values()) / 4 for column in zip(*counts, strict=True)])
    assert ModularCounting(symbols=2).chance == pytest.approx(expected, abs=0.02)


def test_one_letter_to_copy_is_no_level_and_has_chance_one() -> None:
    assert SelectiveCopy(symbols=1).chance == SelectiveCopy(symbols=1).exact_match_chance == 1
    ladder = next(ladder for ladder in builtin_ladders() if ladder.name == "selective-copy")
    assert 1 not in ladder.levels


@pytest.mark.parametrize("task", [Copy(symbols=3, alphabet=3), Needle(digits=3), Unique(symbols=9, distinct=4)])
def test_a_closed_form_is_what_is_measured(task: Task) -> None:
    measured = measure_chance(task)
    assert task.chance == pytest.approx(measured.accuracy, abs=STANDARD_ERRORS * max(measured.standard_error, 1e-6))


def test_uniform_and_seen_guesses_by_loops() -> None:
    """Accuracies of each answer, computed one at a time."""
    batch = Batch(np.array([[0, 2, 1, 2], [3, 3, 3, 0]]), np.array([[IGNORE, 2, 0, 2], [IGNORE, 0, 3, 0]]))
    guesses = fit_blind_guesses([batch], 4)
    answers = {0, 2, 3}
    expected = []
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        for position, target in enumerate(targets):
            if target != IGNORE:
                seen = set(tokens[: position + 1]) & answers
                expected.append((target in seen) / len(seen))
    assert guesses["seen"](batch).tolist() == pytest.approx(expected)
    assert guesses["any answer"](batch).tolist() == pytest.approx([1 / 3] * 6)
    assert guesses["constant"](batch).tolist() == [0, 1, 0, 1, 0, 1]
    assert guesses["position"](batch).sum() == guesses["answer index"](batch).sum() == 1 + 1 + 1


def test_accepted_tokens_count_for_every_guess() -> None:
    batch = Batch(np.array([[0, 1, 2]]), np.array([[IGNORE, 1, 2]]), np.array([[0, 1], [2, IGNORE]]))
    guesses = fit_blind_guesses([batch], 3)
    assert guesses["any answer"](batch).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert guesses["seen"](batch).tolist() == pytest.approx([1, 1 / 3])


def test_a_fitted_guess_is_not_scored_on_what_it_is_fitted_on() -> None:
    """Answers that are uniform at each of many positions: a table of a few sequences would seem better than chance."""
    random = np.random.default_rng(0)
    first, second, third = (Batch(*2 * [random.integers(0, 2, (9, 50))]) for _ in range(3))
    shuffled = [Batch(batch.inputs_BT, random.permuted(batch.inputs_BT, axis=0)) for batch in (first, second, third)]
    assert best_blind_guess(shuffled[0], shuffled[1], shuffled[2], 2).accuracy == pytest.approx(0.5, abs=0.05)


def test_an_exact_match_of_answers_that_go_together_is_more_than_the_product() -> None:
    """Listed: all strings of eight bits; a majority of ones at all prefixes, or never."""
    leads = np.cumsum([[2 * bit - 1 for bit in bits] for bits in product((0, 1), repeat=8)], axis=1)
    expected = (leads <= 0).all(axis=1).mean()
    task = Majority(bits=8)
    assert task.exact_match_chance == pytest.approx(expected, abs=0.02)
    assert task.exact_match_chance > 10 * task.chance**8


def test_the_same_task_has_the_same_chance_and_samples_without_targets_have_none() -> None:
    first, second = (Parity(bits=4).chance for _ in range(2))
    assert first == second
    empty = Batch(np.zeros((2, 3), dtype=np.int64), np.full((2, 3), IGNORE))
    assert best_blind_guess(empty, empty, empty, 2) == Chance("any answer", 0.0, float("inf"), 0.0)


def test_a_mixture_is_the_mean_of_its_subtasks() -> None:
    mixture = Mixture(tasks=("copy", "parity"))
    alone = mixture.subtasks()
    assert alone["copy"].chance == Copy(symbols=4).chance
    assert alone["parity"].chance == Parity(bits=2).chance
    assert mixture.chance == pytest.approx((4 * alone["copy"].chance + 2 * alone["parity"].chance) / 6)
    mean = (alone["copy"].exact_match_chance + alone["parity"].exact_match_chance) / 2
    assert mixture.exact_match_chance == pytest.approx(mean)
