"""Names of attnlab 0.1: accepted with one warning each, in YAML, in settings and in what a store keeps."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from attnlab.config.experiment import experiment, experiment_from_json
from attnlab.config.inline_experiment import inline_experiment
from attnlab.config.ladder import ladder
from attnlab.config.renamed import (
    FIELDS,
    MODEL,
    REUSED,
    TRAIN,
    renamed,
    renamed_keys,
    renamed_options,
    renamed_settings,
)
from attnlab.errors import InvalidValueError, RenamedWarning, UnknownNameError
from attnlab.specs import ModelSpec, TrainSpec

LADDER = """name: mine
summary: Mine.
task: copy
complexity: symbols
{rungs}: [2, 4]
default: 2
model: {{{skip}: false}}
train: {{{steps}: 7}}
source: me
"""
EXPERIMENT = """name: mine
question: Which?
ladders: [{{ladder: copy, {rungs}: [2]}}]
{vary}: {{attention: [softmax, gpam], lr: [1e-3], {decay}: [0.1], train.{batch}: [8]}}
zip: [{{{skip}: [true, false]}}]
{select}: [{decay}]
train: {{{steps}: 7}}
claims:
  - says: It does.
    of: {{attention: gpam, {complexity}: 2, {skip}: true}}
    {value}: {answers}
    expect: at least
    bound: 0.5
report: {{{rows}: [{decay}], columns: {complexity}, {value}: {answers}}}
{scales}: {{smoke: {{{vary}: {{lr: [1e-2]}}, train: {{{steps}: 2}}}}}}
{taken}: 0.5
"""
OLD = {
    **{name: name for name in ("rungs", "vary", "decay", "batch", "skip", "select", "steps", "complexity", "value")},
    **{name: name for name in ("answers", "rows", "scales", "taken")},
}
NEW = {
    "rungs": "levels",
    "vary": "grid",
    "decay": "weight_decay",
    "batch": "batch_size",
    "skip": "residual",
    "select": "tune",
    "steps": "max_steps",
    "complexity": "level",
    "value": "metric",
    "answers": "exact_match",
    "rows": "index",
    "scales": "presets",
    "taken": "expected_steps",
}


def file(tmp_path: Path, text: str, names: dict[str, str]) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text.format_map(names))
    return str(path)


def test_every_new_name_is_a_field_and_no_old_one_is() -> None:
    assert set(MODEL.values()) <= ModelSpec.model_fields.keys()
    assert set(TRAIN.values()) <= TrainSpec.model_fields.keys()
    assert FIELDS.keys() & (ModelSpec.model_fields.keys() | TrainSpec.model_fields.keys()) == set(REUSED)


def test_an_old_ladder_is_the_new_one_with_a_warning_for_each_name(tmp_path: Path) -> None:
    new = ladder(file(tmp_path, LADDER, NEW))
    with pytest.warns(RenamedWarning) as caught:
        old = ladder(file(tmp_path, LADDER, OLD))
    assert old == new
    path = tmp_path / "mine.yaml"
    assert [str(one.message) for one in caught] == [
        f"{path}:5: 'rungs' is now called 'levels'.",
        f"{path}:7: 'skip' is now called 'residual'.",
        f"{path}:8: 'steps' is called 'max_steps' in Python and in YAML; --steps is the option of the command line.",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedWarning)
        assert ladder(str(path)).where("levels", 0).endswith("mine.yaml:5: levels[0]")


def test_an_old_experiment_is_the_new_one(tmp_path: Path) -> None:
    new = experiment(file(tmp_path, EXPERIMENT, NEW))
    with pytest.warns(RenamedWarning) as caught:
        old = experiment(file(tmp_path, EXPERIMENT, OLD))
    assert old == new
    assert {str(one.message).split("'")[1].rpartition(".")[2] for one in caught} == set(OLD)


def test_what_a_store_keeps_of_an_old_experiment_is_read_without_a_warning(tmp_path: Path) -> None:
    new = experiment(file(tmp_path, EXPERIMENT, NEW))
    text = new.model_dump_json()
    for name in ("vary", "select", "scales", "taken"):
        text = text.replace(f'"{NEW[name]}":', f'"{name}":')
    assert '"grid"' not in text
    assert experiment_from_json(text.encode()).model_dump() == new.model_dump()


def test_old_settings_and_grids_of_the_command_line_are_accepted() -> None:
    with pytest.warns(RenamedWarning):
        old = inline_experiment("copy", grid={"decay": [0.1]}, settings={"train": {"steps": 3}, "model": {"tie": True}})
    settings = {"train": {"max_steps": 3}, "model": {"tie_embeddings": True}}
    assert old == inline_experiment("copy", grid={"weight_decay": [0.1]}, settings=settings)


@pytest.mark.parametrize("value", [4.0, 0, [4.0, 0.0]])
def test_the_old_mlp_was_a_number(value: object) -> None:
    for key in ("mlp", "model.mlp"):
        with pytest.warns(RenamedWarning, match=f"'{key}' is now called '{key}_ratio'"):
            assert renamed_keys({key: value}, FIELDS) == {f"{key}_ratio": value}


@pytest.mark.parametrize("value", ["swiglu", {"name": "swiglu"}, ["gelu", "swiglu"], ["gelu", 4.0], [], None, True])
def test_the_new_mlp_is_a_part(value: object) -> None:
    assert renamed_keys({"mlp": value}, FIELDS) == {"mlp": value}
    assert renamed("mlp", FIELDS) == "mlp"


def test_a_file_with_a_wrong_mlp_names_its_line(tmp_path: Path) -> None:
    text = LADDER.format_map(NEW).replace("residual: false", "mlp: swiglu")
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert ladder(str(path)).model == {"mlp": "swiglu"}
    assert ladder(str(path)).where("model", "mlp").endswith("mine.yaml:7: model.mlp")


def test_an_old_and_a_new_name_together_are_refused() -> None:
    with pytest.warns(RenamedWarning), pytest.raises(InvalidValueError, match="'steps' is now called 'max_steps', and"):
        renamed_keys({"max_steps": 1, "steps": 2}, TRAIN)
    with pytest.warns(RenamedWarning), pytest.raises(InvalidValueError, match="both are given"):
        renamed_keys({"steps": 2, "max_steps": 1}, TRAIN)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"members": ["copy"], "tasks": 1}, {"tasks": ["copy"], "count": 1}),
        ({"members": ["copy"]}, {"tasks": ["copy"]}),
        ({"tasks": ["copy"], "count": 1}, {"tasks": ["copy"], "count": 1}),
    ],
)
@pytest.mark.filterwarnings("ignore::attnlab.errors.RenamedWarning")
def test_the_options_of_a_mixture(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert renamed_options("medley", options) == expected
    assert renamed_options("copy", options) == options


def test_a_wrong_name_is_not_taken_for_an_old_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"There is no key 'rung'; did you mean 'source'|no key 'rung'"):
        ladder(file(tmp_path, LADDER, {**NEW, "rungs": "rung"}))


def test_a_warning_points_at_the_line_of_the_user() -> None:
    with pytest.warns(RenamedWarning) as caught:
        renamed_settings({"train": {"steps": 3}, "model": {"skip": True}})
    assert {one.filename for one in caught} == {__file__}
