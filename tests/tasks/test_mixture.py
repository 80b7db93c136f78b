"""Mixtures: what each member says, weights, names, alphabets, levels, and members scored by themselves."""

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

MIXED = ("copy:symbols=3,alphabet=4", "parity:bits=5")


def medley(**options: Any) -> Task:
    entry = TASKS.entry("mixture")
    return entry.cls(**entry.complete({"members": MIXED, **options}))


def drawn(task: Task, rows: int = 400, seed: int = 0) -> tuple[Any, Any]:
    batch = task.sample(np.random.default_rng(seed), rows)
    return batch.inputs_BT, batch.targets_BT


def test_a_member_says_what_it_says_alone_with_its_tokens_moved() -> None:
    task = medley()
    inputs, targets = drawn(task.subtasks()["parity"], rows=8)
    assert (inputs[:, 0] == 5 + 2 + 1).all()  # after copy's five tokens and parity's two, the second name
    bits = inputs[:, 1:] - 5
    assert bits.shape == (8, 5)
    assert set(np.unique(bits)) == {0, 1}
    np.testing.assert_array_equal(targets[:, 1:] - 5, np.cumsum(bits, axis=1) % 2)
    assert (targets[:, 0] == IGNORE).all()


def test_shared_alphabets_use_the_same_ids() -> None:
    task = medley(alphabet="shared")
    assert task.vocabulary == 5 + 2 + 1
    inputs, _ = drawn(task.subtasks()["parity"], rows=8)
    assert set(np.unique(inputs[:, 1:])) == {0, 1}


def test_shorter_members_are_padded_where_nothing_is_asked() -> None:
    task = medley()
    inputs, targets = drawn(task)
    parity = inputs[:, 0] == 8
    assert inputs.shape[1] == 7
    assert (inputs[parity, 6] == task.vocabulary - 1).all()
    assert (targets[parity, 6] == IGNORE).all()
    assert not (inputs[~parity] == task.vocabulary - 1).any()


@pytest.mark.parametrize(("weights", "share"), [((), 0.5), ((1.0, 3.0), 0.75)])
def test_members_are_drawn_by_their_weights(weights: tuple[float, ...], share: float) -> None:
    inputs, _ = drawn(medley(weights=weights), rows=4000)
    second = int((inputs[:, 0] == 8).sum())
    assert binomtest(second, 4000, share).pvalue > 1e-4
    assert binomtest(second, 4000, share - 0.1).pvalue < 1e-4


def test_chance_weighs_members_by_what_they_ask() -> None:
    assert medley().chance == pytest.approx((3 * 0.25 + 5 * 0.5) / 8)
    assert medley().subtasks()["copy"].chance == 0.25


def test_the_level_is_the_rung_of_every_member() -> None:
    levels = find_ladder("copy").levels
    for level in (0, 2):
        task: Any = medley(members=("copy", "parity:bits=5"), level=level)
        assert isinstance(task.parts[0], Copy)
        assert task.parts[0].symbols == levels[level]
        assert task.parts[1].bits == 5


def test_what_is_planned_holds_the_ladders_written_out() -> None:
    spec = task_spec(find_ladder("mixture"), {}, 1)
    first = spec.options["members"][0]
    assert first["name"] == "copy"
    assert first["levels"] == list(find_ladder("copy").levels)
    again = build(spec)
    assert again.vocabulary == Source(spec, 0).vocabulary
    assert task_spec(find_ladder("mixture"), {"members": spec.options["members"]}, 1) == spec


def test_members_are_scored_by_themselves() -> None:
    source = Source(task_spec(find_ladder("mixture"), {"members": MIXED}, 0), seed=3)
    (batch,) = source.held_out(Split.TEST, 16, 16, source.task.subtasks()["copy"])
    assert (batch.inputs_BT[:, 0] == batch.inputs_BT[0, 0]).all()
    assert source.task.token_to_str(int(batch.inputs_BT[0, 0])) == "<copy>"


def test_two_of_a_kind_are_told_apart() -> None:
    task = medley(members=("parity:bits=2", "parity:bits=3"))
    assert list(task.subtasks()) == ["parity", "parity-2"]
    assert len({task.token_to_str(token) for token in range(task.vocabulary)}) == task.vocabulary


def test_without_names_and_with_one_alphabet_no_solver_can_know() -> None:
    task = medley(token=False, alphabet="shared")
    assert task.solve([0, 1, 2]) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 3}, "mixture\n  3 tasks are more than the 2 members.\n  Use at most 2, or name more members."),
        ({"weights": (1.0,)}, "mixture\n  1 weights for 2 members.\n  Give one weight for each member, or none."),
        (
            {"members": ("copy",), "level": 9},
            "  copy has no level 9.\n  Its levels are 0 to 4; write copy:symbols=...",
        ),
        ({"members": ("mixture",)}, "mixture: mixture\n  A mixture cannot be a subtask of a mixture."),
        ({"members": ("copi",)}, "did you mean 'copy'?"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        medley(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize("alphabet", ["disjoint", "shared"])
@pytest.mark.parametrize("token", [True, False])
def test_a_member_guesses_and_intends_what_it_does_alone(alphabet: str, token: bool) -> None:
    """Path-star has a guess of its own and recall a shortcut that is its point; parity has neither."""
    members = ("parity:bits=5", "recall", "path-star:steps=3")
    task = medley(members=members, alphabet=alphabet, token=token)
    alone = task.subtasks()
    assert [subtask.intended_shortcut for subtask in alone.values()] == ["", "nearest context", ""]
    batch = alone["path-star"].sample(np.random.default_rng(0), 2000)
    predictions = alone["path-star"].chance_baseline(np.random.default_rng(1), batch)
    assert predictions is not None
    right = batch.targets_BT[batch.targets_BT != IGNORE]
    assert binomtest(int((predictions == right).sum()), len(right), 1 / 2).pvalue > 1e-4
    own = build(task_spec(find_ladder("path-star"), {"steps": 3}, None))
    random = np.random.default_rng
    np.testing.assert_array_equal(
        predictions - (2 + 128 if alphabet == "disjoint" else 0),
        own.chance_baseline(random(1), own.sample(random(0), 2000)),
    )
    assert task.chance_baseline(np.random.default_rng(1), task.sample(np.random.default_rng(0), 9)) is None
    assert (
        alone["parity"].chance_baseline(np.random.default_rng(1), alone["parity"].sample(np.random.default_rng(0), 9))
        is None
    )
