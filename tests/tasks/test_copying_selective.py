from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from math import factorial, prod
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.copying_selective import SelectiveCopy
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


def draw(rows: int = 200, seed: int = 0, **options: Any) -> tuple[SelectiveCopy, Batch]:
    task = SelectiveCopy(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def letter_positions(task: SelectiveCopy, batch: Batch) -> list[tuple[int, ...]]:
    """Positions of the letters, row by row."""
    return [tuple(np.flatnonzero(row < task.blank).tolist()) for row in batch.inputs_BT]


@pytest.mark.parametrize("letters", ["before", "anywhere"])
@pytest.mark.parametrize(("symbols", "length", "vocabulary"), [(1, 4, 4), (4, 64, 16), (31, 64, 5), (2, 9, 4)])
def test_letters_blanks_the_marker_and_a_blank_for_each_target(
    letters: str, symbols: int, length: int, vocabulary: int
) -> None:
    task, batch = draw(50, symbols=symbols, length=length, vocabulary=vocabulary, letters=letters)
    assert (task.vocabulary, task.length) == (vocabulary, length)
    blank, marker = vocabulary - 2, vocabulary - 1
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert len(tokens) == length
        assert tokens[-symbols - 1 :] == [marker] + [blank] * symbols
        string = [token for token in tokens[: -symbols - 1] if token != blank]
        assert len(string) == symbols
        assert all(0 <= letter < blank for letter in string)
        assert targets == [IGNORE] * (length - symbols) + string


def test_published_positions_put_blanks_before_uniformly_drawn_letters() -> None:
    """Three letters, four blanks: the blanks before each letter are multinomial."""
    task, batch = draw(30_000, symbols=3, length=11, letters="before")
    observed = Counter(letter_positions(task, batch))
    shares = {}
    for blanks in product(range(5), repeat=3):
        if sum(blanks) == 4:
            positions = tuple((np.cumsum(blanks) + np.arange(3)).tolist())
            shares[positions] = factorial(4) / prod(map(factorial, blanks)) / 3**4
    assert set(observed) <= set(shares)
    assert p_value([observed[key] for key in shares], list(shares.values())) > ALPHA
    assert p_value([observed[key] for key in shares]) < ALPHA


def test_the_last_letter_is_next_to_the_marker_as_published_but_not_with_anywhere() -> None:
    (task, published), (_, uniform) = (draw(500, letters=letters) for letters in ("before", "anywhere"))
    before_marker = task.length - task.symbols - 2
    assert (published.inputs_BT[:, before_marker] < task.blank).all()
    assert 0 < (uniform.inputs_BT[:, before_marker] < task.blank).mean() < 0.2


def test_anywhere_is_uniform_over_all_sets_of_positions() -> None:
    task, batch = draw(20_000, symbols=3, length=11, letters="anywhere")
    observed = Counter(letter_positions(task, batch))
    subsets = list(combinations(range(7), 3))
    assert p_value([observed[key] for key in subsets]) > ALPHA


@pytest.mark.parametrize("letters", ["before", "anywhere"])
def test_letters_are_uniform_with_replacement(letters: str) -> None:
    _, batch = draw(20_000, symbols=2, vocabulary=6, letters=letters)
    pairs = batch.targets_BT[:, -2:]
    assert p_value(counts(4 * pairs[:, 0] + pairs[:, 1], 16)) > ALPHA


@pytest.mark.parametrize("vocabulary", [4, 16])
def test_chance_is_that_of_a_guess_among_the_letters(vocabulary: int) -> None:
    task, batch = draw(1000, symbols=8, vocabulary=vocabulary)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, vocabulary - 2, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, vocabulary, batch.targets_BT.shape)))


def test_the_example_of_the_module() -> None:
    a, c, d, blank, bar = 0, 1, 2, 3, 4
    task = SelectiveCopy(symbols=3, length=10, vocabulary=5)
    tokens = [blank, c, blank, blank, a, d, bar, blank, blank, blank]
    assert task.solve(tokens) == [IGNORE] * 7 + [c, a, d]


@pytest.mark.parametrize("symbols", [1, 2, 4, 8, 16, 24])
def test_every_level_is_solved(symbols: int) -> None:
    task, batch = draw(200, symbols=symbols)
    assert [task.solve(tokens) for tokens in batch.inputs_BT.tolist()] == batch.targets_BT.tolist()


def test_the_largest_string_that_fits_is_accepted_and_a_larger_one_refused() -> None:
    SelectiveCopy(symbols=31, length=64)
    SelectiveCopy(symbols=32, length=66)
    with pytest.raises(InvalidValueError) as caught:
        SelectiveCopy(symbols=32, length=64)
    assert str(caught.value) == (
        "selective-copy\n"
        "  32 letters twice, a marker and a blank do not fit 64 tokens: 66 > 64.\n"
        "  Use at most 31 letters, or a length of at least 66."
    )


def test_token_strings() -> None:
    task = SelectiveCopy(vocabulary=5)
    assert [task.token_to_str(token) for token in range(5)] == ["0", "1", "2", "·", "|"]
