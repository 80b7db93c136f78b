"""Words over elements of a group: which elements to draw, and words whose product is the neutral element, or is not.

Letters  B words, N elements of a word, G elements of the group, S elements to draw from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attnlab.tasks.batch import Tokens


def moving(images: Sequence[str], points: Sequence[int]) -> list[int]:
    """Find the permutations that move so many points.

    Args:
        images: The images of 1, 2, ... of each permutation, as in ``213``.
        points: Accepted numbers of moved points: 2 for swaps, 3 for cycles of three.

    Returns:
        Indices of the permutations, in order.
    """
    moved = [sum(image != str(point) for point, image in enumerate(word, 1)) for word in images]
    return [index for index, count in enumerate(moved) if count in points]


def reaches_neutral(table: Tokens, elements: Tokens, length: int) -> NDArray[np.float64]:
    """Compute the probability that uniform elements lead from each element to the neutral one.

    Args:
        table: Multiplication table, G x G; element 0 is neutral.
        elements: The elements that are drawn, S.
        length: N, the number of elements of a word.

    Returns:
        Entry (m, g): the probability that g times m uniform elements is neutral, (N + 1) x G.
    """
    rows = [np.eye(1, len(table))[0]]
    for _ in range(length):
        rows.append(rows[-1][table[:, elements]].mean(axis=1))
    return np.array(rows)


def words_with_product(
    random: np.random.Generator, table: Tokens, elements: Tokens, reaches: NDArray[np.float64], neutral_B: Tokens
) -> Tokens:
    """Draw uniform words of those whose product is the neutral element, or of those whose product is not.

    Args:
        random: The only source of randomness.
        table: Multiplication table, G x G; element 0 is neutral.
        elements: The elements to draw from, S.
        reaches: What ``reaches_neutral`` gives for them, (N + 1) x G.
        neutral_B: 1 for each word whose product is the neutral element, 0 for the others, B.

    Returns:
        Indices of elements, B x N.
    """
    length, is_neutral = len(reaches) - 1, neutral_B[:, None] == 1
    drawn = random.integers(0, len(elements), (len(neutral_B), length))
    uniform = random.random((length, len(neutral_B), 1))
    state, words = np.zeros(len(neutral_B), dtype=np.int64), np.empty((len(neutral_B), length), dtype=np.int64)
    for position in range(length):
        later = reaches[length - position - 1]
        chosen = drawn[:, position]
        if np.ptp(later) > 0:  # otherwise every element leaves as many words, and the draw stays uniform
            after = later[table[state[:, None], elements]]
            shares = np.cumsum(np.where(is_neutral, after, 1 - after), axis=1)
            chosen = (uniform[position] * shares[:, -1:] >= shares).sum(axis=1)
        words[:, position] = elements[chosen]
        state = table[state, words[:, position]]
    return words
