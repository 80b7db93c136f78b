"""The plan: every name, option and pairing is resolved before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from attnlab.attention import ATTENTIONS, Attention, RowConstraint
from attnlab.attention.base import Position
from attnlab.errors import IncompatiblePartsError, InvalidValueError, UnknownNameError
from attnlab.experiments.compatibility import check_position
from attnlab.experiments.plan import default_parameters, plan
from attnlab.experiments.request import Request
from attnlab.specs import ModelSpec, Part, RunSpec, TrainSpec
from attnlab.tensors import QKV

COPY = Part(name="copy")


def stack(*parts: Part | str) -> tuple[Part, ...]:
    return tuple(part if isinstance(part, Part) else Part(name=part) for part in parts)


def one(**requested: Any) -> RunSpec:
    (spec,) = plan(Request(**{"task": COPY, **requested}))
    return spec


@pytest.fixture
def scoreless() -> str:
    """An attention that forms no scores: the mean of the values so far."""

    @ATTENTIONS.register("running-mean", source="a test")
    class RunningMean(Attention):
        """The mean of the values so far."""

        row_constraint = RowConstraint.STOCHASTIC
        has_scores = False

        def attend(self, qkv: QKV, position: Position) -> Tensor:
            values = qkv.values_BHSC
            count = values.new_ones(values.shape[-2]).cumsum(0)[:, None]
            return (values.cumsum(-2) / count)[..., qkv.start :, :]

    return "running-mean"


# -- what is asked is what is planned --------------------------------------------------------------------------------


def test_nothing_asked_gives_the_defaults_of_the_ladder() -> None:
    spec = one()
    assert spec.task.name == "copy"
    assert spec.task.complexity == "symbols"
    assert spec.task.options == {"symbols": 16, "alphabet": 16}
    assert spec.train == TrainSpec()
    assert spec.model == ModelSpec(
        attention=(Part(name="softmax", version=1),), position=Part(name="learned", version=1)
    )
    assert spec.seed == 0


def test_variants_stand_in_order_and_seeds_within_each() -> None:
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


def test_an_alias_is_the_part_it_stands_for() -> None:
    alias = one(attentions=[stack("dagpam")], positions=[Part(name="rope")])
    real = one(attentions=[stack("gpam")], positions=[Part(name="rotary")])
    assert alias == real
    assert alias.id == real.id
    assert alias.model.attention[0].name == "gpam"
    assert alias.model.position.name == "rotary"


def test_an_option_that_says_the_default_is_dropped() -> None:
    said = one(attentions=[stack(Part(name="dape", options={"kernel": 1, "width": 16, "form": "residual"}))])
    left_out = one(attentions=[stack(Part(name="dape", options={"width": 16}))])
    assert said.model.attention == (Part(name="dape", options={"width": 16}, version=1),)
    assert said.id == left_out.id
    other = one(attentions=[stack(Part(name="dape", options={"width": 16, "kernel": 3}))])
    assert other.id != said.id


def test_options_of_a_position_are_resolved_too() -> None:
    spec = one(positions=[Part(name="alibi", options={"octaves": 4.0})])
    assert spec.model.position == Part(name="alibi", options={"octaves": 4.0}, version=1)
    assert one(positions=[Part(name="alibi", options={"octaves": 8.0})]).model.position.options == {}


def test_a_version_is_part_of_the_id() -> None:
    spec = one()
    newer = spec.model.attention[0].model_copy(update={"version": 2})
    assert spec.model_copy(update={"model": spec.model.model_copy(update={"attention": (newer,)})}).id != spec.id


# -- settings --------------------------------------------------------------------------------------------------------


def test_what_the_user_sets_wins_over_what_the_ladder_sets(tmp_path: Any) -> None:
    ladder = tmp_path / "climb.yaml"
    ladder.write_text(
        "name: climb\nsummary: A test.\ntask: copy\ncomplexity: symbols\nrungs: [2, 4]\ndefault: 2\n"
        "options: {alphabet: 5}\nmodel: {layers: 1, width: 32, position: {name: alibi, octaves: 4.0}}\n"
        "train: {steps: 70, lr: 0.25}\nsource: ours\n"
    )
    word = Part(name=str(ladder))
    from_ladder = one(task=word)
    assert (from_ladder.model.layers, from_ladder.model.width, from_ladder.model.heads) == (1, 32, 2)
    assert (from_ladder.train.max_steps, from_ladder.train.lr, from_ladder.train.batch_size) == (70, 0.25, 64)
    assert from_ladder.task.options == {"symbols": 2, "alphabet": 5}
    assert from_ladder.model.position == Part(name="alibi", options={"octaves": 4.0}, version=1)
    settings = {"model": {"width": 16, "norm": "post"}, "train": {"lr": 0.5}, "task": {"alphabet": 3}}
    from_user = one(task=word, settings=settings, positions=[Part(name="none")])
    assert (from_user.model.layers, from_user.model.width, from_user.model.norm) == (1, 16, "post")
    assert (from_user.train.max_steps, from_user.train.lr) == (70, 0.5)
    assert from_user.task.options == {"symbols": 2, "alphabet": 3}
    assert from_user.model.position.name == "none"


def test_a_model_setting_may_name_the_attention() -> None:
    assert one(settings={"model": {"attention": "dagpam"}}).variant == "gpam"
    assert one(settings={"model": {"attention": ["softmax", {"name": "dape", "kernel": 3}]}}).variant == (
        "softmax+dape:kernel=3"
    )


def test_complexity_sets_the_knob() -> None:
    assert one(complexity=8).task.options["symbols"] == 8
    assert one(task=Part(name="copy", options={"symbols": 8})) == one(complexity=8)
    assert one(settings={"task": {"symbols": 8}}) == one(complexity=8)


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "text"),
    [
        (
            {"task": Part(name="recal")},
            "There is no task 'recal'; did you mean 'recall'?",
        ),
        (
            {"attentions": [stack("sofmax")]},
            "There is no attention 'sofmax'; did you mean 'softmax'?",
        ),
        (
            {"positions": [Part(name="alibbi")]},
            "There is no position 'alibbi'; did you mean 'alibi'?",
        ),
        (
            {"attentions": [stack(Part(name="dape", options={"kernell": 3}))]},
            "There is no option of dape 'kernell'; did you mean 'kernel'?",
        ),
        (
            {"settings": {"task": {"symbol": 3}}},
            "There is no option of copy 'symbol'; did you mean 'symbols'?",
        ),
        (
            {"settings": {"model": {"widht": 3}}},
            "There is no key 'widht'; did you mean 'width'?",
        ),
        (
            {"settings": {"trian": {}}},
            "There is no section 'trian'; did you mean 'train'?",
        ),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_the_closest(requested: dict[str, Any], text: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        one(**requested)
    assert caught.value.problem == text
    assert caught.value.hint.startswith("Known: ")


@pytest.mark.parametrize(
    ("requested", "text"),
    [
        (
            {"settings": {"model": {"width": 10, "heads": 4}}},
            "model.heads\n  A width of 10 does not divide into 4 heads.\n  Numbers of heads that divide it: 1, 2, 5, 10.",
        ),
        (
            {"settings": {"train": {"max_steps": 0}}},
            "train.steps\n  It cannot be 0.\n  Input should be greater than or equal to 1.",
        ),
        (
            {"settings": {"train": {"lr": "fast"}}},
            "train.lr\n  It cannot be 'fast'.\n  Input should be a valid number.",
        ),
        (
            {"attentions": [stack(Part(name="dape", options={"kernel": 0}))]},
            "model.attention: dape:kernel=0\n  Option 'kernel' cannot be 0.\n"
            "  Input should be greater than or equal to 1. Default: 1.",
        ),
        (
            {"task": Part(name="copy", options={"symbols": 4}), "complexity": 8},
            "copy\n  Both complexity and 'symbols' are given; they are one option.\n  Give one.",
        ),
        (
            {"settings": {"task": {"symbols": 4}}, "complexity": 8},
            "copy\n  Both complexity and 'symbols' are given; they are one option.\n  Give one.",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(requested: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        one(**requested)
    assert str(caught.value) == text


def test_sizes_that_a_part_does_not_accept_are_refused_while_planning() -> None:
    with pytest.raises(InvalidValueError, match="Rotary positions need an even number of channels per head, not 3"):
        one(positions=[Part(name="rotary")], settings={"model": {"width": 6, "heads": 2}})
    with pytest.raises(InvalidValueError, match="'minus' has no meaning where lambdas are tied"):
        one(attentions=[stack(Part(name="gpam", options={"lambdas": "tied", "minus": 0.5}))])


@pytest.mark.parametrize("beside", [(), ("softmax",)])
def test_a_bias_where_no_scores_are_formed_is_refused(scoreless: str, beside: tuple[str, ...]) -> None:
    variant = stack(*beside, scoreless)
    with pytest.raises(IncompatiblePartsError) as caught:
        one(attentions=[variant], positions=[Part(name="alibi")])
    assert str(caught.value) == (
        "model.position\n"
        "  'running-mean' forms no scores, so position 'alibi' has nothing to bias.\n"
        "  Pair it with: interpolated, learned, none, randomized, rotary, sinusoidal, yarn."
    )


@pytest.mark.parametrize("position", ["none", "learned", "rotary", "sinusoidal"])
def test_other_positions_go_with_it(scoreless: str, position: str) -> None:
    spec = one(attentions=[stack(scoreless)], positions=[Part(name=position)])
    check_position(spec.model)
    assert (spec.variant, spec.model.position.name) == (scoreless, position)


def test_parameters_of_the_default_model() -> None:
    softmax, dape, gpam = (default_parameters("attention", name) for name in ("softmax", "dape", "gpam"))
    assert dape - softmax == 2 * (2 * 2 * 32 + 32 + 2)
    assert gpam - softmax == 2 * (64 * 32 + 2)
    assert default_parameters("position", "learned") - default_parameters("position", "alibi") == 64 * 64
