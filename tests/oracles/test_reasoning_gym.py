"""The task reasoning-gym against its package: items, splits, judgment, and the process with a fixed hash seed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import attnlab
from attnlab.errors import InvalidValueError, UnknownNameError
from attnlab.tasks import IGNORE, TASKS, Batch, Split
from attnlab.tasks.io.fed_back import FedBackAnswers
from attnlab.tasks.io.gym_items import HASHED, SHARING, LocalItems, WorkerItems, find_items
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.tasks.reasoning_gym import END, MARKER, ReasoningGym

package = pytest.importorskip("reasoning_gym")
pytestmark = pytest.mark.oracle
SUMS: dict[str, Any] = {"dataset": "chain_sum", "length": 72}
OPTIONS: dict[str, Any] = {"dataset": "chain_sum", "config": {"min_digits": 3, "max_digits": 4}}


def text(tokens: Any) -> str:
    return bytes(tokens).decode()


def read(batch: Batch) -> list[tuple[str, str]]:
    """Question and answer of each sequence, from its inputs and from its targets."""
    rows = []
    for tokens, targets in zip(batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True):
        start = tokens.index(MARKER)
        answer = [target for target in targets if target != IGNORE]
        assert answer[-1] == END
        assert targets[start : start + len(answer)] == answer
        assert tokens[start + 1 : start + len(answer)] == answer[:-1]
        rows.append((text(tokens[:start]), text(answer[:-1])))
    return rows


@pytest.mark.parametrize("dataset", ["chain_sum", "spell_backward", "number_sorting", "futoshiki"])
def test_sequences_are_items_of_the_package(dataset: str) -> None:
    """Each is the item of its number in a data set that the package itself makes."""
    task = ReasoningGym(dataset=dataset, length=2000).for_split(Split.TEST)
    made = package.create_dataset(dataset, seed=0, size=500, **json.loads(_fields(dataset)))
    rows = read(task.sample(np.random.default_rng(0), 6))
    numbers = find_items(dataset, 0, "{}").numbers
    for item in rows:
        number = numbers[item]
        assert number % 4 == 2
        assert (made[number]["question"], made[number]["answer"]) == item
        neighbor = package.create_dataset(dataset, seed=1, size=500, **json.loads(_fields(dataset)))
        assert neighbor[number - 1]["question"] == item[0]  # why seeds keep nothing apart


def _fields(dataset: str) -> str:
    curriculum = package.factory.create_curriculum(dataset)
    for name in curriculum.attributes:
        curriculum.set_attr_level(name, 0)
    fields = vars(curriculum.generate_configuration())
    return json.dumps({name: value for name, value in fields.items() if name not in ("seed", "size")})


def test_splits_have_other_items_and_seeds_too() -> None:
    spec = task_spec(find_ladder("reasoning-gym"), {**OPTIONS, "length": 90}, 0)
    seen: list[set[tuple[str, str]]] = []
    for seed in range(2):
        source = Source(spec, seed)
        seen.append({item for step in range(4) for item in read(source.training(step, 32))})
        seen += [
            {item for batch in source.held_out(split, 128, 64) for item in read(batch)}
            for split in (Split.VALIDATION, Split.TEST)
        ]
    assert all(len(rows) > 120 for rows in seen)
    shared = [len(one & other) for index, one in enumerate(seen) for other in seen[:index]]
    assert max(shared) <= 2  # by chance alone: there are 10^7 sums


def test_levels_are_those_of_its_curriculum_and_fields_replace_them() -> None:
    easy, hard = (ReasoningGym(dataset="chain_sum", level=level, length=400) for level in (0, 3))
    sizes = [
        np.mean([len(question) for question, _ in read(task.sample(np.random.default_rng(0), 40))])
        for task in (easy, hard)
    ]
    assert sizes[0] + 3 < sizes[1]
    fixed = ReasoningGym(dataset="chain_sum", config={"min_terms": 5, "max_terms": 5}, length=400)
    assert all(
        len(question.split(":")[1].split()) == 10 for question, _ in read(fixed.sample(np.random.default_rng(0), 9))
    )


def test_a_generated_answer_is_judged_by_the_data_set() -> None:
    """Of countdown many answers are right: a sum in another order is, and is not equal to the reference."""
    task = ReasoningGym(dataset="countdown", length=1000).for_split(Split.TEST)
    batch = task.sample(np.random.default_rng(0), 20)
    right = batch.query_targets()
    assert task.verify(batch, right).all()
    made = package.create_dataset("countdown", seed=0, size=500, **json.loads(_fields("countdown")))
    answers, expected, start = right.copy(), [], 0
    for question, answer in read(batch):
        other = " + ".join(reversed(answer.split(" + "))) if set("-*/") & set(answer) == set() else answer[::-1]
        other = other if len(other) == len(answer) else answer[::-1]
        answers[start : start + len(other)] = list(other.encode())
        number = find_items("countdown", 0, "{}").numbers[(question, answer)]
        expected += [made.score_answer(other, made[number]) >= 1] * (len(answer) + 1)
        start += len(answer) + 1
    verified = task.verify(batch, answers)
    assert verified[np.array(expected)].all()
    is_wrong = ~np.array(expected)
    np.testing.assert_array_equal(verified[is_wrong], (answers == right)[is_wrong])
    assert any(expected)
    assert not batch.correct(answers)[np.array(expected)].all()
    assert FedBackAnswers(task).any


def test_an_answer_without_an_end_is_not_right() -> None:
    task = ReasoningGym(**SUMS).for_split(Split.TEST)
    batch = task.sample(np.random.default_rng(0), 5)
    answers = np.where(batch.query_targets() == END, ord("1"), batch.query_targets())
    assert task.verify(batch, answers).tolist() == (answers == batch.query_targets()).tolist()


@pytest.mark.parametrize("dataset", HASHED)
def test_items_that_depend_on_the_hash_seed_are_those_of_hash_seed_0(dataset: str) -> None:
    worker = WorkerItems(dataset, 0, "{}")
    items = worker.items(range(8))
    assert worker.items(range(8)) == items
    code = "import json; from attnlab.tasks.io.gym_items import LocalItems; "
    code += f"print(json.dumps(LocalItems({dataset!r}, 0, '{{}}').items(range(8))))"
    made = {}
    for seed in ("0", "1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        result = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        made[seed] = [tuple(item) for item in json.loads(result.stdout)]
    assert made["0"] == items
    assert any(made[seed] != items for seed in ("1", "2", "3"))
    answers = [(number, answer) for number, (_, answer) in enumerate(items)]
    assert worker.scores(answers) == [1.0] * 8


def test_the_task_takes_that_process_for_them_alone() -> None:
    assert isinstance(find_items("chain_sum", 0, "{}"), LocalItems)
    if sys.flags.hash_randomization:
        assert isinstance(find_items("ransom_note", 0, "{}"), WorkerItems)


def test_global_randomness_is_not_changed() -> None:
    import random

    before, numpy_before = random.getstate(), np.random.get_state(legacy=False)
    for dataset in ("chain_sum", "pool_matrix"):
        ReasoningGym(dataset=dataset, length=4000).sample(np.random.default_rng(0), 3)
    assert random.getstate() == before
    np.testing.assert_equal(np.random.get_state(legacy=False), numpy_before)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("boxnet", "The data set gives no answers to learn from."),
        ("graph_color", "The data set gives no answers to learn from."),
        ("propositional_logic", "The data set gives no answers to learn from."),
        ("rush_hour", "The data set gives no answers to learn from."),
        ("composite", "It cannot be made: AssertionError: Must specify at least one dataset"),
        ("knight_swap", "It cannot be made: AssertionError: min_nodes must be >= 6"),
    ],
)
def test_data_sets_without_answers_and_those_that_refuse_their_level_are_refused(dataset: str, message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        ReasoningGym(dataset=dataset, length=100_000)
    assert str(caught.value).startswith(f"reasoning-gym:dataset={dataset}\n  {message}")


def test_a_data_set_with_a_list_of_limited_length_has_one_item_of_each_seed() -> None:
    task = ReasoningGym(dataset="gsm_symbolic", length=2000).for_split(Split.TEST)
    (item,) = read(task.sample(np.random.default_rng(0), 1))
    number = find_items("gsm_symbolic", 0, "{}").numbers[item]
    own = package.create_dataset("gsm_symbolic", seed=number, size=500)[0]
    assert (own["question"], own["answer"]) == item


def test_a_run_is_trained_tested_and_has_the_version_of_the_package() -> None:
    train: dict[str, Any] = {"max_steps": 2, "batch_size": 4, "test_examples": 8, "eval_every": 2, "rollout": True}
    model: dict[str, Any] = {"layers": 1, "width": 8, "heads": 1}
    (record,) = attnlab.train("reasoning-gym:dataset=chain_sum,length=72", "softmax", model=model, train=train,
                              store=None, device="cpu")  # fmt: skip
    assert record.status == "done"
    assert record.exact_match.total == 8
    assert record.spec.task.options["package"] == importlib.metadata.version("reasoning-gym")
    task = ReasoningGym(**SUMS)
    assert pickle.loads(pickle.dumps(task)).length == 72


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "chain_sums"}, "There is no data set 'chain_sums'; did you mean 'chain_sum'?"),
        ({"dataset": "chain_sum", "level": 99}, "The data set has no level 99.\n  Its levels are 0 to "),
        ({"dataset": "chain_sum", "length": 9}, "16 questions with their answers have "),
        ({"dataset": "chain_sum", "config": {"min_term": 1}}, "It cannot be made: "),
        ({"dataset": "chain_sum", "package": "0.0.1"}, "The run had version 0.0.1 of the package"),
    ],
)
def test_what_cannot_be_made_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidValueError, UnknownNameError)) as caught:
        ReasoningGym(**options)
    assert message in str(caught.value)


def test_the_data_set_has_to_be_named() -> None:
    with pytest.raises(InvalidValueError, match="Name a data set of the package"):
        TASKS.entry("reasoning-gym").complete({})


@pytest.mark.parametrize("dataset", SHARING)
def test_data_sets_that_change_one_anothers_items_are_kept_apart(dataset: str) -> None:
    easy = find_items(dataset, 0, "{}")
    before = easy.items([1, 2, 3])
    hard = find_items(dataset, 3, "{}").items([1, 2, 3])
    assert easy.items([1, 2, 3]) == before
    assert before != hard
