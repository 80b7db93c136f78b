from __future__ import annotations

import pytest

from attnlab.config.validate import validated
from attnlab.config.yaml import parse
from attnlab.errors import InvalidFileError, InvalidValueError, UnknownNameError
from attnlab.specs import ModelSpec, RunSpec, TrainSpec, Value


class AttentionOutput(Value):
    """A field of several types."""

    levels: list[int | str]


def refusal(model: type[Value], text: str) -> str:
    document = parse(text, "f.yaml")
    with pytest.raises((UnknownNameError, InvalidValueError)) as caught:
        validated(model, document.data, document.where)
    return str(caught.value)


def test_good_data_become_a_value() -> None:
    document = parse("max_steps: 10\nlr: 1e-4\ngrad_clip: null\nbetas: [0.9, 0.95]")
    assert validated(TrainSpec, document.data, document.where) == TrainSpec(
        max_steps=10, lr=1e-4, grad_clip=None, betas=(0.9, 0.95)
    )


def test_an_unknown_key_suggests_the_closest() -> None:
    assert refusal(ModelSpec, "width: 8\nlayer: 2") == (
        "f.yaml:2: layer\n  There is no key 'layer'; did you mean 'layers'?\n"
        "  Closest: layers, norm_layer, module, matched, modifiers, and 13 more.\n  See: attnlab schema"
    )


def test_an_unknown_key_inside_suggests_from_the_inner_value() -> None:
    assert refusal(RunSpec, "task: {name: recall}\ntrain:\n  batch_size: 2\n  step: 3").startswith(
        "f.yaml:4: train.step\n  There is no key 'step'; did you mean 'max_steps'?\n  Closest: max_steps, "
    )


def test_an_unknown_key_within_a_list_is_placed_there() -> None:
    assert refusal(ModelSpec, "attention:\n- softmax\n- kernel: 3") == (
        "f.yaml:3: attention[1].kernel\n  There is no key 'kernel'.\n  Known: name, options."
    )


def test_an_unknown_key_is_told_before_what_is_missing() -> None:
    assert refusal(RunSpec, "tusk: {name: recall}") == (
        "f.yaml:1: tusk\n  There is no key 'tusk'; did you mean 'task'?\n  Known: model, seed, task, train."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_steps: 2.5", "1: max_steps\n  It cannot be 2.5.\n  Input should be a valid integer."),
        ("max_steps: '2'", "1: max_steps\n  It cannot be '2'.\n  Input should be a valid integer."),
        (
            "batch_size: 2\nmax_steps: 0",
            "2: max_steps\n  It cannot be 0.\n  Input should be greater than or equal to 1.",
        ),
        ("warmup_ratio: 2", "1: warmup_ratio\n  It cannot be 2.\n  Input should be less than or equal to 1."),
        ("lr: 0.0", "1: lr\n  It cannot be 0.0.\n  Input should be greater than 0."),
        ("lr: .nan", "1: lr\n  It cannot be nan.\n  Input should be a finite number."),
        ("schedule: linear", "1: schedule\n  It cannot be 'linear'.\n  Input should be 'cosine' or 'constant'."),
        ("betas:\n- 0.9\n- 2", "3: betas[1]\n  It cannot be 2.\n  Input should be less than or equal to 1."),
        ("betas: 0.9", "1: betas\n  It cannot be 0.9.\n  Input should be a valid list, such as [0.9, 0.98]."),
        ("lr: {a: 1}", "1: lr\n  A mapping is not accepted here.\n  Input should be a valid number."),
    ],
)
def test_a_wrong_value_tells_where_what_and_what_instead(text: str, message: str) -> None:
    assert refusal(TrainSpec, text) == f"f.yaml:{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attention: 3", "1: attention\n  It cannot be 3.\n  Input should be a valid list."),
        (
            "attention: []",
            "1: attention\n  It cannot be [].\n  It should have at least 1 item.",
        ),
        ("position:\n  name: 3", "2: position.name\n  It cannot be 3.\n  Input should be a valid string."),
        ("position: {options: {}}", "1: position\n  'name' is missing.\n  Add a line name: ..."),
        ("residual: 1", "1: residual\n  It cannot be 1.\n  Input should be a valid boolean."),
    ],
)
def test_parts_are_checked_inside(text: str, message: str) -> None:
    assert refusal(ModelSpec, text) == f"f.yaml:{message}"


def test_options_of_a_part_that_are_no_mapping_are_refused() -> None:
    message = "f.yaml:1: position.options\n  It cannot be 3.\n  Input should be a valid dictionary."
    assert refusal(ModelSpec, "position: {name: alibi, options: 3}") == message


def test_a_field_of_several_types_names_them_all_at_the_place_in_the_file() -> None:
    assert refusal(AttentionOutput, "levels:\n- 1\n- true") == (
        "f.yaml:3: levels[1]\n  It cannot be True.\n"
        "  Input should be a valid integer; or Input should be a valid string."
    )


@pytest.mark.parametrize(("text", "result"), [("[1]", "[1]"), ("3", "3")])
def test_a_document_that_is_no_mapping_is_refused(text: str, result: str) -> None:
    assert refusal(TrainSpec, text).startswith(f"f.yaml:1\n  It cannot be {result}.\n  Input should be a valid dict")


@pytest.mark.parametrize("text", ["", "# a comment\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidFileError) as caught:
        validated(TrainSpec, (document := parse(text, "f.yaml")).data, document.where)
    assert str(caught.value).endswith("\n  The file is empty.\n  Copy a built-in one and edit it: attnlab cp NAME.")
    assert str(caught.value).startswith("f.yaml")
