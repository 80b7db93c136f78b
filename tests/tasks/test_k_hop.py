from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, Batch, Split
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.tasks.k_hop import KHop
from tests.tasks.chance import ALPHA, counts, p_value
from tests.tasks.examples import example, unsolved


def drawn(rows: int = 100, seed: int = 0, split: Split = Split.TEST, **options: Any) -> tuple[KHop, Batch]:
    task = KHop(**options)
    return task, task.for_split(split).sample(np.random.default_rng(seed), rows)


def hopped(letters: list[int], hops: int) -> list[int | None]:
    """Positions after so many hops: for each hop, search backwards for the letter."""
    reached: list[int | None] = []
    for start in range(len(letters)):
        position: int | None = start
        for _ in range(hops):
            if position is None:
                break
            occurrences = [one for one in range(position) if letters[one] == letters[position]]
            position = occurrences[-1] + 1 if occurrences else None
        reached.append(position)
    return reached


def test_the_example_of_the_module() -> None:
    task = KHop(hops=1, letters=8)
    inputs, targets = example(task)
    assert task.solve(inputs) == targets


@pytest.mark.parametrize("name", ["k-hop", "k-hop-16"])
def test_every_level_is_solved(name: str) -> None:
    assert unsolved(name, rows=10) == 0


@pytest.mark.parametrize(
    "options",
    [{"hops": 0}, {"hops": 3, "fewest_hops": 0}, {"hops": 16}, {"hops": 5, "letters": 40, "alphabet": 3}],
)
def test_targets_are_the_letters_that_the_hops_reach(options: dict[str, Any]) -> None:
    for split, undefined in ((Split.TEST, IGNORE), (Split.VALIDATION, IGNORE), (Split.TRAIN, None)):
        task, batch = drawn(split=split, **options)
        undefined = task.undefined if undefined is None else undefined
        for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
            hops, letters = int(task.token_to_str(tokens[0])), tokens[1:]
            reached = hopped(letters, hops)
            assert targets == [IGNORE, *(undefined if one is None else letters[one] for one in reached)]


def test_training_leaves_undefined_positions_out_if_asked_to() -> None:
    _, training = drawn(split=Split.TRAIN, hops=4, loss="defined")
    _, test = drawn(split=Split.TEST, hops=4)
    np.testing.assert_array_equal(training.targets_BT, test.targets_BT)


def test_no_letter_repeats_and_all_others_are_equally_frequent() -> None:
    _, batch = drawn(3000, letters=12, alphabet=4)
    letters = batch.inputs_BT[:, 1:]
    assert (letters[:, 1:] != letters[:, :-1]).all()
    assert p_value(counts(letters[:, 0], 4)) > ALPHA
    pairs = counts(4 * letters[:, 4] + letters[:, 5], 16).reshape(4, 4)
    assert p_value(pairs[~np.eye(4, dtype=bool)]) > ALPHA


def test_each_number_of_hops_is_as_frequent() -> None:
    task, batch = drawn(6000, hops=4, fewest_hops=1)
    seen = counts(batch.inputs_BT[:, 0] - task.undefined - 1, 5)
    assert seen[0] == 0
    assert p_value(seen[1:]) > ALPHA
    assert set(drawn(50, hops=3)[1].inputs_BT[:, 0].tolist()) == {5 + 3}


def test_strings_without_a_target_are_drawn_again() -> None:
    """In a string that is shorter than what is accepted, many have none."""
    task = KHop(hops=12, letters=39, alphabet=3)
    task.letters = 24
    _, reached = task._draw(np.random.default_rng(0), np.full(1000, 12))
    assert 0.05 < (reached < 0).all(axis=1).mean() < 0.95
    batch = task.sample(np.random.default_rng(0), 1000)
    assert (batch.targets_BT != IGNORE).any(axis=1).all()


@pytest.mark.parametrize(("hops", "correct"), [(1, 1 / 3), (16, 1 / 4)])
def test_a_guess_that_excludes_the_letter_itself_is_right_once_in_three_times_after_one_hop(
    hops: int, correct: float
) -> None:
    task, batch = drawn(500, hops=hops)
    positions = batch.query_positions()
    own, right = batch.inputs_BT.ravel()[positions], batch.query_targets()
    guess = (own + np.random.default_rng(2).integers(1, 4, len(own))) % 4
    assert (guess == right).mean() == pytest.approx(correct, abs=0.02)
    assert task.chance == pytest.approx(1 / 4, abs=0.01)


def test_one_run_trains_on_all_hops_and_is_tested_on_each() -> None:
    source = Source(task_spec(find_ladder("k-hop-16"), {}, 2), seed=0)
    trained = source.training(0, 500).inputs_BT[:, 0] - 5
    assert (trained.min(), trained.max()) == (0, 16)
    for level, task in {2: source.task, **source.other_levels}.items():
        assert (task.sample(np.random.default_rng(0), 5).inputs_BT[:, 0] - 5 == level).all()
    assert source.vocabulary == 4 + 1 + 17


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"hops": 2, "fewest_hops": 3},
            "At least 3 hops are more than 2, the most.\n  Use fewest_hops of at most 2.",
        ),
        ({"hops": 17}, "17 hops have no token.\n  Use at most 16 hops, or most_hops of at least 17."),
        (
            {"hops": 8, "letters": 20},
            "8 hops are rarely defined in 20 letters: a hop goes back by 3 on average.\n"
            "  Use at least 36 letters, or at most 4 hops.",
        ),
        (
            {"hops": 1, "letters": 3},
            "1 hops are rarely defined in 3 letters: a hop goes back by 3 on average.\n  Use at least 8 letters.",
        ),
    ],
)
def test_hops_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        KHop(**options)  # type: ignore[arg-type]
    assert str(caught.value) == f"k-hop\n  {message}"
