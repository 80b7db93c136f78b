"""Random minimal automata, for tasks about regular languages.

Every state accepts and the first one starts, so that a language is all the strings that can be walked. A table says for
each state and letter where it leads, -1 where it is not allowed.

Letters  S states, A letters, N automata.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import Tokens

CHUNK, BARREN = 4096, 20
"""Automata drawn at once, and how often in a row without a new one, before there seem to be no more."""

Tables = NDArray[np.int8]
"""N x S x A."""


@cache
def minimal_automata(states: int, letters: int, edges: int, count: int) -> Tokens:
    """That many different minimal automata, the same ones every time: count x states x letters.

    Raises:
        InvalidValueError: there are not so many.
    """
    random = np.random.default_rng([states, letters, edges])
    result: dict[bytes, Tables] = {}
    barren = 0
    while len(result) < count and barren < BARREN:
        before = len(result)
        drawn = numbered(_drawn(random, states, letters, edges))
        for automaton in drawn[all_differ(drawn)]:
            result.setdefault(automaton.tobytes(), automaton)
        barren = barren + 1 if len(result) == before else 0
    if len(result) < count:
        said = f"Of {count} minimal automata with {states} states, {letters} letters and up to {edges} edges only"
        hint = "Use more letters, more edges or fewer automata."
        raise InvalidValueError(f"{said} {len(result)} were found.", hint, where="regular")
    saved = np.array(list(result.values())[:count], dtype=np.int64)
    saved.setflags(write=False)
    return saved


def _drawn(random: np.random.Generator, states: int, letters: int, edges: int) -> Tables:
    luck = random.random((CHUNK, states, letters))
    degrees = random.integers(1, edges + 1, (CHUNK, states, 1))
    bound = np.take_along_axis(
        np.sort(luck, axis=2), degrees - 1, axis=2
    )  # as many letters are below it as edges leave
    return np.where(luck <= bound, random.integers(0, states, luck.shape), -1).astype(np.int8)


def numbered(automata: Tables) -> Tables:
    """Those of which every state is reached, their states in the order in which letters first reach them.

    So two of them allow the same strings only if they are equal, once they are minimal.
    """
    _, states, letters = automata.shape
    if states > 1:  # most fail here already: a state that no edge leads to
        automata = automata[np.all([(automata == state).any(axis=(1, 2)) for state in range(1, states)], axis=0)]
    count = len(automata)
    rows = np.arange(count)
    number = np.full((count, states + 1), -1)  # the last column takes what leads nowhere
    number[:, 0] = 0
    order = np.zeros((count, states), dtype=np.int64)
    reached = np.ones(count, dtype=np.int64)
    for place in range(states):
        for letter in range(letters):
            target = automata[rows, order[:, place], letter]
            fresh = (place < reached) & (target >= 0) & (number[rows, target] < 0)
            number[rows[fresh], target[fresh]] = reached[fresh]
            order[rows[fresh], reached[fresh]] = target[fresh]
            reached += fresh
    whole = reached == states
    automata, order, number = automata[whole], order[whole], number[whole]
    moved = np.take_along_axis(automata, order[:, :, None], axis=1).reshape(-1, states * letters)
    return np.take_along_axis(number, moved % (states + 1), axis=1).reshape(-1, states, letters).astype(np.int8)


def all_differ(automata: Tables) -> NDArray[np.bool_]:
    """Whether no two states of an automaton allow the same strings.

    Two states differ if one allows a letter that the other does not, or if a letter leads them to states that differ.
    """
    _, states, letters = automata.shape
    allowed = automata >= 0
    differ = (allowed[:, :, None] != allowed[:, None]).any(axis=3)
    done = differ.sum(axis=(1, 2)) == states * (states - 1)
    if done.any() and not done.all():  # most of the large ones are done already
        done[~done] = all_differ(automata[~done])
        return done
    rows = np.arange(len(automata))[:, None, None]
    known = -1
    while (now := int(differ.sum())) > known:
        known = now
        for letter in range(letters):
            target = automata[:, :, letter]
            both = allowed[:, :, None, letter] & allowed[:, None, :, letter]
            differ |= both & differ[rows, target[:, :, None], target[:, None]]
    return (differ.sum(axis=(1, 2)) == states * (states - 1)).astype(np.bool_)
