"""Options that commands share: one name, one type and one meaning, with the defaults of the Python functions."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import attnlab
from attnlab.cli.app import MODULES, Commands
from attnlab.cli.options import field_settings
from attnlab.config.experiment import Experiment
from attnlab.errors import InvalidValueError
from attnlab.records import Record
from tests.cli.conftest import Command

FIELDS = ("layers", "width", "heads", "steps", "batch", "lr", "attn", "pos", "watch", "match", "settings", "recipe")
"""Parameters of ``train`` that set fields of a run."""
TRAIN_ONLY = {"--resume", "--compile", "--continue-from", "--threads"}
"""Options that ``sweep`` does not have: it always resumes, compiles and continues nothing, and its workers have one
thread."""
SIZES = ("--set", "train.test_examples=8", "--set", "train.validation_examples=4")
COPY = ("--task", "copy", "--complexity", "2", "--device", "cpu", "--seeds", "1", "--json", "--quiet", *SIZES)


def parameters(command: str) -> dict[str, Any]:
    """Name -> parameter of a command."""
    return {parameter.name: parameter for parameter in Commands().get_command(None, command).params}


def options(command: str) -> set[str]:
    """The names of the options of a command."""
    every = parameters(command).values()
    return {name for one in every if one.param_type_name == "option" for name in (*one.opts, *one.secondary_opts)}


@pytest.mark.parametrize("name", [*FIELDS, "vmap", "device", "plugins", "as_json", "quiet"])
def test_train_and_sweep_have_the_same_option(name: str) -> None:
    keys = {"opts", "secondary_opts", "default", "help", "metavar", "multiple", "is_flag", "required"}
    keys -= {"help"} if name == "pos" else set()
    train, sweep = (parameters(command)[name] for command in ("train", "sweep"))
    assert {key: getattr(train, key) for key in keys} == {key: getattr(sweep, key) for key in keys}
    assert train.type_descriptor.annotation == sweep.type_descriptor.annotation


def test_only_a_sweep_is_said_to_choose_the_position() -> None:
    helps = {name: parameters(name)["pos"].help for name in ("sweep", "train", "diagnose", "interference")}
    assert [name for name, text in helps.items() if "auto" in text] == ["sweep"]


def test_every_other_option_of_train_is_an_option_of_sweep() -> None:
    assert options("train") - options("sweep") == TRAIN_ONLY


@pytest.mark.parametrize(
    "words",
    [
        ("--layers", "1"),
        ("--width", "8", "--heads", "4"),
        ("--steps", "2"),
        ("--batch", "3"),
        ("--lr", "0.05"),
        ("--pos", "rotary"),
        ("--attn", "gpam:plus=0.25"),
        ("--watch", "gradients,rank"),
        ("--recipe", "muon-qk-norm", "--lr", "0.05"),
        ("--attn", "softmax,gpam", "--match", "flops"),
        ("--set", "train.weight_decay=0.5", "--set", "model.norm=post", "--set", "task.alphabet=5"),
        ("--set", "model.width=16", "--width", "8"),
    ],
    ids=" ".join,
)
def test_train_and_sweep_make_the_same_runs(words: tuple[str, ...], command: Command) -> None:
    quick = [
        word
        for option, value in (("--width", "8"), ("--steps", "2"))
        if option not in words
        for word in (option, value)
    ]
    trained, swept = (
        command("train", *COPY, *quick, *words),
        command("sweep", *COPY, *quick, *words, "--executor", "inline"),
    )
    assert (trained.status, swept.status) == (0, 0), trained.error + swept.error
    first, second = ([Record.from_line(line) for line in result.out.splitlines()] for result in (trained, swept))
    assert [record.spec for record in first] == [record.spec for record in second]
    assert [record.numbers() for record in first] == [record.numbers() for record in second]


@pytest.mark.parametrize("command_name", ["train", "sweep", "diagnose"])
def test_the_long_names_of_attention_and_position(command_name: str, command: Command) -> None:
    words = {
        "train": ("train", *COPY, "--width", "8", "--steps", "2"),
        "sweep": ("sweep", *COPY, "--width", "8", "--steps", "2", "--executor", "inline"),
        "diagnose": (
            "diagnose",
            "attention",
            "--layers",
            "2",
            "--width",
            "8",
            "--seeds",
            "1",
            "--batch",
            "2",
            "--json",
        ),
    }[command_name]
    results = [
        command(*words, attention, "gpam", position, "rotary")
        for attention, position in (("--attn", "--pos"), ("--attention", "--position"))
    ]
    assert [result.status for result in results] == [0, 0], results
    if command_name == "diagnose":
        assert results[0] == results[1]
        assert [one["variant"] for one in json.loads(results[0].out)["panels"][0]["variants"]] == ["gpam"]
        return
    records = [Record.from_line(result.out) for result in results]
    assert records[0].spec == records[1].spec
    assert (records[0].spec.variant, records[0].spec.model.position.name) == ("gpam", "rotary")


@pytest.mark.parametrize("name", ["train", "sweep"])
def test_the_defaults_are_those_of_the_python_function(name: str) -> None:
    python = inspect.signature(getattr(attnlab, name)).parameters
    cli = parameters(name)
    shared = {
        "task",
        "complexity",
        "seed",
        "seeds",
        "match",
        "store",
        "device",
        "vmap",
        "compile",
        "resume",
        "continue_from",
        "executor",
    }
    for key in shared & set(python) & set(cli):
        default = python[key].default
        if name == "sweep" and key in ("task", "seed", "seeds"):  # None: the experiment's, or its default in Python
            assert cli[key].default is None
        else:
            assert cli[key].default == (Path(default) if key == "store" and default else default), key
    assert python["attention"].default == python["position"].default == ()
    assert cli["attn"].default is cli["pos"].default is None


def test_an_inline_sweep_has_as_many_seeds_as_in_python(command: Command) -> None:
    words = ("--task", "copy", "--complexity", "2", "--width", "8", "--steps", "1", "--device", "cpu", *SIZES)
    result = command("sweep", *words, "--executor", "inline", "--json", "--quiet")
    assert inspect.signature(attnlab.sweep).parameters["seeds"].default is None  # both take the experiment's default
    assert len(result.out.splitlines()) == Experiment.model_fields["seeds"].default == 3


@pytest.mark.parametrize("name", MODULES)
def test_the_help_is_not_cut_off_at_80_columns(name: str, command: Command) -> None:
    result = command(name, "--help")
    assert result.status == 0
    assert "…" not in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_the_help_of_sweep_has_the_exit_status(command: Command) -> None:
    shown = " ".join(command("sweep", "--help").out.split())
    assert "The exit status is 1 if a run failed or a claim does not hold." in shown


def test_the_number_of_sequences_has_one_name() -> None:
    commands = {"generate", "sample", "audit", "evaluate", "diagnose"}
    assert {name for name in MODULES if "--sequences" in options(name)} == commands


@pytest.mark.parametrize(
    ("curriculum", "settings", "training"),
    [
        (["1..level"], [], {"": "1..level"}),
        (["1..level", "length=16..32"], [], {"": "1..level", "length": "16..32"}),
        (["1..level"], ["task.train.length=16", "task.filler=bag"], {"": "1..level", "length": 16}),
        (["length=16"], ["task.train=1..level"], {"": "1..level", "length": "16"}),
    ],
)
def test_ranges_of_several_options_are_put_together(
    curriculum: list[str], settings: list[str], training: dict[str, Any]
) -> None:
    assert field_settings(settings, curriculum=curriculum)["task"]["train"] == training


@pytest.mark.parametrize(
    ("curriculum", "settings", "message"),
    [
        (["1..2", "1..4"], [], "The range of levels is given twice: '1..2' and '1..4'."),
        (["pairs=1..2", "pairs=1..4"], [], "'pairs' is given twice: '1..2' and '1..4'."),
        (["1..level"], ["task.train=1..2"], "The range of levels is given twice: '1..level' and '1..2'."),
        (["pairs=1..level"], ["task.train.pairs=1..2"], "'pairs' is given twice: '1..level' and '1..2'."),
        (["1..level"], ["task.train=[1]"], "It cannot be [1]."),
    ],
)
def test_ranges_of_one_option_are_given_once(curriculum: list[str], settings: list[str], message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        field_settings(settings, curriculum=curriculum)
    assert (caught.value.where, caught.value.problem) == ("--curriculum", message)


@pytest.mark.parametrize("words", [("--curriculum", "pairs=1..2"), ("--set", "task.train.pairs=1..2")])
def test_ranges_of_the_levels_and_of_their_option_are_one(command: Command, words: tuple[str, ...]) -> None:
    result = command("train", "--task", "recall", "--curriculum", "1..level", *words, "--quiet")
    assert result.status == 2
    assert "task.train.pairs\n  'pairs' is given twice: '1..level' and '1..2'." in result.error


def test_what_is_no_section_is_left_to_the_plan() -> None:
    assert field_settings(["task=3"], curriculum=["1..2"])["task"] == 3


@pytest.mark.parametrize(
    "given",
    [
        {"curriculum": {"level": "1..level", "pairs": "1..2"}},
        {"curriculum": "1..level", "options": {"train": {"pairs": "1..2"}}},
        {"curriculum": {"pairs": "1..level"}, "options": {"train": {"pairs": "1..2"}}},
    ],
)
def test_python_takes_ranges_of_one_option_once(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="'pairs' is given twice: '1"):
        attnlab.train("recall", "softmax", store=None, **given)


def test_an_option_of_training_that_is_no_word_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="1 is no option of the task") as caught:
        attnlab.train("recall", "softmax", curriculum={1: "1..2"}, store=None)  # type: ignore[dict-item]
    assert caught.value.where == "task.train"
