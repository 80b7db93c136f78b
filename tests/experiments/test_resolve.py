"""Names, options and settings of a request are looked up, and wrong ones are refused."""

from __future__ import annotations

from typing import Any

import pytest

from attnlab.errors import InvalidValueError, UnknownNameError
from attnlab.specs import Part
from tests.experiments.requests import one, stack


def test_an_alias_is_resolved_to_its_part() -> None:
    alias = one(attentions=[stack("dagpam")], positions=[Part(name="rope")])
    real = one(attentions=[stack("gpam")], positions=[Part(name="rotary")])
    assert alias == real
    assert alias.id == real.id
    assert alias.model.attention[0].name == "gpam"
    assert alias.model.position.name == "rotary"


def test_an_option_at_its_default_is_dropped() -> None:
    written = one(attentions=[stack(Part(name="dape", options={"kernel": 1, "width": 16, "form": "residual"}))])
    left_out = one(attentions=[stack(Part(name="dape", options={"width": 16}))])
    assert written.model.attention == (Part(name="dape", options={"width": 16}, version=1),)
    assert written.id == left_out.id
    other = one(attentions=[stack(Part(name="dape", options={"width": 16, "kernel": 3}))])
    assert other.id != written.id


def test_options_of_a_position_are_resolved_too() -> None:
    spec = one(positions=[Part(name="alibi", options={"octaves": 4.0})])
    assert spec.model.position == Part(name="alibi", options={"octaves": 4.0}, version=1)
    assert one(positions=[Part(name="alibi", options={"octaves": 8.0})]).model.position.options == {}


def test_settings_of_the_user_override_those_of_the_ladder(tmp_path: Any) -> None:
    ladder = tmp_path / "steps.yaml"
    ladder.write_text(
        "name: steps\nsummary: A test.\ntask: copy\ncomplexity: symbols\nlevels: [2, 4]\ndefault: 2\n"
        "options: {alphabet: 5}\nmodel: {layers: 1, width: 32, position: {name: alibi, octaves: 4.0}}\n"
        "train: {max_steps: 70, lr: 0.25}\nsource: ours\n"
    )
    task = Part(name=str(ladder))
    from_ladder = one(task=task)
    assert (from_ladder.model.layers, from_ladder.model.width, from_ladder.model.heads) == (1, 32, 2)
    assert (from_ladder.train.max_steps, from_ladder.train.lr, from_ladder.train.batch_size) == (70, 0.25, 64)
    assert from_ladder.task.options == {"symbols": 2, "alphabet": 5}
    assert from_ladder.model.position == Part(name="alibi", options={"octaves": 4.0}, version=1)
    settings = {"model": {"width": 16, "norm": "post"}, "train": {"lr": 0.5}, "task": {"alphabet": 3}}
    from_user = one(task=task, settings=settings, positions=[Part(name="none")])
    assert (from_user.model.layers, from_user.model.width, from_user.model.norm) == (1, 16, "post")
    assert (from_user.train.max_steps, from_user.train.lr) == (70, 0.5)
    assert from_user.task.options == {"symbols": 2, "alphabet": 3}
    assert from_user.model.position.name == "none"


def test_a_model_setting_may_name_the_attention() -> None:
    assert one(settings={"model": {"attention": "dagpam"}}).variant == "gpam"
    assert one(settings={"model": {"attention": ["softmax", {"name": "dape", "kernel": 3}]}}).variant == (
        "softmax+dape:kernel=3"
    )


def test_complexity_sets_the_option_of_the_levels() -> None:
    assert one(complexity=8).task.options["symbols"] == 8
    assert one(task=Part(name="copy", options={"symbols": 8})) == one(complexity=8)
    assert one(settings={"task": {"symbols": 8}}) == one(complexity=8)


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
            "'dape' has no option 'kernell'; did you mean 'kernel'?",
        ),
        (
            {"settings": {"task": {"symbol": 3}}},
            "'copy' has no option 'symbol'; did you mean 'symbols'?",
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
    assert caught.value.hint.startswith(("Known: ", "Closest: "))


@pytest.mark.parametrize(
    ("requested", "text"),
    [
        (
            {"settings": {"model": {"width": 10, "heads": 4}}},
            "model.heads\n  A width of 10 does not divide into 4 heads.\n"
            "  Numbers of heads that divide it: 1, 2, 5, 10.",
        ),
        (
            {"settings": {"train": {"max_steps": 0}}},
            "train.max_steps\n  It cannot be 0.\n  Input should be greater than or equal to 1.",
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
            "copy\n  Both complexity and 'symbols' are given; they are one option.\n  Give only one of them.",
        ),
        (
            {"settings": {"task": {"symbols": 4}}, "complexity": 8},
            "copy\n  Both complexity and 'symbols' are given; they are one option.\n  Give only one of them.",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(requested: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        one(**requested)
    assert str(caught.value) == text
