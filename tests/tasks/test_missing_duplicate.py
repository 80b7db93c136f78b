from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.missing_duplicate import EMPTY, HIDDEN, MissingDuplicate
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


def drawn(symbols: int, rows: int = 200) -> tuple[MissingDuplicate, Batch]:
    task = MissingDuplicate(symbols=symbols)
    return task, task.sample(np.random.default_rng(0), rows)


@pytest.mark.parametrize("symbols", [2, 3, 10, 41])
def test_with_the_target_filled_in_both_halves_agree(symbols: int) -> None:
    task, batch = drawn(symbols)
    assert (task.vocabulary, task.length) == (4, symbols)
    half = symbols // 2
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert len(tokens) == symbols
        assert tokens.count(HIDDEN) == 1
        assert targets[:-1] == [IGNORE] * (symbols - 1)
        filled = [targets[-1] if token == HIDDEN else token for token in tokens]
        assert filled[:half] == filled[half : 2 * half]
        assert set(filled[: 2 * half]) <= {0, 1}
        assert filled[2 * half :] == [EMPTY] * (symbols % 2)


@pytest.mark.parametrize("symbols", [8, 9])
def test_the_hidden_position_is_uniform_over_both_halves(symbols: int) -> None:
    _, batch = drawn(symbols, 20_000)
    hidden = np.argmax(batch.inputs_BT == HIDDEN, axis=1)
    assert p_value(counts(hidden, 8)) > ALPHA
    assert p_value(counts(np.minimum(hidden, 6), 8)) < ALPHA


def test_bits_and_targets_are_uniform_at_every_hidden_position() -> None:
    _, batch = drawn(4, 20_000)
    hidden = np.argmax(batch.inputs_BT == HIDDEN, axis=1)
    other = batch.inputs_BT[np.arange(20_000), (hidden + 1) % 2]
    assert p_value(counts(8 * (other % 2) + 2 * hidden + batch.targets_BT[:, -1], 16)) > ALPHA


def test_chance_is_that_of_a_coin() -> None:
    task, batch = drawn(10, 1000)
    random = np.random.default_rng(1)
    assert at_chance(uniform_score(task, batch, random.integers(0, 2, batch.targets_BT.shape)))
    assert at_chance(uniform_score(task, batch, 1))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 4, batch.targets_BT.shape)))


@pytest.mark.parametrize(("shown", "targets"), [("011001?0", 1), ("1011?1_", 0), ("?0", 0), ("1?_", 1), ("?101", 0)])
def test_examples(shown: str, targets: int) -> None:
    tokens = ["01?_".index(sign) for sign in shown]
    assert MissingDuplicate(symbols=len(tokens)).solve(tokens) == [IGNORE] * (len(tokens) - 1) + [targets]


@pytest.mark.parametrize("symbols", [10, 20, 40, 50, 100, 200])
def test_every_level_is_solved(symbols: int) -> None:
    task, batch = drawn(symbols)
    assert [task.solve(tokens) for tokens in batch.inputs_BT.tolist()] == batch.targets_BT.tolist()


def test_symbols() -> None:
    assert "".join(map(MissingDuplicate().token_to_str, range(4))) == "01?_"
