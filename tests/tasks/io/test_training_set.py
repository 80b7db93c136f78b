"""A limited training set: exactly so many distinct sequences, each once a pass, in a new order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.specs import TaskSpec
from attnlab.tasks import IGNORE, Batch
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.tasks.io.training_set import take_rows, unseen

COPY = TaskSpec(name="copy", options={"symbols": 6, "alphabet": 8}, complexity="symbols")
RANGED = TaskSpec(name="copy", options={"symbols": 6, "alphabet": 8}, complexity="symbols", train={"symbols": "3..6"})


def keys(batch: Batch) -> list[bytes]:
    return [row.tobytes() for row in batch.inputs_BT]


def seen(source: Source, steps: int, size: int, start: int = 0) -> Counter[bytes]:
    return Counter(key for step in range(start, start + steps) for key in keys(source.training(step, size)))


@pytest.mark.parametrize("count", [8, 16, 32, 64, 100, 127, 1000])
@pytest.mark.parametrize("spec", [COPY, RANGED], ids=["one length", "ranges"])
def test_exactly_so_many_sequences_are_seen(spec: TaskSpec, count: int) -> None:
    source = Source(spec, 0, count)
    steps = 3 * (count // 64 + 5)
    assert len(seen(source, steps, 64)) == count
    assert all(len(source.training(step, 64).inputs_BT) == 64 for step in range(steps))


@pytest.mark.parametrize("count", [64, 128, 1024])
def test_each_is_seen_once_a_pass_in_a_new_order(count: int) -> None:
    source, steps = Source(COPY, 0, count), count // 64
    passes = [[key for step in range(steps) for key in keys(source.training(n * steps + step, 64))] for n in range(3)]
    assert all(len(set(one)) == count for one in passes)
    assert set(passes[0]) == set(passes[1]) == set(passes[2])
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.parametrize("count", [8, 100, 127, 1000])
def test_none_is_seen_more_than_once_more_often_than_another(count: int) -> None:
    times = seen(Source(COPY, 0, count), 40, 64)
    assert sum(times.values()) == 40 * 64
    assert max(times.values()) - min(times.values()) <= 1


def test_the_set_depends_on_the_seed_and_not_on_the_batch() -> None:
    small, large = (set(seen(Source(COPY, 0, 96), 40, size)) for size in (8, 64))
    assert small == large
    assert small != set(seen(Source(COPY, 1, 96), 40, 64))


def test_a_batch_is_a_function_of_its_step() -> None:
    source = Source(RANGED, 3, 100)
    forth = [source.training(step, 16).inputs_BT.tolist() for step in range(20)]
    back = [Source(RANGED, 3, 100).training(step, 16).inputs_BT.tolist() for step in reversed(range(20))]
    assert forth == back[::-1]


def test_more_than_there_are_is_refused_with_how_many_there_are() -> None:
    few = TaskSpec(name="copy", options={"symbols": 2, "alphabet": 2}, complexity="symbols")
    assert len(seen(Source(few, 0, 4), 9, 16)) == 4
    with pytest.raises(InvalidValueError, match="only 4 distinct sequences, of which 5 are asked for") as caught:
        Source(few, 0, 5).training(0, 16)
    assert caught.value.where == "train.train_examples"


@pytest.mark.parametrize(
    ("name", "options"),
    [("dyck", {}), ("mixture", {"tasks": ["copy", "dyck"]}), ("recall", {}), ("even-pairs", {}), ("regular", {})],
)
def test_targets_and_accepted_answers_stay_with_their_sequence(name: str, options: dict[str, Any]) -> None:
    source = Source(task_spec(find_ladder(name), options, None), 0, 50)
    for step in range(4):
        batch = source.training(step, 16)
        assert batch.correct(batch.query_targets()).all()
        for row in range(3):
            solved = source.task.solve(batch.inputs_BT[row].tolist())
            if name in ("recall", "even-pairs"):
                assert solved == batch.targets_BT[row].tolist()


def test_rows_are_taken_with_all_their_accepted_answers() -> None:
    targets = np.array([[-100, 1], [2, 3], [-100, -100]])
    batch = Batch(np.arange(6).reshape(3, 2), targets, np.array([[1, 7], [2, 8], [3, 9]]))
    taken = take_rows(batch, np.array([1, 2, 0, 1]))
    assert taken.inputs_BT.tolist() == [[2, 3], [4, 5], [0, 1], [2, 3]]
    assert taken.accepted_NW is not None
    assert taken.accepted_NW.tolist() == [[2, 8], [3, 9], [1, 7], [2, 8], [3, 9]]


def test_sequences_that_differ_after_their_last_target_alone_are_one() -> None:
    seen = Batch(np.array([[1, 2, 0], [3, 4, 5]]), np.array([[IGNORE, 7, IGNORE], [IGNORE, 8, 9]]))
    longer = np.array([[1, 2, 9, 9], [3, 4, 5, 0], [3, 4, 6, 0], [1, 2, 0, 0]])
    targets = np.array([[IGNORE, 7, IGNORE, IGNORE], [IGNORE, 8, 9, IGNORE], [IGNORE, 8, 9, IGNORE], [IGNORE, 6] * 2])
    (kept,) = unseen([Batch(longer, targets), seen], [seen])
    assert kept.inputs_BT.tolist() == longer[2:].tolist()
