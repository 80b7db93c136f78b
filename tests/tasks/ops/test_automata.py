from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks.ops.automata import all_differ, minimal_automata, numbered

Walks = list[dict[int, int]]


def read(table: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> Walks:
    return [{letter: target for letter, target in enumerate(row) if target >= 0} for row in table.tolist()]


def strings(automaton: Walks, state: int, length: int) -> frozenset[tuple[int, ...]]:
    """All strings up to a length that can be walked from a state, by trying every one."""
    result: dict[tuple[int, ...], int] = {(): state}
    for _ in range(length):
        for string, reached in list(result.items()):
            result.update({(*string, letter): target for letter, target in automaton[reached].items()})
    return frozenset(result)


def reachable(automaton: Walks) -> set[int]:
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
def test_kept_are_those_that_reach_all_and_tell_all_apart(states: int, letters: int) -> None:
    tables = random_tables(states, letters)
    whole = [table for table in tables if len(reachable(read(table))) == states]
    result = numbered(tables)
    assert 0 < len(result) == len(whole) < len(tables)
    minimal = all_differ(result)
    assert 0 < minimal.sum() < len(result)
    for before, after, differs in zip(whole, result, minimal, strict=True):
        automaton = read(after)
        assert strings(automaton, 0, states + 1) == strings(read(before), 0, states + 1)
        # Two states that differ are told apart by a string no longer than there are states.
        languages = {strings(automaton, state, states) for state in range(states)}
        assert differs == (len(languages) == states)


def test_states_are_numbered_as_letters_first_reach_them() -> None:
    for table in numbered(random_tables(4, 3)).tolist():
        met = [0]
        for state in range(4):
            for target in table[state]:
                if target >= 0 and target not in met:
                    met.append(target)
        assert met == [0, 1, 2, 3]


@pytest.mark.parametrize(("states", "letters", "edges"), [(3, 3, 3), (5, 4, 2), (8, 8, 3)])
def test_automata_are_minimal_and_have_the_edges_they_may(states: int, letters: int, edges: int) -> None:
    tables = minimal_automata(states, letters, edges, 300)
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


def test_no_language_comes_twice() -> None:
    tables = minimal_automata(3, 3, 2, 1500)
    languages = {strings(read(table.astype(np.int8)), 0, 5) for table in tables}
    assert len(languages) == 1500


def test_the_same_are_drawn_every_time() -> None:
    minimal_automata.cache_clear()
    one = minimal_automata(4, 4, 2, 50)
    minimal_automata.cache_clear()
    np.testing.assert_array_equal(minimal_automata(4, 4, 2, 50), one)
    np.testing.assert_array_equal(minimal_automata(4, 4, 2, 80)[:50], one)


def test_more_than_there_are_cannot_be_had() -> None:
    """Of two states and two letters there are 64 automata; how many are minimal is counted here."""
    minimal = set()
    rows = [row for row in product((-1, 0, 1), repeat=2) if row != (-1, -1)]
    for table in product(rows, repeat=2):
        automaton = read(np.array(table, dtype=np.int8))
        languages = {strings(automaton, state, 3) for state in (0, 1)}
        if reachable(automaton) == {0, 1} and len(languages) == 2:
            minimal.add(strings(automaton, 0, 4))
    assert len(minimal_automata(2, 2, 2, len(minimal))) == len(minimal)
    with pytest.raises(InvalidValueError) as caught:
        minimal_automata(2, 2, 2, len(minimal) + 1)
    result = (
        f"Of {len(minimal) + 1} minimal automata with 2 states, 2 letters and up to 2 edges only {len(minimal)} were"
    )
    assert str(caught.value) == f"regular\n  {result} found.\n  Use more letters, more edges or fewer automata."
