"""Random minimal automata, for tasks on regular languages.

All states accept and the first one is the start, so the language of an automaton is the set of strings that it allows.
A table has the next state for each state and letter, or -1 where the letter is not allowed.

Letters  S states, A letters, N automata.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import Tokens

CHUNK = 4096
"""Automata drawn at once."""
MAX_FRUITLESS_CHUNKS = 20
"""Consecutive chunks without a new automaton after which the search ends."""

Tables = NDArray[np.int8]
"""N x S x A."""
Targets = Literal["distinct", "uniform"]
"""Where the edges of a state lead: to different states other than itself, or to any states."""


@cache
def minimal_automata(states: int, letters: int, edges: int, count: int, targets: Targets = "distinct") -> Tokens:
    """Draw different minimal automata; equal arguments give the same ones.

    Args:
        states: S, the number of states.
        letters: A, the number of letters.
        edges: The largest number of letters that a state allows; below S if the targets are distinct.
        count: N, the number of automata.
        targets: ``distinct``, the default: the edges of a state lead to different states other than itself;
            ``uniform``: each leads to a uniform state.

    Returns:
        Next states, N x S x A; read-only.

    Raises:
        InvalidValueError: Too few automata exist.
    """
    random = np.random.default_rng([states, letters, edges])
    distinct: dict[bytes, Tables] = {}
    fruitless = 0
    while len(distinct) < count and fruitless < MAX_FRUITLESS_CHUNKS:
        before = len(distinct)
        drawn = canonical(_draw(random, states, letters, edges, targets))
        for automaton in drawn[is_minimal(drawn)]:
            distinct.setdefault(automaton.tobytes(), automaton)
        fruitless = fruitless + 1 if len(distinct) == before else 0
    if len(distinct) < count:
        problem = f"Of {count} minimal automata with {states} states, {letters} letters and up to {edges} edges only"
        hint = "Use more letters, more edges or fewer automata."
        raise InvalidValueError(f"{problem} {len(distinct)} were found.", hint, where="regular")
    automata = np.array(list(distinct.values())[:count], dtype=np.int64)
    automata.setflags(write=False)
    return automata


def _draw(random: np.random.Generator, states: int, letters: int, edges: int, targets: Targets) -> Tables:
    """Draw automata in which each state allows a uniform number of letters, up to ``edges``."""
    luck = random.random((CHUNK, states, letters))
    degrees = random.integers(1, edges + 1, (CHUNK, states, 1))
    # The bound of a state is the degree-th smallest number: as many letters are allowed.
    bound = np.take_along_axis(np.sort(luck, axis=2), degrees - 1, axis=2)
    if targets == "uniform":
        reached = random.integers(0, states, luck.shape)
    else:
        order = np.where(np.eye(states, dtype=bool), np.inf, random.random((CHUNK, states, states))).argsort(axis=2)
        rank = luck.argsort(axis=2).argsort(axis=2)
        reached = np.take_along_axis(order, np.minimum(rank, edges - 1), axis=2)
    return np.where(luck <= bound, reached, -1).astype(np.int8)


def canonical(automata: Tables) -> Tables:
    """Drop automata with unreachable states and number the states of the others in the order of breadth-first search.

    Two minimal automata that are numbered in this way allow the same strings only if they are equal.

    Args:
        automata: Next states, N x S x A.

    Returns:
        Next states of the automata that are kept, in the same order, at most N x S x A.
    """
    _, states, letters = automata.shape
    if states > 1:  # most are dropped here already: no edge leads to some state
        automata = automata[np.all([(automata == state).any(axis=(1, 2)) for state in range(1, states)], axis=0)]
    count = len(automata)
    rows = np.arange(count)
    number = np.full((count, states + 1), -1)  # the last column is for letters that are not allowed
    number[:, 0] = 0
    order = np.zeros((count, states), dtype=np.int64)
    reached = np.ones(count, dtype=np.int64)
    for visited in range(states):
        for letter in range(letters):
            target = automata[rows, order[:, visited], letter]
            new = (visited < reached) & (target >= 0) & (number[rows, target] < 0)
            number[rows[new], target[new]] = reached[new]
            order[rows[new], reached[new]] = target[new]
            reached += new
    complete = reached == states
    automata, order, number = automata[complete], order[complete], number[complete]
    moved = np.take_along_axis(automata, order[:, :, None], axis=1).reshape(-1, states * letters)
    return np.take_along_axis(number, moved % (states + 1), axis=1).reshape(-1, states, letters).astype(np.int8)


def is_minimal(automata: Tables) -> NDArray[np.bool_]:
    """Tell whether no two states of an automaton allow the same strings.

    Two states differ if one allows a letter that the other does not, or if a letter leads to states that differ.

    Args:
        automata: Next states, N x S x A.

    Returns:
        Bool, N.
    """
    _, states, letters = automata.shape
    allowed = automata >= 0
    differ = (allowed[:, :, None] != allowed[:, None]).any(axis=3)
    done = differ.sum(axis=(1, 2)) == states * (states - 1)
    if done.any() and not done.all():  # most of the large ones are done already
        done[~done] = is_minimal(automata[~done])
        return done
    rows = np.arange(len(automata))[:, None, None]
    previous = -1
    while (current := int(differ.sum())) > previous:
        previous = current
        for letter in range(letters):
            target = automata[:, :, letter]
            both = allowed[:, :, None, letter] & allowed[:, None, :, letter]
            differ |= both & differ[rows, target[:, :, None], target[:, None]]
    return (differ.sum(axis=(1, 2)) == states * (states - 1)).astype(np.bool_)
