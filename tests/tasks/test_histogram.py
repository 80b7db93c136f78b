from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.histogram import Histogram
from tests.tasks.chance import ALPHA, at_chance, counts, p_value, uniform_score


def draw(task: Histogram, rows: int = 200, seed: int = 0) -> Batch:
    return task.sample(np.random.default_rng(seed), rows)


def read(task: Histogram, text: str) -> list[int]:
    tokens = {task.token_to_str(token): token for token in range(task.vocabulary)}
    return [IGNORE if sign == "." else tokens[sign] for sign in text]


def test_the_examples_of_the_module() -> None:
    after, running = Histogram(symbols=5), Histogram(symbols=5, asked="running")
    assert after.solve(read(after, "caccb|caccb")) == read(after, "......31331")
    assert running.solve(read(running, "caccb")) == read(running, "11231")


TASKS = [
    *[Histogram(symbols=symbols) for symbols in (1, 4, 8, 16, 32)],
    Histogram(symbols=1, asked="running"),
    Histogram(symbols=20, alphabet=26, asked="running"),
    Histogram(symbols=64, alphabet=2),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.asked}-{task.symbols}-{task.alphabet}")
def test_labels_are_those_of_the_solver(task: Histogram) -> None:
    batch = draw(task)
    assert batch.inputs_BT.shape == (200, task.length)
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        assert task.solve(tokens) == targets


def test_the_string_occurs_twice_with_the_marker_between() -> None:
    tokens = draw(Histogram(symbols=6, alphabet=3)).inputs_BT
    np.testing.assert_array_equal(tokens[:, :6], tokens[:, 7:])
    assert (tokens[:, 6] == 3).all()
    assert tokens[:, :6].max() == 2


@pytest.mark.parametrize(("symbols", "alphabet"), [(4, 2), (3, 3)])
def test_frequencies_are_uniform_so_all_vectors_of_counts_are_equally_likely(symbols: int, alphabet: int) -> None:
    """Uniform letter frequencies make every vector of counts equally likely."""
    letters = draw(Histogram(symbols=symbols, alphabet=alphabet), 12_000).inputs_BT[:, :symbols]
    shares = (letters[:, :, None] == np.arange(alphabet)).sum(axis=1)
    _, observed = np.unique(shares @ (symbols + 1) ** np.arange(alphabet), return_counts=True)
    assert len(observed) == {(4, 2): 5, (3, 3): 10}[symbols, alphabet]
    assert p_value(observed) > ALPHA
    uniform = np.random.default_rng(1).integers(0, alphabet, letters.shape)
    _, rejected = np.unique(
        (uniform[:, :, None] == np.arange(alphabet)).sum(axis=1) @ (symbols + 1) ** np.arange(alphabet),
        return_counts=True,
    )
    assert p_value(rejected) < ALPHA


def test_letters_stand_in_any_order() -> None:
    letters = draw(Histogram(symbols=3, alphabet=2), 9000).inputs_BT[:, :3]
    single = letters[letters.sum(axis=1) == 1]
    assert p_value(counts(single.argmax(axis=1), 3)) > ALPHA


@pytest.mark.parametrize("asked", ["after", "running"])
def test_chance_is_that_of_a_uniform_guess_among_the_counts(asked: str) -> None:
    task = Histogram(symbols=6, asked=asked)  # type: ignore[arg-type]  # one of the values
    batch = draw(task, 1000)
    random = np.random.default_rng(1)
    assert set(batch.targets_BT.ravel().tolist()) - {IGNORE} == set(range(5, 11))
    assert at_chance(uniform_score(task, batch, random.integers(5, 11, batch.targets_BT.shape)))
    assert not at_chance(uniform_score(task, batch, random.integers(0, 11, batch.targets_BT.shape)))


def test_sizes_and_token_strings() -> None:
    task = Histogram(symbols=3, alphabet=2)
    assert (task.vocabulary, task.length, Histogram(symbols=3, asked="running").length) == (6, 7, 3)
    assert [task.token_to_str(token) for token in range(6)] == ["a", "b", "|", "1", "2", "3"]
