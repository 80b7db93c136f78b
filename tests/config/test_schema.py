"""The schemas of the YAML files tell an editor what each field means."""

from __future__ import annotations

from attnlab.config.experiment import Experiment
from attnlab.config.ladder import Ladder
from attnlab.config.schema import meanings, schema
from attnlab.specs import Value


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
