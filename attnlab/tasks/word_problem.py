"""Word problem: predict the product so far of elements of a group.

    inputs   213  132  132          S3: a permutation by its images of 1, 2, 3
    targets  213  231  213

    inputs   3  4  1                Z5: addition modulo 5
    targets  3  2  3

The elements are uniform, and so is every product. Every position has a target. Groups are Zn (cyclic), Sn (symmetric),
An (alternating), and direct products of these, such as A4xZ5. Permutations multiply as functions: in g h the right one
acts first. Z60, A4xZ5 and A5 have sixty elements each. Z60 is abelian, A4xZ5 is solvable, A5 and S5 are neither.

Source   Merrill et al., "The illusion of state in state-space models", arXiv:2404.08819, and its code.
Theirs   k -> length, S5 and A4_x_Z5 -> S5 and A4xZ5.
Differs  fresh sequences instead of a fixed set of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import Batch, Task, Tokens, register

MOST = 120
"""Largest number of elements of a group; S5 has as many."""
LARGEST = {"Z": 120, "S": 5, "A": 5}


Group = Annotated[
    str,
    Field(
        pattern=r"^[ZSA][1-9]\d*(x[ZSA][1-9]\d*)*$",
        description="Zn, Sn or An with a number n, or a product written with x, as in A4xZ5",
    ),
]


@register("word-problem", source="arXiv:2404.08819")
@final
class WordProblem(Task):
    """Predict the product so far of elements of a group.

    Options:
        length: Tokens of a sequence.
        group: Zn, Sn or An, or a direct product written with x, such as A4xZ5.
    """

    complexity = "length"

    def __init__(
        self,
        *,
        length: Annotated[int, Field(ge=1)] = 8,
        group: Group = "S3",
    ) -> None:
        self.group, self.length = group, length
        self.words, self.table = multiplication(group)
        self.vocabulary = len(self.words)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform elements; the targets are their products."""
        inputs_BT = random.integers(0, self.vocabulary, (batch, self.length))
        targets_BT = inputs_BT.copy()
        for position in range(1, self.length):
            targets_BT[:, position] = self.table[targets_BT[:, position - 1], inputs_BT[:, position]]
        return Batch(inputs_BT, targets_BT)

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Apply the elements to every point of every factor, the last element first."""
        factors = self.group.split("x")
        targets = []
        for end in range(1, len(tokens) + 1):
            words = [self.words[token].split(",") for token in tokens[:end]]
            products = []
            for index, factor in enumerate(factors):
                word = [parts[index] for parts in words]
                if factor[0] == "Z":
                    products.append(str(sum(map(int, word)) % int(factor[1:])))
                    continue
                images = ""
                for point in range(1, int(factor[1:]) + 1):
                    for permutation in reversed(word):
                        point = int(permutation[point - 1])
                    images += str(point)
                products.append(images)
            targets.append(self.words.index(",".join(products)))
        return targets

    def token_to_str(self, token: int) -> str:
        """Elements of a cyclic group as numbers, permutations by their images, factors separated by commas."""
        return self.words[token]


def multiplication(group: str) -> tuple[list[str], Tokens]:
    """Names of the elements of a group, and its multiplication table.

    Args:
        group: Zn, Sn or An, or a direct product written with x, such as ``A4xZ5``.

    Returns:
        The names, the neutral element first, and the table: entry (g, h) is the index of g h, G x G.

    Raises:
        InvalidValueError: The group has too many elements, or only one.
    """
    words, table = [""], np.zeros((1, 1), dtype=np.int64)
    for factor in group.split("x"):
        kind, degree = factor[0], int(factor[1:])
        if degree > LARGEST[kind]:
            hint = f"Use at most {kind}{LARGEST[kind]}."
            raise InvalidValueError(f"{factor} has more than {MOST} elements.", hint, where="word-problem")
        more, other = _cyclic(degree) if kind == "Z" else _permutations(degree, even=kind == "A")
        if len(words) * len(more) > MOST:
            problem = f"{group} has at least {len(words) * len(more)} elements; at most {MOST} are possible."
            raise InvalidValueError(problem, "Use smaller factors.", where="word-problem")
        words = [f"{one},{two}" if one else two for one in words for two in more]
        table = np.kron(table, np.ones_like(other)) * len(more) + np.tile(other, table.shape)
    if len(words) == 1:
        raise InvalidValueError(
            f"{group} has only one element.", "Use a group with at least two elements.", where="word-problem"
        )
    return words, table


def _cyclic(order: int) -> tuple[list[str], Tokens]:
    """Names and multiplication table of a cyclic group."""
    elements = np.arange(order)
    return [str(element) for element in elements], (elements[:, None] + elements) % order


def _permutations(degree: int, even: bool) -> tuple[list[str], Tokens]:
    """Names and multiplication table of the symmetric group, or of the alternating group."""
    images = np.array([image for image in permutations(range(degree)) if not (even and _inversions(image) % 2)])
    digits = degree ** np.arange(degree)
    # Products by composition: the images of the left one at the images of the right one, looked up by their digits.
    numbers = images @ digits
    order = np.argsort(numbers)
    products = images[np.arange(len(images))[:, None, None], images[None]] @ digits
    table = order[np.searchsorted(numbers, products, sorter=order)]
    return ["".join(str(point + 1) for point in image) for image in images], table


def _inversions(images: Sequence[int]) -> int:
    """Number of pairs of points that a permutation reverses."""
    return sum(one > other for one, other in combinations(images, 2))
