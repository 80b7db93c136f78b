"""Every ladder of the shelf: it loads, and each of its rungs can be climbed."""

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
RUNGS = [(name, rung) for name in NAMES for rung in ladder(name).rungs]
every_ladder = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def climbed(name: str) -> Ladder:
    return find_ladder(name)


@every_ladder
def test_a_ladder_is_named_like_its_file(climbed: Ladder, name: str) -> None:
    assert climbed.name == name


@every_ladder
def test_the_default_is_a_rung(climbed: Ladder) -> None:
    assert climbed.default in climbed.rungs


@every_ladder
def test_rungs_rise(climbed: Ladder) -> None:
    numbers = [rung for rung in climbed.rungs if isinstance(rung, int | float)]
    assert all(low < high for low, high in pairwise(numbers))
    assert len(set(climbed.rungs)) == len(climbed.rungs) >= 2


@every_ladder
def test_words_are_sentences(climbed: Ladder) -> None:
    assert climbed.summary.endswith(".")
    assert climbed.source


@every_ladder
def test_what_a_ladder_sets_in_model_and_training_is_accepted(climbed: Ladder) -> None:
    for kind, data in ((ModelSpec, climbed.model), (TrainSpec, climbed.train)):
        settings: Any = validated(kind, data, lambda place: str(place))
        assert set(data) <= set(type(settings).model_fields)


@every_ladder
def test_ladder_options_leave_the_knob_free(climbed: Ladder) -> None:
    assert climbed.complexity not in climbed.options


@pytest.mark.parametrize(("name", "rung"), RUNGS)
def test_every_rung_is_built_and_sampled_in_training_and_test(name: str, rung: Any) -> None:
    spec = task_spec(find_ladder(name), {}, rung)
    assert spec.complexity == rung
    source = Source(spec, seed=0)
    for batch in (source.training(0, 4), source.task.sample(np.random.default_rng(0), 4)):
        assert batch.inputs_BT.shape[1] <= source.length
        assert batch.inputs_BT.max() < source.vocabulary


@every_ladder
def test_difficulty_grows_with_the_rung(climbed: Ladder) -> None:
    """More tokens, more questions, more symbols or a smaller chance; never less of any."""
    sizes = []
    for rung in climbed.rungs:
        task = build(task_spec(climbed, {}, rung))
        asked = (task.sample(np.random.default_rng(0), 4).targets_BT >= 0).sum()
        alone = [member.length for member in task.members().values()]
        whole = (sum(alone),) if alone else (-task.chance, int(asked))  # one more member may be an easy one
        sizes.append((task.length, task.vocabulary, *whole))
    for low, high in pairwise(sizes):
        assert all(less <= more for less, more in zip(low, high, strict=True))
        assert low != high


@every_ladder
def test_ranges_of_training_are_written_for_options_that_are_numbers(climbed: Ladder) -> None:
    options = task_spec(climbed, {}, None).options
    assert all(isinstance(options[name], int) for name, value in climbed.training.items() if span(value))
