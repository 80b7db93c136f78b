"""Reasoning Gym: questions and answers as text, generated and judged by the package reasoning-gym.

    inputs   1 + 1 = ? => 2                a data set of sums
    targets  . . . . . 2  end

A sequence is a question, a marker, and its answer, in UTF-8: a character of ASCII is one token, another one two to
four. The targets are the answer and ``end``. A sequence is filled up at its end; items that do not fit are drawn again.
``attnlab train --task reasoning-gym:dataset=chain_sum`` names one of the data sets of the package.

A level n sets every attribute of the data set's own curriculum to its n-th level, or to its last where it has fewer;
fields of its configuration can be set by name. An item follows from its number alone (``attnlab.tasks.io.gym_items``).
Numbers are uniform below 2^31, and have another remainder modulo 4 in each split: no item of the test is one of
training, though two items may have the same text.

With a rollout an answer is generated and judged by the data set itself: where it gives the full score, all tokens of
the answer count as right, otherwise those that are equal to the target. A generated answer has no more tokens than the
reference. Given the right earlier tokens, each is compared with the target.

Source   Stojanovski et al., "Reasoning Gym", arXiv:2505.24760, and its package, version 0.1.25.
Differs  items are numbered by us, not by its seeds, of which neighboring ones share all items but one; the four data
         sets whose items depend on Python's hash seed have those of hash seed 0.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Split, Task, Tokens, register
from attnlab.tasks.io.gym_items import PACKAGE, Item, Items, find_items, release
from attnlab.tasks.text import ESCAPES

MARKER, END, FILLER = 256, 257, 258
"""Ids after those of the bytes."""
SPLIT_CODE = {Split.TRAIN: 0, Split.VALIDATION: 1, Split.TEST: 2}
"""Remainders modulo 4 of the numbers of a split's items; all others have 3."""
NUMBERS = 2**29
"""Items of a split."""
TRIES = 20
"""Items that are drawn for each that is needed, at most."""
PROBE = 16
"""Items that are looked at when a task is built."""


@register("reasoning-gym", source="arXiv:2505.24760")
@final
class ReasoningGym(Task):
    """Answer questions of a data set of the package reasoning-gym, character by character.

    Options:
        dataset: The name of the data set, such as ``chain_sum``.
        level: Level of the data set's own curriculum; 0 is the easiest.
        config: Fields of the data set's configuration that replace those of the level.
        length: T: most bytes of question and answer, with the marker.
        package: Version of the package; filled in when a run is planned.
    """

    complexity = "level"
    cheap_to_build = False
    verifies_generated: ClassVar[bool] = True
    option_hints: ClassVar[dict[str, str]] = {"dataset": "Name a data set of the package: {part}:{option}=chain_sum."}

    def __init__(
        self,
        *,
        dataset: str,
        level: Annotated[int, Field(ge=0)] = 0,
        config: dict[str, Any] | None = None,
        length: Annotated[int, Field(ge=4)] = 256,
        package: str = "",
    ) -> None:
        self.package = release()
        if package and package != self.package:
            problem = f"The run had version {package} of the package, and {self.package} is installed."
            hint = f"Install it with: pip install '{PACKAGE}=={package}'."
            raise InvalidValueError(problem, hint, where=PACKAGE)
        self.dataset, self.level, self.length = dataset, level, length
        self.config = json.dumps(config or {}, sort_keys=True)
        self.vocabulary, self.best_accuracy, self.code = FILLER + 1, math.nan, 3
        self._check()

    def _check(self) -> None:
        """Refuse a data set without reference answers, or whose items do not fit."""
        items = self._items.items(range(PROBE))
        where = f"{PACKAGE}:dataset={self.dataset}"
        if not any(answer for _, answer in items):
            hint = "Use another data set."
            raise InvalidValueError("The data set gives no answers to learn from.", hint, where=where)
        needed = sorted(_size(item) for item in items)
        if needed[0] > self.length:
            problem = f"{PROBE} questions with their answers have {needed[0]} to {needed[-1]} bytes."
            raise InvalidValueError(problem, f"Use a length of at least {needed[-1]}.", where=where)

    @property
    def _items(self) -> Items:
        """The items; the task itself has plain values alone."""
        return find_items(self.dataset, self.level, self.config)

    @classmethod
    def resolve_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Fill in the version of the package."""
        return {**options, "package": cls(**options).package}

    def for_split(self, split: Split) -> Self:
        """The task with the items of a split."""
        split_task = copy.copy(self)
        split_task.code = SPLIT_CODE.get(split, 3)
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw items until enough of them fit."""
        drawn: list[tuple[int, Item]] = []
        for _ in range(TRIES):
            numbers = (4 * random.integers(0, NUMBERS, batch - len(drawn)) + self.code).tolist()
            made = zip(numbers, self._items.items(numbers), strict=True)
            drawn += [(number, item) for number, item in made if item[1] and _size(item) <= self.length]
            if len(drawn) == batch:
                break
        else:
            problem = f"Of {TRIES * batch} questions too few have up to {self.length} bytes with their answers."
            raise InvalidValueError(problem, "Use a larger length.", where=f"{PACKAGE}:dataset={self.dataset}")
        if self.code:  # those of training are never judged
            self._items.numbers.update((item, number) for number, item in drawn)
        inputs_BT, targets_BT = np.full((batch, self.length), FILLER), np.full((batch, self.length), IGNORE)
        for row, (_, (question, answer)) in enumerate(drawn):
            asked, answered = (np.frombuffer(text.encode(), np.uint8) for text in (question, answer))
            start, end = len(asked), len(asked) + 1 + len(answered)
            inputs_BT[row, :start], inputs_BT[row, start], inputs_BT[row, start + 1 : end] = asked, MARKER, answered
            targets_BT[row, start : end - 1], targets_BT[row, end - 1] = answered, END
        return Batch(inputs_BT, targets_BT)

    def verify(self, batch: Batch, answers_N: Tokens) -> NDArray[np.bool_]:
        """Let the data set judge each answer; a sequence that this process has not drawn has its target alone."""
        correct_N, known = batch.correct(answers_N), self._items.numbers
        row_N = batch.query_positions() // self.length
        judged: list[tuple[int, str]] = []
        places: list[Tokens] = []
        for row in np.unique(row_N).tolist():
            place, tokens = np.flatnonzero(row_N == row), batch.inputs_BT[row].tolist()
            question = _text(tokens[: tokens.index(MARKER)])
            number = known.get((question, _text(batch.targets_BT[row][batch.targets_BT[row] != IGNORE].tolist()[:-1])))
            generated = answers_N[place].tolist()
            if number is not None and END in generated and not correct_N[place].all():
                judged.append((number, _text(generated[: generated.index(END)])))
                places.append(place)
        for score, place in zip(self._items.scores(judged) if judged else [], places, strict=True):
            correct_N[place] |= score >= 1
        return correct_N

    def token_to_str(self, token: int) -> str:
        """The character where it is visible, otherwise an escape; => before the answer, a dot for what fills up."""
        if token >= MARKER:
            return ("=>", "end", "·")[token - MARKER]
        return ESCAPES.get(token) or (chr(token) if 0x20 < token < 0x7F else f"\\x{token:02x}")


def _size(item: Item) -> int:
    """Tokens of an item: question, marker and answer."""
    return len(item[0].encode()) + 1 + len(item[1].encode())


def _text(tokens: Sequence[int]) -> str:
    """The text of some tokens; what is no byte, or no UTF-8, is replaced."""
    return bytes(token if token < MARKER else 0xFF for token in tokens).decode(errors="replace")
