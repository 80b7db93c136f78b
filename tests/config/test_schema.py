"""The schemas of the YAML files tell an editor what each field means."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from attnlab import resources
from attnlab.config.experiment import Experiment, read_experiment
from attnlab.config.ladder import Ladder
from attnlab.config.schema import meanings, schema
from attnlab.config.yaml import parse, read
from attnlab.errors import AttnlabError
from attnlab.specs import Value


@cache
def validator(kind: type[Value]) -> Draft202012Validator:
    return Draft202012Validator(schema(kind))


class Inner(Value):
    """A value in a value."""

    first: int = 1
    """What comes first,
    and goes on."""
    second: int = 2


class Outer(Value):
    """A value of values."""

    inner: Inner
    """Where the others are."""
    plain: str
    unfit: int = 0
    """Said of the field,"""
    """and this of nothing."""


def test_a_field_means_the_sentence_below_it() -> None:
    assert meanings(Outer) == {"inner": "Where the others are.", "unfit": "Said of the field,"}
    assert meanings(Inner) == {"first": "What comes first,\nand goes on."}


def test_inner_values_are_described_too() -> None:
    data = schema(Outer)
    assert data["$defs"]["Inner"]["properties"]["first"]["description"] == "What comes first,\nand goes on."
    assert "description" not in data["$defs"]["Inner"]["properties"]["second"]
    assert data["properties"]["inner"]["description"] == "Where the others are."


def test_what_the_files_say_is_described() -> None:
    ladder, experiment = schema(Ladder), schema(Experiment)
    assert ladder["properties"]["complexity"]["description"] == "The option that the levels set."
    assert experiment["$defs"]["LadderLevels"]["properties"]["ladder"]["description"] == "A ladder's name or file."


def accepted(kind: type[Experiment] | type[Ladder], text: str) -> bool:
    """Whether the schema accepts a YAML text."""
    return bool(validator(kind).is_valid(parse(text).data))


@pytest.mark.parametrize("kind", [Experiment, Ladder])
def test_a_schema_is_one(kind: type[Value]) -> None:
    Draft202012Validator.check_schema(schema(kind))


@pytest.mark.parametrize("name", resources.names("experiments"))
def test_shipped_experiments_are_valid(name: str) -> None:
    data = read(resources.folder("experiments") / f"{name}.yaml").data
    validator(Experiment).validate(data)


@pytest.mark.parametrize("name", resources.names("tasks"))
def test_shipped_ladders_are_valid(name: str) -> None:
    validator(Ladder).validate(read(resources.folder("tasks") / f"{name}.yaml").data)


BASE = "name: mine\nquestion: Does it?\n"


@pytest.mark.parametrize(
    "text",
    [
        "ladders: [copy, recall]",
        "ladders: [{ladder: copy}, recall]",
        "ladders: [{ladder: copy, levels: [1, 2.5, word], options: {alphabet: 3}, evaluate: []}]",
        "ladders: [copy]\nmodel: my.py:Model",
        "ladders: [copy]\nmodel: {width: 8}\npresets: {smoke: {ladders: [copy], model: my.py:Model, claims: false}}",
        "ladders: [copy]\ngrid: {attention: [softmax, {name: dape, kernel: 3}, [softmax, gpam]], lr: [1e-3, 1]}",
        "ladders: [copy]\nzip: [{width: [8, 16], lr: [1, 2]}]\ntune: []\nmatch: null\nexpected_steps: 1",
        "ladders: [copy]\nclaims: [{says: x, of: {level: [1, 2]}, expect: at least, bound: 1}]",
        "ladders: [copy]\nreport: {index: [attention], columns: width, metric: loss}\nnotes: ''",
    ],
)
def test_every_form_that_yaml_accepts_is_in_the_schema(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BASE + text)
    assert read_experiment(path).name == "mine"
    assert accepted(Experiment, BASE + text)


@pytest.mark.parametrize(
    "text",
    [
        "ladders: []",
        "ladders: [1]",
        "ladders: [{levels: [1]}]",
        "ladders: [copy]\nseeds: 0",
        "ladders: [copy]\nsedes: 3",
        "ladders: [copy]\nclaims: [{says: x, of: {}, expect: more}]",
    ],
)
def test_what_yaml_refuses_is_not_in_the_schema(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BASE + text)
    with pytest.raises(AttnlabError):
        read_experiment(path)
    assert not accepted(Experiment, BASE + text)
