from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations, product

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks.ops.automata import Targets, _draw, canonical, is_minimal, minimal_automata
from tests.tasks.chance import ALPHA, p_value

Transitions = list[dict[int, int]]


def read(table: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> Transitions:
    return [{letter: target for letter, target in enumerate(row) if target >= 0} for row in table.tolist()]


def strings(automaton: Transitions, state: int, length: int) -> frozenset[tuple[int, ...]]:
    """All strings up to a length that are allowed from a state, found by trying every one."""
    result: dict[tuple[int, ...], int] = {(): state}
    for _ in range(length):
        for string, reached in list(result.items()):
            result.update({(*string, letter): target for letter, target in automaton[reached].items()})
    return frozenset(result)


def reachable(automaton: Transitions) -> set[int]:
    result, new = {0}, {0}
    while new:
        new = {target for state in new for target in automaton[state].values()} - result
        result |= new
    return result


def random_tables(states: int, letters: int, count: int = 400) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    random = np.random.default_rng(states)
    targets = random.integers(0, states, (count, states, letters))
    return np.where(random.random(targets.shape) < 0.5, targets, -1).astype(np.int8)


@pytest.mark.parametrize(("states", "letters"), [(2, 2), (3, 2), (4, 3)])
def test_automata_are_kept_if_all_states_are_reached_and_minimal_if_all_states_differ(
    states: int, letters: int
) -> None:
    tables = random_tables(states, letters)
    connected = [table for table in tables if len(reachable(read(table))) == states]
    kept = canonical(tables)
    assert 0 < len(kept) == len(connected) < len(tables)
    minimal = is_minimal(kept)
    assert 0 < minimal.sum() < len(kept)
    for before, after, differs in zip(connected, kept, minimal, strict=True):
        automaton = read(after)
        assert strings(automaton, 0, states + 1) == strings(read(before), 0, states + 1)
        # Two states that differ allow different strings of a length of at most the number of states.
        languages = {strings(automaton, state, states) for state in range(states)}
        assert differs == (len(languages) == states)


def test_states_are_numbered_in_the_order_in_which_they_are_reached() -> None:
    for table in canonical(random_tables(4, 3)).tolist():
        reached = [0]
        for state in range(4):
            for target in table[state]:
                if target >= 0 and target not in reached:
                    reached.append(target)
        assert reached == [0, 1, 2, 3]


SIZES: list[tuple[int, int, int, Targets]] = [
    (3, 3, 3, "uniform"),
    (5, 4, 2, "uniform"),
    (8, 8, 3, "uniform"),
    (3, 4, 2, "distinct"),
    (8, 8, 3, "distinct"),
]


@pytest.mark.parametrize(("states", "letters", "edges", "targets"), SIZES)
def test_automata_are_minimal_and_respect_the_number_of_edges(
    states: int, letters: int, edges: int, targets: Targets
) -> None:
    tables = minimal_automata(states, letters, edges, 300, targets)
    assert tables.shape == (300, states, letters)
    degrees = (tables >= 0).sum(axis=2)
    assert (degrees.min(), degrees.max()) == (1, edges)
    for table in tables[:60]:
        automaton = read(table.astype(np.int8))
        assert reachable(automaton) == set(range(states))
        pairs = {
            (one, other)
            for one, other in product(range(states), repeat=2)
            if automaton[one].keys() != automaton[other].keys()
        }
        for _ in range(states):
            pairs |= {
                (one, other)
                for one, other in product(range(states), repeat=2)
                for letter in automaton[one].keys() & automaton[other].keys()
                if (automaton[one][letter], automaton[other][letter]) in pairs
            }
        assert len(pairs) == states * (states - 1)


def test_no_language_occurs_twice() -> None:
    tables = minimal_automata(3, 6, 2, 1500)
    languages = {strings(read(table.astype(np.int8)), 0, 5) for table in tables}
    assert len(languages) == 1500


def test_equal_arguments_give_equal_automata() -> None:
    minimal_automata.cache_clear()
    one = minimal_automata(4, 4, 2, 50)
    minimal_automata.cache_clear()
    np.testing.assert_array_equal(minimal_automata(4, 4, 2, 50), one)
    np.testing.assert_array_equal(minimal_automata(4, 4, 2, 80)[:50], one)


def test_more_automata_than_exist_are_refused() -> None:
    """There are 64 automata with two states and two letters; the minimal ones are counted here."""
    minimal = set()
    rows = [row for row in product((-1, 0, 1), repeat=2) if row != (-1, -1)]
    for table in product(rows, repeat=2):
        automaton = read(np.array(table, dtype=np.int8))
        languages = {strings(automaton, state, 3) for state in (0, 1)}
        if reachable(automaton) == {0, 1} and len(languages) == 2:
            minimal.add(strings(automaton, 0, 4))
    assert len(minimal_automata(2, 2, 2, len(minimal), "uniform")) == len(minimal)
    with pytest.raises(InvalidValueError) as caught:
        minimal_automata(2, 2, 2, len(minimal) + 1, "uniform")
    problem = (
        f"Of {len(minimal) + 1} minimal automata with 2 states, 2 letters and up to 2 edges only {len(minimal)} were"
    )
    assert str(caught.value) == f"regular\n  {problem} found.\n  Use more letters, more edges or fewer automata."


def test_targets_that_differ_are_uniform_over_the_other_states() -> None:
    """Every assignment of different other states to the letters of a state occurs equally often, for each number."""
    tables = _draw(np.random.default_rng(0), 4, 3, 3, "distinct")
    rows = Counter(map(tuple, tables[:, 1].tolist()))
    for degree in (1, 2, 3):
        expected = [
            tuple(reached[chosen.index(letter)] if letter in chosen else -1 for letter in range(3))
            for chosen in combinations(range(3), degree)
            for reached in permutations((0, 2, 3), degree)
        ]
        assert p_value([rows[row] for row in expected]) > ALPHA
        assert sum(rows[row] for row in expected) / len(tables) == pytest.approx(1 / 3, abs=0.03)
