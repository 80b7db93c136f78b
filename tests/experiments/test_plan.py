"""The plan: the runs of a request, in order; sizes that do not fit are refused."""

from __future__ import annotations

import pytest

from attnlab.errors import InvalidValueError
from attnlab.experiments.plan import default_parameters, plan
from attnlab.experiments.request import Request
from attnlab.specs import ModelSpec, Part, TrainSpec
from tests.experiments.requests import COPY, one, stack


def test_a_bare_request_takes_the_defaults_of_the_ladder() -> None:
    spec = one()
    assert spec.task.name == "copy"
    assert spec.task.complexity == "symbols"
    assert spec.task.options == {"symbols": 16, "alphabet": 16}
    assert spec.train == TrainSpec()
    assert spec.model == ModelSpec(
        attention=(Part(name="softmax", version=1),), position=Part(name="fourier", version=1)
    )
    assert spec.seed == 0


def test_variants_are_in_order_and_seeds_are_within_each() -> None:
    specs = plan(
        Request(
            task=COPY,
            attentions=[stack("softmax"), stack("gpam", "softmax")],
            positions=[Part(name="none"), Part(name="alibi")],
            seeds=(4, 7),
            complexity=4,
        )
    )
    assert [(spec.variant, spec.model.position.name, spec.seed) for spec in specs] == [
        (variant, position, seed)
        for variant in ("softmax", "gpam+softmax")
        for position in ("none", "alibi")
        for seed in (4, 7)
    ]
    assert len({spec.id for spec in specs}) == 8
    assert all(spec.task.level == 4 for spec in specs)


def test_a_version_is_part_of_the_id() -> None:
    spec = one()
    newer = spec.model.attention[0].model_copy(update={"version": 2})
    assert spec.model_copy(update={"model": spec.model.model_copy(update={"attention": (newer,)})}).id != spec.id


def test_sizes_that_a_part_does_not_accept_are_refused_while_planning() -> None:
    with pytest.raises(InvalidValueError, match="Rotary positions need an even number of channels per head, not 3"):
        one(positions=[Part(name="rotary")], settings={"model": {"width": 6, "heads": 2}})
    with pytest.raises(InvalidValueError, match="'minus' has no meaning where lambdas are tied"):
        one(attentions=[stack(Part(name="gpam", options={"lambdas": "tied", "minus": 0.5}))])


def test_more_training_examples_than_the_task_has_are_refused_while_planning() -> None:
    request = Request(task=Part(name="copy", options={"symbols": 1}), settings={"train": {"train_examples": 100}})
    with pytest.raises(InvalidValueError, match=r"only 16 distinct sequences, of which 100 are asked for") as caught:
        plan(request)
    assert caught.value.where == "train.train_examples"


def test_parameters_of_the_default_model() -> None:
    softmax, dape, gpam = (default_parameters("attention", name) for name in ("softmax", "dape", "gpam"))
    assert dape - softmax == 2 * (2 * 2 * 32 + 32 + 2)
    assert gpam - softmax == 2 * (64 * 32 + 2)
    assert default_parameters("position", "learned") - default_parameters("position", "alibi") == 64 * 64
