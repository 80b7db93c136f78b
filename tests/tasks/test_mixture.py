"""Mixtures: targets of each subtask, weights, names, alphabets, levels, and separate evaluation of subtasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from attnlab.errors import AttnlabError
from attnlab.tasks import IGNORE, TASKS, Split, Task
from attnlab.tasks.copying import Copy
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, build
from attnlab.tasks.parity import Parity

SUBTASKS = ("copy:symbols=3,alphabet=4", "parity:bits=5")


def mixture(**options: Any) -> Task:
    entry = TASKS.entry("mixture")
    return entry.cls(**entry.complete({"tasks": SUBTASKS, **options}))


def draw(task: Task, rows: int = 400, seed: int = 0) -> tuple[Any, Any]:
    batch = task.sample(np.random.default_rng(seed), rows)
    return batch.inputs_BT, batch.targets_BT


def test_a_subtask_has_its_own_targets_with_its_token_ids_offset() -> None:
    task = mixture()
    inputs, targets = draw(task.subtasks()["parity"], rows=8)
    assert (inputs[:, 0] == 5 + 2 + 1).all()  # the second name token, after five tokens of copy and two of parity
    bits = inputs[:, 1:] - 5
    assert bits.shape == (8, 5)
    assert set(np.unique(bits)) == {0, 1}
    np.testing.assert_array_equal(targets[:, 1:] - 5, np.cumsum(bits, axis=1) % 2)
    assert (targets[:, 0] == IGNORE).all()


def test_shared_alphabets_use_the_same_ids() -> None:
    task = mixture(alphabet="shared")
    assert task.vocabulary == 5 + 2 + 1
    inputs, _ = draw(task.subtasks()["parity"], rows=8)
    assert set(np.unique(inputs[:, 1:])) == {0, 1}


def test_shorter_subtasks_are_padded_with_unsupervised_positions() -> None:
    task = mixture()
    inputs, targets = draw(task)
    parity = inputs[:, 0] == 8
    assert inputs.shape[1] == 7
    assert (inputs[parity, 6] == task.vocabulary - 1).all()
    assert (targets[parity, 6] == IGNORE).all()
    assert not (inputs[~parity] == task.vocabulary - 1).any()


@pytest.mark.parametrize(("weights", "share"), [((), 0.5), ((1.0, 3.0), 0.75)])
def test_subtasks_are_drawn_by_their_weights(weights: tuple[float, ...], share: float) -> None:
    inputs, _ = draw(mixture(weights=weights), rows=4000)
    second = int((inputs[:, 0] == 8).sum())
    assert binomtest(second, 4000, share).pvalue > 1e-4
    assert binomtest(second, 4000, share - 0.1).pvalue < 1e-4


def test_chance_weights_subtasks_by_their_supervised_positions() -> None:
    copying, parity = Copy(symbols=3, alphabet=4).chance, Parity(bits=5).chance
    assert mixture().chance == pytest.approx((3 * copying + 5 * parity) / 8)
    assert mixture().subtasks()["copy"].chance == copying


def test_the_level_is_that_of_every_subtask() -> None:
    levels = find_ladder("copy").levels
    for level in (0, 2):
        task: Any = mixture(tasks=("copy", "parity:bits=5"), level=level)
        assert isinstance(task.parts[0], Copy)
        assert task.parts[0].symbols == levels[level]
        assert task.parts[1].bits == 5


def test_the_spec_contains_the_ladders_of_the_subtasks() -> None:
    spec = task_spec(find_ladder("mixture"), {}, 1)
    first = spec.options["tasks"][0]
    assert first["name"] == "copy"
    assert first["levels"] == list(find_ladder("copy").levels)
    again = build(spec)
    assert again.vocabulary == Source(spec, 0).vocabulary
    assert task_spec(find_ladder("mixture"), {"tasks": spec.options["tasks"]}, 1) == spec


def test_subtasks_are_evaluated_separately() -> None:
    source = Source(task_spec(find_ladder("mixture"), {"tasks": SUBTASKS}, 0), seed=3)
    (batch,) = source.held_out(Split.TEST, 16, 16, source.task.subtasks()["copy"])
    assert (batch.inputs_BT[:, 0] == batch.inputs_BT[0, 0]).all()
    assert source.task.token_to_str(int(batch.inputs_BT[0, 0])) == "<copy>"


def test_two_subtasks_of_the_same_name_are_distinct() -> None:
    task = mixture(tasks=("parity:bits=2", "parity:bits=3"))
    assert list(task.subtasks()) == ["parity", "parity-2"]
    assert len({task.token_to_str(token) for token in range(task.vocabulary)}) == task.vocabulary


def test_without_name_tokens_and_with_a_shared_alphabet_there_is_no_solver() -> None:
    task = mixture(token=False, alphabet="shared")
    assert task.solve([0, 1, 2]) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"count": 3},
            "mixture\n  A count of 3 is more than the 2 tasks.\n  Use a count of at most 2, or name more tasks.",
        ),
        ({"weights": (1.0,)}, "mixture\n  1 weights are given for 2 tasks.\n  Give one weight for each task, or none."),
        (
            {"tasks": ("copy",), "level": 9},
            "  copy has no level 9.\n  Its levels are 0 to 4; write copy:symbols=...",
        ),
        ({"tasks": ("mixture",)}, "mixture: mixture\n  A mixture cannot be a subtask of a mixture."),
        ({"tasks": ("copi",)}, "did you mean 'copy'?"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        mixture(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize("alphabet", ["disjoint", "shared"])
@pytest.mark.parametrize("token", [True, False])
def test_a_subtask_keeps_its_chance_baseline_and_intended_shortcut(alphabet: str, token: bool) -> None:
    """Path-star has its own chance baseline and recall an intended shortcut; parity has neither."""
    tasks = ("parity:bits=5", "recall", "path-star:steps=3")
    task = mixture(tasks=tasks, alphabet=alphabet, token=token)
    subtasks = task.subtasks()
    assert [subtask.intended_shortcut for subtask in subtasks.values()] == ["", "nearest context", ""]
    batch = subtasks["path-star"].sample(np.random.default_rng(0), 2000)
    predictions = subtasks["path-star"].chance_baseline(np.random.default_rng(1), batch)
    assert predictions is not None
    correct = batch.correct(predictions)
    assert binomtest(int(correct.sum()), len(correct), 1 / 2).pvalue > 1e-4
    own = build(task_spec(find_ladder("path-star"), {"steps": 3}, None))
    random = np.random.default_rng
    np.testing.assert_array_equal(
        predictions - (2 + 128 if alphabet == "disjoint" else 0),
        own.chance_baseline(random(1), own.sample(random(0), 2000)),
    )
    assert task.chance_baseline(np.random.default_rng(1), task.sample(np.random.default_rng(0), 9)) is None
    assert (
        subtasks["parity"].chance_baseline(
            np.random.default_rng(1), subtasks["parity"].sample(np.random.default_rng(0), 9)
        )
        is None
    )
