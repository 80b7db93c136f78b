from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch, Split
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build
from attnlab.tasks.regular import HELD_OUT, Regular
from tests.tasks.chance import ALPHA, counts, p_value

SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)


ANY: dict[str, Any] = {"states": 3, "targets": "uniform"}
"""Three states, so that many strings are short to check; their edges lead anywhere."""


def drawn(rows: int, split: Split = Split.TRAIN, seed: int = 0, **options: Any) -> tuple[Regular, Batch]:
    task = Regular(**options).for_split(split)
    return task, task.sample(np.random.default_rng(seed), rows)


def accepted(batch: Batch) -> dict[tuple[int, int], set[int]]:
    """The accepted letters of each target, by row and position."""
    assert batch.accepted_NW is not None
    positions = np.argwhere(batch.targets_BT != IGNORE).tolist()
    return {
        (row, position): set(letters) - {IGNORE}
        for (row, position), letters in zip(positions, batch.accepted_NW.tolist(), strict=True)
    }


def walked(automaton: list[list[int]], tokens: list[int], separator: int) -> list[set[int]] | None:
    """The letters an automaton allows after each token, or None if it does not accept the tokens."""
    state, allowed = 0, []
    for token in tokens:
        state = 0 if token == separator else automaton[state][token]
        if state < 0:
            return None
        allowed.append({letter for letter, target in enumerate(automaton[state]) if target >= 0})
    return allowed


@pytest.mark.parametrize("split", SPLITS)
def test_a_sequence_has_strings_of_one_automaton_of_its_split_which_defines_the_accepted_letters(split: Split) -> None:
    task, batch = drawn(30, split, states=4, automata=300)
    first = {Split.TRAIN: 0, Split.VALIDATION: 300, Split.TEST: 300 + HELD_OUT}[split]
    count = 300 if split is Split.TRAIN else HELD_OUT
    own = task.pool[first : first + count].tolist()
    accepted_letters = accepted(batch)
    for row, tokens in enumerate(batch.inputs_BT.tolist()):
        supervised = [position for position in range(task.length) if (row, position) in accepted_letters]
        matching = [allowed for automaton in own if (allowed := walked(automaton, tokens, 4))]
        assert any(
            all(allowed[position] == accepted_letters[row, position] for position in supervised) for allowed in matching
        )


def test_the_target_is_what_followed_and_the_end_of_a_string_has_none() -> None:
    _, batch = drawn(200, states=5)
    following, targets = batch.inputs_BT[:, 1:], batch.targets_BT[:, :-1]
    np.testing.assert_array_equal(targets, np.where(following == 5, IGNORE, following))
    assert (batch.inputs_BT[:, 0] == 5).all()
    assert (batch.targets_BT[:, 0] != IGNORE).all()
    for (row, position), letters in accepted(batch).items():
        assert batch.targets_BT[row, position] in letters
        assert len(letters) <= 3


def test_the_splits_share_no_automaton() -> None:
    task = Regular(**ANY, automata=200)
    tables = {split: task.for_split(split) for split in SPLITS}
    languages = [{task.pool[at].tobytes() for at in range(one.first, one.last)} for one in tables.values()]
    assert [len(split_languages) for split_languages in languages] == [200, HELD_OUT, HELD_OUT]
    assert len(set.union(*languages)) == 200 + 2 * HELD_OUT
    assert (task.first, task.last) == (0, 200)


def test_letters_are_uniform_over_those_that_are_allowed() -> None:
    _, batch = drawn(3000, states=4, seed=3)
    targets_N = batch.targets_BT[batch.targets_BT != IGNORE]
    assert batch.accepted_NW is not None
    degrees = (batch.accepted_NW != IGNORE).sum(axis=1)
    for degree in (2, 3):
        chosen = np.argmax(batch.accepted_NW == targets_N[:, None], axis=1)[degrees == degree]
        assert p_value(counts(chosen, degree)) > ALPHA
        assert (
            p_value(counts(chosen, degree), np.arange(degree, 2 * degree) / np.arange(degree, 2 * degree).sum()) < ALPHA
        )


def test_lengths_of_strings_are_uniform() -> None:
    """Only the first string of each row; a row is long enough for it."""
    _, batch = drawn(9000, **ANY, longest=6, length=12)
    ends = np.argmax(batch.inputs_BT[:, 1:] == 3, axis=1)
    assert p_value(counts(ends - 1, 6)) > ALPHA
    assert p_value(counts(ends - 1, 6), [0.2, 0.2, 0.15, 0.15, 0.15, 0.15]) < ALPHA


def test_automata_are_drawn_evenly() -> None:
    """Each sequence counts for the automata that accept it, in equal parts."""
    task, batch = drawn(8000, **ANY, automata=4, length=40)
    own = task.pool[:4].tolist()
    seen = np.zeros(4)
    for tokens in batch.inputs_BT[:2000].tolist():
        possible = [number for number, automaton in enumerate(own) if walked(automaton, tokens, 3)]
        seen[possible] += 1 / len(possible)
    np.testing.assert_allclose(seen / 2000, 1 / 4, atol=0.05)


@pytest.mark.parametrize("options", [{}, {"states": 8, "letters": 18}, {**ANY, "longest": 3, "length": 7}])
def test_a_uniform_guess_is_accepted_at_the_uniform_accuracy(options: dict[str, Any]) -> None:
    task, batch = drawn(1000, Split.TEST, seed=9, **options)
    questions = int((batch.targets_BT != IGNORE).sum())
    predictions = np.random.default_rng(1).integers(0, task.letters, questions)
    right = int(batch.correct(predictions).sum())
    # Targets of one sequence are dependent, so that the interval is that of the 1000 sequences.
    uniform = task.uniform_accuracy
    assert right / questions == pytest.approx(uniform, abs=2 * np.sqrt(uniform * (1 - uniform) / 1000))
    assert task.chance >= uniform
    assert right / questions != pytest.approx(1 / task.letters, abs=0.03)


@pytest.mark.parametrize(("states", "longest", "length"), [(6, 4, 6), (5, 12, 64), (4, 1, 9)])
def test_the_uniform_accuracy_is_exact_for_the_automata_of_the_test(states: int, longest: int, length: int) -> None:
    """Counts the allowed letters of many sequences instead of drawing guesses."""
    task, batch = drawn(40_000, Split.TEST, states=states, automata=20, longest=longest, length=length)
    assert batch.accepted_NW is not None
    allowed = (batch.accepted_NW != IGNORE).sum(axis=1) / task.letters
    assert allowed.mean() == pytest.approx(task.uniform_accuracy, abs=4.5 * allowed.std() / np.sqrt(40_000))


def test_the_best_achievable_accuracy_is_not_known() -> None:
    assert math.isnan(Regular().best_accuracy)
    assert Regular().solve([4, 0]) is None


@pytest.mark.parametrize("level", find_ladder("regular").levels)
def test_every_level_is_drawn_in_every_stream(level: int) -> None:
    task = build(task_spec(find_ladder("regular"), {}, level))
    for split in SPLITS:
        batch = task.for_split(split).sample(np.random.default_rng(0), 20)
        assert batch.correct(batch.targets_BT[batch.targets_BT != IGNORE]).all()


def test_sizes_and_symbols() -> None:
    task = Regular(**ANY, letters=28, length=9)
    assert (task.vocabulary, task.length) == (29, 9)
    assert [task.token_to_str(token) for token in (0, 25, 26, 27, 28)] == ["a", "z", "a26", "a27", "|"]


def test_more_edges_than_letters_are_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Regular(letters=2)
    problem = "3 edges of a state need 3 different letters, more than 2."
    assert str(caught.value) == f"regular\n  {problem}\n  Use at most 2 edges."


def self_loops_and_repeats(task: Regular) -> tuple[float, float]:
    """Share of the states with an edge to themselves, and of those with two edges to one state."""
    loops, repeats, states = 0, 0, 0
    for automaton in task.pool[:500].tolist():
        for state, row in enumerate(automaton):
            reached = [target for target in row if target >= 0]
            loops, repeats, states = (
                loops + (state in reached),
                repeats + (len(set(reached)) < len(reached)),
                states + 1,
            )
    return loops / states, repeats / states


@pytest.mark.parametrize(
    "options", [{}, {"states": 8, "letters": 18}, {"states": 12}, {"states": 5, "letters": 12, "edges": 1}]
)
def test_edges_lead_to_different_other_states_as_in_regbench(options: dict[str, Any]) -> None:
    assert self_loops_and_repeats(Regular(automata=500, **options)) == (0, 0)


def test_edges_lead_to_any_state_if_asked() -> None:
    loops, repeats = self_loops_and_repeats(Regular(states=8, automata=500, targets="uniform"))
    # Of 1, 2 or 3 edges none leads to the own state: (7/8 + (7/8)^2 + (7/8)^3) / 3, before automata are dropped.
    assert loops == pytest.approx(1 - (7 / 8 + (7 / 8) ** 2 + (7 / 8) ** 3) / 3, abs=0.04)
    assert repeats == pytest.approx(1 - (1 + 7 / 8 + 7 / 8 * 6 / 8) / 3, abs=0.04)


@pytest.mark.parametrize("level", find_ladder("regular").levels)
def test_the_ladder_draws_as_regbench_does(level: int) -> None:
    task = build(task_spec(find_ladder("regular"), {"automata": 500}, level))
    assert isinstance(task, Regular)
    assert self_loops_and_repeats(task) == (0, 0)
    degrees = (task.pool >= 0).sum(axis=2)
    assert (degrees.min(), degrees.max(), task.pool.shape[1]) == (1, 3, level)


def test_more_edges_than_other_states_are_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Regular(states=3)
    problem = "3 edges of a state lead to 3 different other states, more than 2."
    hint = "Use at most 2 edges, at least 4 states, or targets=uniform."
    assert str(caught.value) == f"regular\n  {problem}\n  {hint}"
