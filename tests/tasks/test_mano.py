from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.tasks.mano import Mano
from tests.tasks.chance import ALPHA, counts, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[Mano, Batch]:
    task = Mano(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def infix(words: list[str]) -> str:
    """Write a prefix expression with brackets, reading from the end, as one text."""
    stack: list[str] = []
    for word in reversed(words):
        stack.append(word if word.isdigit() else f"({stack.pop()} {word} {stack.pop()})")
    (text,) = stack
    return text


def left_sizes(words: list[str]) -> int:
    """Operators in the left operand of the outermost operator."""
    open_operands, index = 1, 1
    while open_operands:
        open_operands += -1 if words[index].isdigit() else 1
        index += 1
    return sum(not word.isdigit() for word in words[1:index])


def test_the_example_of_the_module() -> None:
    task = Mano(operations=3)
    inputs, targets = example(task)
    assert len(inputs) == task.length
    assert task.solve(inputs) == targets


def test_every_level_is_solved() -> None:
    assert unsolved("mano", rows=50) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"operations": 1},
        {"operations": 16},
        {"operations": 9, "fewest": 2},
        {"operations": 5, "modulus": 2, "operators": "*-"},
        {"operations": 40, "fewest": 1, "modulus": 97},
    ],
)
def test_values_are_those_of_python(options: dict[str, Any]) -> None:
    task, batch = drawn(**options)
    sizes = set()
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        words = [task.token_to_str(token) for token in tokens]
        end = words.index("=")
        assert eval(infix(words[:end])) % task.modulus == targets[end]
        assert [target for target in targets if target != IGNORE] == [targets[end]]
        assert set(words[end + 1 :]) <= {"·"}
        assert set(words[:end]) - set(map(str, range(task.modulus))) <= set(options.get("operators", "+-*"))
        sizes.add((end - 1) // 2)
    assert (min(sizes), max(sizes)) == (options.get("fewest", task.operations), task.operations)


def test_numbers_operators_and_splits_are_uniform() -> None:
    task, batch = drawn(20_000, operations=4, modulus=5)
    words = [[task.token_to_str(token) for token in tokens[:-1]] for tokens in batch.inputs_BT.tolist()]
    assert p_value(counts([left_sizes(row) for row in words], 4)) > ALPHA
    assert p_value(counts(batch.inputs_BT[:, 0] - 5, 3)) > ALPHA
    assert p_value(counts(batch.inputs_BT[:, -2], 5)) > ALPHA  # the last symbol is always a number
    # Within a left operand of three operators, the splits are uniform too.
    inner = [row[1:] for row in words if left_sizes(row) == 3]
    assert len(inner) > 4000
    assert p_value(counts([left_sizes(row) for row in inner], 3)) > ALPHA


def test_numbers_of_operators_are_uniform() -> None:
    task, batch = drawn(6000, operations=6, fewest=2)
    ends = (batch.inputs_BT == task.equals).argmax(axis=1)
    assert p_value(counts((ends - 1) // 2 - 2, 5)) > ALPHA


@pytest.mark.parametrize("operations", [1, 2])
def test_values_are_distributed_as_among_all_expressions(operations: int) -> None:
    """With two operators both shapes, operator first and number first, are equally likely."""
    values = []
    for numbers in product(range(3), repeat=operations + 1):
        for signs in product("+-*", repeat=operations):
            shapes = ["({0} {3} {1})"] if operations == 1 else ["(({0} {3} {1}) {4} {2})", "({0} {3} ({1} {4} {2}))"]
            fill = (*numbers, *[""] * (3 - len(numbers)), *signs)
            values += [eval(shape.format(*fill)) % 3 for shape in shapes]
    _, batch = drawn(20_000, operations=operations, modulus=3)
    shares = counts(values, 3) / len(values)
    assert p_value(counts(batch.query_targets(), 3), shares) > ALPHA
    assert p_value(counts(batch.query_targets(), 3)) < ALPHA


def test_chance_is_the_share_of_the_most_frequent_value() -> None:
    """A product is 0 if a factor is: of one operator, 45 of 529 products and 1 of 23 sums and differences."""
    expected = (2 / 23 + 45 / 529) / 3
    task = Mano(operations=1)
    assert task.chance == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 8192))
    assert Mano(operations=4, operators="+-").chance == pytest.approx(1 / 23, abs=1e-6)


def test_training_has_fewer_operators_too_and_the_test_has_not() -> None:
    source = Source(task_spec(find_ladder("mano"), {}, 4), seed=0)

    def sizes(batch: Batch) -> set[int]:
        return set((((batch.inputs_BT >= 23) & (batch.inputs_BT < 26)).sum(axis=1)).tolist())

    assert sizes(source.training(0, 200)) == {1, 2, 3, 4}
    assert sizes(source.task.sample(np.random.default_rng(0), 50)) == {4}


def test_more_operators_at_least_than_at_most_are_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        Mano(operations=2, fewest=3)
    assert str(caught.value) == ("mano\n  At least 3 operations are more than 2, the most.\n  Use fewest of at most 2.")
