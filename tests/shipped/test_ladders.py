"""All built-in ladders: the file is valid, and each level can be sampled."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from attnlab import resources
from attnlab.config.ladder import Ladder
from attnlab.config.ladder import ladder as load_ladder
from attnlab.config.validate import validated
from attnlab.specs import ModelSpec, TaskSpec, TrainSpec
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, build, parse_range

NAMES = resources.names("tasks")
LEVELS = [(name, level) for name in NAMES for level in load_ladder(name).levels]
SAME_SIZE = {
    "flip-flop-ignore": "the bit was written longer ago, and fewer positions ask for it",
    "k-hop": "more hops from the same string, and fewer positions from which all are defined",
    "k-hop-16": "the levels of k-hop",
    "recall-nback": "an earlier value of a key among the same number of pairs",
}
"""Ladders whose levels are harder though sequences are as long, and why."""
every_ladder = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def ladder(name: str) -> Ladder:
    return find_ladder(name)


@every_ladder
def test_a_ladder_is_named_like_its_file(ladder: Ladder, name: str) -> None:
    assert ladder.name == name


@every_ladder
def test_the_default_is_a_level(ladder: Ladder) -> None:
    assert ladder.default in ladder.levels


@every_ladder
def test_a_spec_that_is_read_is_the_one_that_was_written(ladder: Ladder) -> None:
    spec = task_spec(ladder, {}, None)
    assert repr(TaskSpec.model_validate_json(spec.model_dump_json())) == repr(spec)


@every_ladder
def test_levels_rise(ladder: Ladder) -> None:
    numbers = [level for level in ladder.levels if isinstance(level, int | float)]
    assert all(low < high for low, high in pairwise(numbers))
    assert len(set(ladder.levels)) == len(ladder.levels) >= 2


@every_ladder
def test_the_summary_is_a_sentence(ladder: Ladder) -> None:
    assert ladder.summary.endswith(".")
    assert ladder.source


@every_ladder
def test_what_a_ladder_sets_in_model_and_training_is_accepted(ladder: Ladder) -> None:
    for kind, data in ((ModelSpec, ladder.model), (TrainSpec, ladder.train)):
        settings: Any = validated(kind, data, lambda location: str(location))
        assert set(data) <= set(type(settings).model_fields)


@every_ladder
def test_ladder_options_leave_the_complexity_free(ladder: Ladder) -> None:
    assert ladder.complexity not in ladder.options


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_every_level_is_built_and_sampled_in_training_and_test(name: str, level: Any) -> None:
    spec = task_spec(find_ladder(name), {}, level)
    assert spec.level == level
    source = Source(spec, seed=0)
    for batch in (source.training(0, 4), source.task.sample(np.random.default_rng(0), 4)):
        assert batch.inputs_BT.shape[1] <= source.length
        if source.features:
            assert batch.inputs_BT.shape[2] == source.features
        else:
            assert batch.inputs_BT.max() < source.vocabulary


@every_ladder
def test_difficulty_grows_with_the_level(ladder: Ladder) -> None:
    """More tokens, targets or symbols; never less of any, unless the ladder is one of the same size."""
    sizes = []
    for level in ladder.levels:
        task = build(task_spec(ladder, {}, level))
        num_targets = (task.sample(np.random.default_rng(0), 4).targets_BT != -100).sum()
        subtask_lengths = [subtask.length for subtask in task.subtasks().values()]
        rest = (
            (sum(subtask_lengths),) if subtask_lengths else (int(num_targets),)
        )  # an additional subtask may be an easy one
        sizes.append((task.length, task.vocabulary, *rest))
    if ladder.name in SAME_SIZE:
        assert len({length for length, *_ in sizes}) == 1
        return
    for low, high in pairwise(sizes):
        assert all(less <= more for less, more in zip(low, high, strict=True))
        assert low != high


@every_ladder
def test_ranges_of_training_are_written_for_options_that_are_numbers(ladder: Ladder) -> None:
    options = task_spec(ladder, {}, None).options
    assert all(isinstance(options[name], int) for name, value in ladder.training.items() if parse_range(value))
