from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab import resources
from attnlab.errors import AttnlabError, InvalidValueError, UnknownNameError
from attnlab.tasks import TASKS, Batch, Task
from attnlab.tasks.io.formats import FORMATS
from attnlab.tasks.io.ladder_training import shares_training, with_training
from attnlab.tasks.io.ladders import builtin_ladders, find_ladder, task_spec

LADDER = """\
name: mine
summary: My own.
task: recall
complexity: pairs
levels: [1, 2]
default: 1
options: {length: 32}
training: {pairs: 1..2}
source: me
"""


class Loose(Task):
    """A task without a ladder."""

    complexity = "depth"

    def __init__(self, *, depth: int = 3) -> None:
        self.depth = depth

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        raise NotImplementedError


@pytest.fixture
def loose() -> Iterator[None]:
    TASKS.register("loose", source="here")(Loose)
    yield
    TASKS._entries.pop("loose")


def write_ladder(folder: Path, old: str = "", new: str = "") -> str:
    path = folder / "mine.yaml"
    path.write_text(LADDER.replace(old, new) if old else LADDER)
    return str(path)


def test_built_in_ladders_are_those_of_the_resources() -> None:
    assert [ladder.name for ladder in builtin_ladders()] == resources.names("tasks")


@pytest.mark.parametrize(("word", "name"), [("recall", "recall"), ("mqar", "recall"), ("parity-last", "parity-last")])
def test_a_ladder_is_found_by_its_name_or_the_alias_of_its_task(word: str, name: str) -> None:
    assert find_ladder(word).name == name


def test_a_ladder_is_found_by_its_file(tmp_path: Path) -> None:
    assert find_ladder(write_ladder(tmp_path)).options == {"length": 32}


@pytest.mark.usefixtures("loose")
def test_a_task_without_a_ladder_has_one_level_of_its_own_complexity() -> None:
    ladder = find_ladder("loose")
    assert (ladder.name, ladder.task, ladder.complexity, ladder.levels, ladder.default) == (
        "loose",
        "loose",
        "depth",
        (3,),
        3,
    )
    assert (ladder.summary, ladder.source) == ("A task without a ladder.", "here")


def test_a_wrong_name_suggests_ladders_and_tasks() -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_ladder("parity-lost")
    assert str(caught.value).startswith(
        "task\n  There is no task 'parity-lost'; did you mean 'parity-last'?\n  Closest: parity-last, parity, "
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("task: recall", "task: recal", "3: task\n  There is no task 'recal'; did you mean 'recall'?"),
        ("complexity: pairs", "complexity: pair", "4: complexity\n  'recall' has no option 'pair'; did you mean"),
        (
            "[1, 2]",
            "[1, 0]",
            "5: levels[1]\n  Option 'pairs' cannot be 0.\n  Input should be greater than or equal to 1",
        ),
        ("{length: 32}", "{lenght: 32}", "7: options.lenght\n  'recall' has no option 'lenght'; did you mean"),
        ("{length: 32}", "{length: x}", "7: options.length\n  Option 'length' cannot be 'x'."),
    ],
)
def test_an_invalid_ladder_is_reported_with_file_and_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_ladder(tmp_path, old, new)
    with pytest.raises(AttnlabError) as caught:
        find_ladder(path)
    assert str(caught.value).startswith(f"{path}:{message}")


@pytest.mark.parametrize(
    ("options", "level", "chosen"),
    [({}, None, {"pairs": 1, "length": 32}), ({}, 2, {"pairs": 2}), ({"pairs": 3, "length": 64}, None, {"pairs": 3})],
)
def test_options_of_the_user_take_precedence_over_those_of_the_ladder(
    tmp_path: Path, options: dict[str, Any], level: Any, chosen: dict[str, Any]
) -> None:
    spec = task_spec(find_ladder(write_ladder(tmp_path)), options, level)
    assert chosen.items() <= spec.options.items()
    assert spec.options["length"] == options.get("length", 32)
    assert spec.level == chosen["pairs"]
    assert (spec.name, spec.complexity, spec.train, spec.version) == ("recall", "pairs", {"pairs": "1..2"}, 1)


def test_a_spec_has_every_option_with_its_value() -> None:
    assert set(task_spec(find_ladder("recall"), {}, None).options) == set(TASKS.entry("recall").options)


def test_the_complexity_is_given_once() -> None:
    with pytest.raises(InvalidValueError) as caught:
        task_spec(find_ladder("recall"), {"pairs": 3}, 4)
    assert "Both complexity and 'pairs' are given; they are one option." in str(caught.value)


@pytest.mark.parametrize(
    ("options", "level", "message"),
    [
        ({}, "many", "Option 'pairs' cannot be 'many'."),
        ({"pair": 2}, None, "'recall' has no option 'pair'; did you mean 'pairs'?"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], level: Any, message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        task_spec(find_ladder("recall"), options, level)
    assert caught.value.problem == message
    assert caught.value.where


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_sequences_is_told_how_to_be_given(suffix: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_ladder(f"folder/data{suffix}")
    assert str(caught.value) == (
        f"task\n  'folder/data{suffix}' is a file of sequences, not a task.\n  Write file:path=folder/data{suffix}."
    )


@pytest.mark.parametrize(
    ("training", "at_one", "at_two"),
    [
        ("1..level", 1, "1..2"),
        ({"pairs": "1..level"}, 1, "1..2"),
        ("1 ..level", 1, "1..2"),
        ("1..1 -> 1.. level", "1 -> 1", "1 -> 1..2"),
    ],
)
def test_a_range_that_ends_at_the_level_is_one_of_each_run(
    tmp_path: Path, training: Any, at_one: Any, at_two: Any
) -> None:
    ladder = with_training(find_ladder(write_ladder(tmp_path, "training: {pairs: 1..2}\n", "")), training)
    assert not shares_training(ladder)
    assert [task_spec(ladder, {}, level).train["pairs"] for level in (1, 2)] == [at_one, at_two]


def test_a_fixed_range_is_shared_by_all_levels(tmp_path: Path) -> None:
    assert shares_training(find_ladder(write_ladder(tmp_path)))
    assert not shares_training(find_ladder(write_ladder(tmp_path, "1..2", "1..level")))
    assert not shares_training(find_ladder("recall"))


HINT = (
    "Write lo..hi, or lo..level to end at each level; several with -> (moving) or | (stages) between them: "
    "3..40 -> 3..160."
)


@pytest.mark.parametrize("value", [4, "4", " 4", "4..4", "4 .. 4"])
def test_a_range_of_one_number_is_the_number(value: Any) -> None:
    ladder = with_training(find_ladder("recall"), value)
    assert ladder.training == task_spec(ladder, {}, 4).train == {"pairs": 4}


def test_digits_stay_a_word_where_the_task_takes_words() -> None:
    ladder = with_training(find_ladder("file"), {"split": "4"})
    assert ladder.training == {"split": "4"}


@pytest.mark.parametrize(
    ("training", "where", "message"),
    [
        ("0..level", "task.train.pairs", "Option 'pairs' cannot be 0.\n"),
        ("x..level", "task.train.pairs", f"Option 'pairs' cannot be 'x..level'.\n  {HINT}"),
        ("1..levels", "task.train.pairs", f"Option 'pairs' cannot be '1..levels'.\n  {HINT}"),
        ("1..LEVEL", "task.train.pairs", f"Option 'pairs' cannot be '1..LEVEL'.\n  {HINT}"),
        ("level..8", "task.train.pairs", f"Option 'pairs' cannot be 'level..8'.\n  {HINT}"),
        ("1..level+1", "task.train.pairs", f"Option 'pairs' cannot be '1..level+1'.\n  {HINT}"),
        ("1..level -> level", "task.train.pairs", f"The ranges '1..level -> level' cannot be read.\n  {HINT}"),
        ("", "task.train.pairs", f"Option 'pairs' cannot be empty.\n  {HINT}"),
        ("9" * 40, "task.train.pairs", f"Option 'pairs' cannot be '{'9' * 40}'.\n  {HINT}"),
        ({"order": "1..levels"}, "task.train.order", "'recall' has no option 'order'"),
        ({1: "1..2"}, "task.train", "1 is no option of the task.\n"),
        (["1..2"], "task.train", "It cannot be ['1..2'].\n"),
        ({"level": "1..level", "pairs": "1..2"}, "task.train.pairs", "'pairs' is given twice: '1..level' and '1..2'."),
    ],
)
def test_what_training_cannot_be_is_refused(training: Any, where: str, message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        with_training(find_ladder("recall"), training)
    assert str(caught.value).startswith(f"{where}\n  {message}")


def test_a_word_that_no_number_replaces_is_told_what_the_option_takes() -> None:
    with pytest.raises(InvalidValueError) as caught:
        with_training(find_ladder("mixture"), {"alphabet": "common"})
    assert caught.value.hint == "Input should be 'disjoint' or 'shared'. Default: 'disjoint'."


def test_ranges_alone_are_those_of_the_option_that_the_levels_set() -> None:
    assert with_training(find_ladder("mixture-tasks"), "1..level").training == {"count": "1..level"}
    assert with_training(find_ladder("mixture-tasks"), {"level": 1}).training == {"level": 1}


@pytest.mark.parametrize("training", ["20..level", {"length": "64..level"}])
def test_a_range_that_is_empty_at_some_levels_is_refused_at_these_alone(training: Any) -> None:
    ladder = with_training(find_ladder("recall"), training)
    assert set(task_spec(ladder, {}, 128).train.values()) == {
        ends.replace("level", "128") for ends in ([training] if isinstance(training, str) else training.values())
    }
    with pytest.raises(InvalidValueError, match=r"is no range at the level 4: The range \d+\.\.4 is empty") as caught:
        task_spec(ladder, {}, 4)
    assert caught.value.where == f"task.train.{next(iter(ladder.training))}"


def test_a_range_to_the_level_needs_a_level_that_is_an_integer() -> None:
    ladder = with_training(find_ladder("flip-flop-ignore"), {"ignore": "0..level"})
    with pytest.raises(InvalidValueError, match=r"'0\.\.level' cannot end at the level 0\.8"):
        task_spec(ladder, {}, None)


@pytest.mark.parametrize(
    ("training", "key", "message"),
    [
        ("{pears: 1..level}", ".pears", "'recall' has no option 'pears'; did you mean 'pairs'?"),
        ("{pairs: 0..level}", ".pairs", "Option 'pairs' cannot be 0."),
        ("{pairs: 2..1}", ".pairs", "The range 2..1 is empty."),
        ("{level: 2..level}", ".level", "'2..level' is no range at the level 1: The range 2..1 is empty."),
        ("2..level", "", "'2..level' is no range at the level 1: The range 2..1 is empty."),
        ("{pairs: 1..2, level: 1..level}", "", "'pairs' is given twice: '1..2' and '1..level'."),
        ("[1, 2]", "", "It cannot be [1, 2]."),
    ],
)
def test_what_a_ladder_file_trains_on_is_checked_where_it_is_written(
    tmp_path: Path, training: str, key: str, message: str
) -> None:
    path = write_ladder(tmp_path, "{pairs: 1..2}", training)
    with pytest.raises(AttnlabError) as caught:
        find_ladder(path)
    assert str(caught.value).startswith(f"{path}:8: training{key}\n  {message}")


@pytest.mark.parametrize("training", ["{level: 1..level}", "1..level", "{pairs: 1 .. level}"])
def test_a_ladder_file_may_name_the_levels_or_leave_the_name_out(tmp_path: Path, training: str) -> None:
    ladder = find_ladder(write_ladder(tmp_path, "{pairs: 1..2}", training))
    assert ladder.training == {"pairs": "1..level"}
    assert ladder.where("training").endswith("mine.yaml:8: training")
