"""Which inputs are earlier answers: by their layout in many sequences, never by a chance match in one."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import IGNORE, TASKS, Batch, Split, Task
from attnlab.tasks.io.fed_back import FedBackAnswers, question_pairs, way_of_scoring
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import build, generator
from attnlab.tasks.mixture import Mixture


def built(name: str, **options: Any) -> Task:
    entry = TASKS.entry(name)
    return entry.cls(**entry.complete(options))


def drawn(task: Task, sequences: int = 64) -> Batch:
    return task.sample(generator(3, Split.TEST), sequences)


def marked(task: Task, batch: Batch, row: int = 0) -> str:
    """One sequence, with a star after each question whose answer is the next input."""
    fed_back_T = FedBackAnswers(task).of(batch)[row]
    return " ".join(f"{token}{'*' * bool(mark)}" for token, mark in zip(batch.inputs_BT[row], fed_back_T, strict=True))


def test_the_output_after_a_marker_is_fed_back_but_for_its_last_token() -> None:
    task = built("reverse", symbols=3)
    batch = Batch(np.array([[0, 1, 1, 2, 1, 1]]), np.array([[IGNORE] * 3 + [1, 1, 0]]))
    assert marked(task, batch) == "0 1 1 2* 1* 1"


@pytest.mark.parametrize("name", ["parity", "majority", "copy-delay", "compression", "recall", "histogram", "needle"])
def test_a_given_token_that_equals_the_answer_by_chance_stays_given(name: str) -> None:
    task = build(task_spec(find_ladder(name), {}, None))
    batch = drawn(task, 1)
    fed_back_BT = FedBackAnswers(task).of(batch)
    assert fed_back_BT.any() == (name == "needle")


def test_interleaved_queries_stay_given_and_answers_are_fed_back() -> None:
    task = built("recall-stream")
    batch = drawn(task)
    fed_back_BT = FedBackAnswers(task).of(batch)
    asked_BT = batch.targets_BT != IGNORE
    assert not (asked_BT[:, 1:] & asked_BT[:, :-1]).any()
    last_B = asked_BT.shape[1] - 1 - asked_BT[:, ::-1].argmax(axis=1)
    expected_BT = asked_BT.copy()
    expected_BT[np.arange(len(last_B)), last_B] = False
    assert (fed_back_BT == expected_BT).all()


@final
class Blocks(Task):
    """Two questions of two answers each; of the second answer nothing stands in the inputs: ``a b | a ; c d | c ;``."""

    complexity = "letters"

    def __init__(self, *, letters: int = 4) -> None:
        self.letters, self.vocabulary, self.length, self.chance = letters, letters + 2, 10, 1 / letters

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        letters_B22 = random.integers(0, self.letters, (batch, 2, 2))
        bar_B21, end_B21 = np.full((2, batch, 2, 1), self.letters) + np.arange(2)[:, None, None, None]
        inputs_B25 = np.concatenate([letters_B22, bar_B21, letters_B22[..., :1], end_B21], axis=2)
        targets_B25 = np.full_like(inputs_B25, IGNORE)
        targets_B25[..., 2:4] = letters_B22
        return Batch(inputs_B25.reshape(batch, 10), targets_B25.reshape(batch, 10))


def test_questions_before_a_given_token_are_told_apart_from_those_before_a_question() -> None:
    task = Blocks()
    batch = Batch(np.array([[0, 1, 4, 0, 5, 2, 3, 4, 2, 5]]), np.full((1, 10), IGNORE))
    batch.targets_BT[0, [2, 3, 7, 8]] = [0, 1, 2, 3]
    assert FedBackAnswers(task).stands_G2.tolist() == [[False, True]]
    assert marked(task, batch) == "0 1 4* 0 5 2 3 4* 2 5"


@pytest.mark.parametrize("options", [{}, {"alphabet": "shared"}, {"token": False}])
def test_a_mixture_feeds_back_within_the_subtasks_that_do(options: dict[str, Any]) -> None:
    task = Mixture(tasks=("copy:symbols=3", "parity:bits=4", "recall-noisy"), **options)
    batch = drawn(task)
    subtask_B, fed_back_BT = task.subtask_of(batch), FedBackAnswers(task).of(batch)
    assert np.unique(subtask_B).tolist() == [0, 1, 2]
    questions_B = (batch.targets_BT != IGNORE).sum(axis=1)
    expected_B = np.where(subtask_B == 1, 0, questions_B - 1)
    assert (fed_back_BT.sum(axis=1) == expected_B).all()
    for index, alone in enumerate(task.subtasks().values()):
        own = drawn(alone)
        assert (alone.subtask_of(own) == index).all()
        assert FedBackAnswers(alone).of(own).any() == (index != 1)


def test_a_mixture_whose_sequences_do_not_tell_their_subtask_is_refused() -> None:
    task = Mixture(tasks=("copy", "parity"), token=False, alphabet="shared")
    with pytest.raises(InvalidValueError, match="no sequence tells its subtask"):
        FedBackAnswers(task).of(drawn(task))


def test_where_several_tokens_are_accepted_nothing_is_generated() -> None:
    task = built("regular")
    with pytest.raises(InvalidValueError, match="Several tokens are right at a question"):
        FedBackAnswers(task)
    assert way_of_scoring(task, rollout=False) == "teacher forcing only"


@pytest.mark.parametrize(
    ("name", "rollout", "way"),
    [
        ("reverse", False, "teacher forcing"),
        ("reverse", True, "rollout"),
        ("parity", True, "independent"),
        ("induction", False, "independent"),
    ],
)
def test_the_way_of_scoring(name: str, rollout: bool, way: str) -> None:
    assert way_of_scoring(built(name), rollout) == way


@pytest.mark.parametrize("name", [entry.name for entry in TASKS if not entry.required])
def test_in_every_task_answers_stand_in_the_next_inputs_always_or_by_chance_alone(name: str) -> None:
    task = build(task_spec(find_ladder(name), {}, None))
    if task.features:
        with pytest.raises(InvalidValueError, match="The numbers of the next token are given"):
            FedBackAnswers(task)
        return
    for one in task.subtasks().values() or [task]:
        batch = drawn(one, 512)
        pairs_BT, follows_BT = question_pairs(batch)
        equal_BT = np.zeros_like(pairs_BT)
        equal_BT[:, :-1] = batch.targets_BT[:, :-1] == batch.inputs_BT[:, 1:]
        for kind_BT in (pairs_BT & ~follows_BT, pairs_BT & follows_BT):
            share = equal_BT[kind_BT].mean() if kind_BT.any() else 0.0
            assert share == 1 or share < 0.75, "most answers, but not all"
