from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.lookup import Lookup
from tests.tasks.chance import ALPHA, at_chance, counts, guess_score, p_value, uniform_score


def drawn(rows: int = 200, seed: int = 0, **options: Any) -> tuple[Lookup, Batch]:
    task = Lookup(**options)
    return task, task.sample(np.random.default_rng(seed), rows)


def split_at_marker(task: Lookup, tokens: list[int]) -> tuple[list[int], list[int], list[int]]:
    """The string, the n-gram, and the letters of the answer in the input."""
    bars = [position for position, token in enumerate(tokens) if token == task.alphabet]
    if task.given == "prefix":
        first, second = bars
        return tokens[first + 1 : second], tokens[:first], tokens[second + 1 :]
    (bar,) = bars
    return tokens[:bar], tokens[bar + 1 : bar + 1 + task.gram], tokens[bar + 1 + task.gram :]


def occurrences(string: list[int], gram: list[int]) -> list[int]:
    return [position for position in range(len(string)) if string[position : position + len(gram)] == gram]


@pytest.mark.parametrize("given", ["prefix", "suffix"])
@pytest.mark.parametrize(
    ("symbols", "gram", "answer", "alphabet"),
    [(2, 1, 1, 2), (16, 2, 4, 26), (64, 3, 1, 4), (9, 1, 5, 8), (18, 4, 14, 2)],
)
def test_the_ngram_occurs_once_and_the_targets_follow_it(
    given: str, symbols: int, gram: int, answer: int, alphabet: int
) -> None:
    task, batch = drawn(100, symbols=symbols, gram=gram, answer=answer, alphabet=alphabet, given=given)
    assert task.vocabulary == alphabet + 1
    assert batch.inputs_BT.shape[1] == task.length == symbols + gram + answer + (given == "prefix")
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        string, ngram, written = split_at_marker(task, tokens)
        assert (len(string), len(ngram), len(written)) == (symbols, gram, answer - 1)
        (position,) = occurrences(string, ngram)
        follows = string[position + gram : position + gram + answer]
        assert len(follows) == answer
        assert written == follows[:-1]
        assert targets == [IGNORE] * (task.length - answer) + follows


@pytest.mark.parametrize("given", ["prefix", "suffix"])
def test_strings_and_positions_are_uniform_among_those_in_which_it_occurs_once(given: str) -> None:
    task, batch = drawn(60_000, symbols=4, gram=1, answer=1, alphabet=3, given=given)
    seen: Counter[tuple[tuple[int, ...], int]] = Counter()
    for tokens in batch.inputs_BT.tolist():
        string, ngram, _ = split_at_marker(task, tokens)
        seen[tuple(string), string.index(ngram[0])] += 1
    every = [
        (string, position)
        for string in product(range(3), repeat=4)
        for position in range(3)
        if string.count(string[position]) == 1
    ]
    assert set(seen) == set(every)
    assert p_value([seen[key] for key in every]) > ALPHA
    early = [seen[key] + (seen[key] // 5 if key[1] == 0 else 0) for key in every]
    assert p_value(early) < ALPHA


def test_first_targets_are_uniform_over_the_letters() -> None:
    _, batch = drawn(20_000, symbols=6, gram=1, answer=1, alphabet=5)
    assert p_value(counts(batch.targets_BT[:, -1], 5)) > ALPHA


@pytest.mark.parametrize("given", ["prefix", "suffix"])
@pytest.mark.parametrize("alphabet", [4, 26])
def test_chance_is_that_of_a_guess_among_the_letters(given: str, alphabet: int) -> None:
    task, batch = drawn(1000, given=given, alphabet=alphabet)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, alphabet, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 2 * alphabet, batch.targets_BT.shape)))


def test_a_guess_of_the_most_frequent_letter_is_right_more_often_as_the_module_says() -> None:
    task, batch = drawn(2000, symbols=32)
    frequent = [Counter(split_at_marker(task, tokens)[0]).most_common(1)[0][0] for tokens in batch.inputs_BT.tolist()]
    assert guess_score(task, batch, np.array(frequent)[:, None]).interval[0] > 2 * task.chance


def test_the_examples_of_the_module() -> None:
    a, b, c, d, e, bar = range(6)
    suffix, prefix = (Lookup(symbols=5, gram=2, answer=2, alphabet=5, given=given) for given in ("suffix", "prefix"))
    assert suffix.solve([c, a, d, b, e, bar, a, d, b]) == [IGNORE] * 7 + [b, e]
    assert prefix.solve([a, d, bar, c, a, d, b, e, bar, b]) == [IGNORE] * 8 + [b, e]


@pytest.mark.parametrize("given", ["prefix", "suffix"])
@pytest.mark.parametrize("symbols", [8, 16, 32, 64])
def test_every_level_is_solved_from_the_question_only(given: str, symbols: int) -> None:
    task, batch = drawn(200, symbols=symbols, given=given)
    question_length = task.length - task.answer + 1
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == task.solve(tokens[:question_length] + [0] * (task.answer - 1)) == targets


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"symbols": 5},
            "An n-gram of 2 and an answer of 4 letters do not fit a string of 5 letters.\n  Use at least 6 symbols.",
        ),
        (
            {"symbols": 19, "alphabet": 4},
            "An n-gram of 2 letters of 4 is rarely unique in a string of 19 letters: 17 other positions > 4^2 = 16.\n"
            "  Use at most 18 symbols, or an alphabet of at least 5.",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Lookup(**options)  # type: ignore[arg-type]  # sizes only
    assert str(caught.value) == f"lookup\n  {message}"


@pytest.mark.parametrize("options", [{"symbols": 6}, {"symbols": 18, "alphabet": 4}, {"symbols": 19, "alphabet": 5}])
def test_the_nearest_sizes_are_accepted(options: dict[str, int]) -> None:
    drawn(20, **options)


def test_symbols() -> None:
    task = Lookup(alphabet=5)
    assert [task.token_to_str(token) for token in range(6)] == ["0", "1", "2", "3", "4", "|"]
