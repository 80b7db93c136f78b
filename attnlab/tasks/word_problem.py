"""Word problem: predict the product so far of elements of a group.

    inputs   213  132  132          S3: a permutation by its images of 1, 2, 3
    targets  213  231  213

    inputs   3  4  1                Z5: addition modulo 5
    targets  3  2  3

    inputs   213  _  132  _         S3, elements swaps, spread 2, asked image
    targets  .    @2 .    @2

The elements are uniform, and so is every product. Every element has a target. Groups are Zn (cyclic), Sn (symmetric),
An (alternating), and direct products of these, such as A4xZ5. Permutations multiply as functions: in g h the right one
acts first. Z60, A4xZ5 and A5 have sixty elements each. Z60 is abelian, A4xZ5 is solvable, A5 and S5 are neither.

    elements  all; or, of Sn, the swaps of two points alone, or swaps and cycles of three points
    spread    tokens per element: the element, then pauses; the target is at the last of them
    asked     the product; the image of point 1 under it; or, at the end alone, whether it is the neutral element, which
              it is in half of the sequences, all words with either answer being equally likely

Source   Merrill et al., "The illusion of state in state-space models", arXiv:2404.08819, and its code. Swaps,
         cycles and several tokens per element: Grazzi et al., "Unlocking state-tracking in linear RNNs through
         negative eigenvalues", arXiv:2411.12537. Whether a word of A5 is neutral: Yang et al., "PaTH attention",
         arXiv:2505.16381.
Theirs   k -> length, S5 and A4_x_Z5 -> S5 and A4xZ5.
Differs  fresh sequences instead of a fixed set of them. We do not know what stands between the elements in theirs of
         several tokens per element, nor how often their words are neutral. Since the right one acts first, the image of
         point 1 depends on the whole product so far, not on where the point was one element before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NoReturn, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.sizes import MAX_STEPS
from attnlab.tasks.base import IGNORE, Batch, Task, Tokens, no_targets, register
from attnlab.tasks.ops.groups import multiplication
from attnlab.tasks.ops.scans import prefix_products
from attnlab.tasks.ops.words import moving, reaches_neutral, words_with_product

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
        length: Elements to multiply.
        group: Zn, Sn or An, or a direct product written with x, such as A4xZ5.
        elements: Which elements are drawn: all, or of Sn the swaps, or swaps and cycles of three points.
        spread: Tokens per element; the element is the first, and the target stands at the last.
        asked: The product, the image of point 1 under it, or at the end whether it is the neutral element.
    """

    complexity = "length"

    def __init__(
        self,
        *,
        length: Annotated[int, Field(ge=1)] = 8,
        group: Group = "S3",
        elements: Literal["all", "swaps", "swaps+3cycles"] = "all",
        spread: Annotated[int, Field(ge=1)] = 1,
        asked: Literal["permutation", "image", "identity"] = "permutation",
    ) -> None:
        self.words, self.table = multiplication(group)
        if elements != "all" and not (group[0] == "S" and "x" not in group):
            _refuse(f"{group} has no {elements}.", "Use a symmetric group, such as S5, or elements=all.")
        if asked == "image" and (group[0] == "Z" or "x" in group):
            _refuse(f"The elements of {group} are not permutations, so that point 1 has no image.",
                    "Use a symmetric or alternating group, such as S5.")  # fmt: skip
        drawn = {"swaps": (2,), "swaps+3cycles": (2, 3)}.get(elements)
        self.elements = np.arange(len(self.words)) if drawn is None else np.array(moving(self.words, drawn))
        self.group, self.num_elements, self.spread, self.asked = group, length, spread, asked
        self.length = length * spread
        points = int(group[1:]) if asked == "image" else 0
        answers = {"image": [f"@{point + 1}" for point in range(points)], "identity": ["no", "yes"]}.get(asked, [])
        self.strings = [*self.words, *(["_"] if spread > 1 else []), *answers]
        self.vocabulary = len(self.strings)
        if asked == "identity":
            if length > MAX_STEPS:
                _refuse(f"Words of {length:,} elements with a given product are drawn step by step.",
                        f"Use a length of at most {MAX_STEPS:,}, or another question than identity.")  # fmt: skip
            self.reaches = reaches_neutral(self.table, self.elements, length)
            if self.reaches[-1, 0] in (0, 1):
                what = "elements" if elements == "all" else elements
                is_so = "always" if self.reaches[-1, 0] else "never"
                problem = f"A product of {length} {what} of {group} is {is_so} the neutral element."
                _refuse(problem, "Use another length, or elements=all.")

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw uniform elements, or words of which half have a neutral product; the targets are their products."""
        shape = batch, self.num_elements
        if self.asked == "identity":
            neutral = random.integers(0, 2, batch)
            word = words_with_product(random, self.table, self.elements, self.reaches, neutral)
        else:
            word = self.elements[random.integers(0, len(self.elements), shape)]
        products = prefix_products(lambda before, after: self.table[before, after], word)
        inputs_BT = np.full((batch, self.length), len(self.words))
        inputs_BT[:, :: self.spread] = word
        targets_BT = no_targets(inputs_BT)
        targets_BT[:, self.spread - 1 :: self.spread] = self._answers(products)
        return Batch(inputs_BT, targets_BT)

    def _answers(self, products: Tokens) -> Tokens:
        """What is asked of each product; IGNORE before the last one where only that is asked for."""
        if self.asked == "permutation":
            return products
        if self.asked == "image":
            images = np.array([int(word[0]) for word in self.words])
            return self.vocabulary - int(self.group[1:]) + images[products] - 1
        answers = np.full_like(products, IGNORE)
        answers[:, -1] = self.vocabulary - 2 + (products[:, -1] == 0)
        return answers

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Multiply the elements in the slow way, and answer at the last token of each."""
        targets = [IGNORE] * len(tokens)
        products = self._products([token for token in tokens if token < len(self.words)])
        for number, product in enumerate(products, 1):
            answer = product
            if self.asked == "image":
                answer = f"@{product[0]}"
            elif self.asked == "identity":
                answer = "yes" if product == self.words[0] else "no"
            if self.asked != "identity" or number == len(products):
                targets[number * self.spread - 1] = self.strings.index(answer)
        return targets

    def _products(self, elements: Sequence[int]) -> list[str]:
        """Apply the elements to every point of every factor, the last element first."""
        factors = self.group.split("x")
        targets = []
        for end in range(1, len(elements) + 1):
            words = [self.words[element].split(",") for element in elements[:end]]
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
            targets.append(",".join(products))
        return targets

    def token_to_str(self, token: int) -> str:
        """Numbers of a cyclic group, permutations by their images, factors with commas; images of point 1 with an @."""
        return self.strings[token]


def _refuse(problem: str, hint: str) -> NoReturn:
    """Raise an error about options that cannot be combined."""
    raise InvalidValueError(problem, hint, where="word-problem")
