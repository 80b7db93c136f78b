"""Every ladder of the shelf: it loads, and each of its levels can be climbed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from attnlab import resources
from attnlab.config.ladder import Ladder, ladder
from attnlab.config.validate import validated
from attnlab.specs import ModelSpec, TrainSpec
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, build, span

NAMES = resources.names("tasks")
RUNGS = [(name, rung) for name in NAMES for rung in ladder(name).levels]
every_ladder = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def climbed(name: str) -> Ladder:
    return find_ladder(name)


@every_ladder
def test_a_ladder_is_named_like_its_file(ladder: Ladder, name: str) -> None:
    assert ladder.name == name


@every_ladder
def test_the_default_is_a_rung(ladder: Ladder) -> None:
    assert ladder.default in ladder.levels


@every_ladder
def test_rungs_rise(ladder: Ladder) -> None:
    numbers = [level for level in ladder.levels if isinstance(level, int | float)]
    assert all(low < high for low, high in pairwise(numbers))
    assert len(set(ladder.levels)) == len(ladder.levels) >= 2


@every_ladder
def test_words_are_sentences(ladder: Ladder) -> None:
    assert ladder.summary.endswith(".")
    assert ladder.source


@every_ladder
def test_what_a_ladder_sets_in_model_and_training_is_accepted(ladder: Ladder) -> None:
    for kind, data in ((ModelSpec, ladder.model), (TrainSpec, ladder.train)):
        settings: Any = validated(kind, data, lambda place: str(place))
        assert set(data) <= set(type(settings).model_fields)


@every_ladder
def test_ladder_options_leave_the_knob_free(ladder: Ladder) -> None:
    assert ladder.complexity not in ladder.options


@pytest.mark.parametrize(("name", "level"), RUNGS)
def test_every_rung_is_built_and_sampled_in_training_and_test(name: str, level: Any) -> None:
    spec = task_spec(find_ladder(name), {}, level)
    assert spec.level == level
    source = Source(spec, seed=0)
    for batch in (source.training(0, 4), source.task.sample(np.random.default_rng(0), 4)):
        assert batch.inputs_BT.shape[1] <= source.length
        assert batch.inputs_BT.max() < source.vocabulary


@every_ladder
def test_difficulty_grows_with_the_rung(ladder: Ladder) -> None:
    """More tokens, more questions, more symbols or a smaller chance; never less of any."""
    sizes = []
    for level in ladder.levels:
        task = build(task_spec(ladder, {}, level))
        requested = (task.sample(np.random.default_rng(0), 4).targets_BT >= 0).sum()
        alone = [subtask.length for subtask in task.subtasks().values()]
        whole = (sum(alone),) if alone else (-task.chance, int(requested))  # one more member may be an easy one
        sizes.append((task.length, task.vocabulary, *whole))
    for low, high in pairwise(sizes):
        assert all(less <= more for less, more in zip(low, high, strict=True))
        assert low != high


@every_ladder
def test_ranges_of_training_are_written_for_options_that_are_numbers(ladder: Ladder) -> None:
    options = task_spec(ladder, {}, None).options
    assert all(isinstance(options[name], int) for name, value in ladder.training.items() if span(value))
