"""Ranges of training in an experiment: who sets them, where they are refused, and which trainings are one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnlab.config.experiment import Experiment, experiment
from attnlab.config.inline_experiment import inline_experiment
from attnlab.errors import AttnlabError
from attnlab.experiments.expand import expand

EXPERIMENT = """\
name: ranges
question: What do ranges change?
ladders:
  - copy
  - ladder: recall
    levels: [2, 4]
    options: {{length: 64}}
    {training}
model: {{width: 8, heads: 1, layers: 1}}
seeds: 1
"""


def written(folder: Path, training: str, more: str = "") -> Experiment:
    path = folder / "ranges.yaml"
    text = EXPERIMENT.format(training=training) + more
    path.write_text(text.replace("- copy", "- {ladder: recall, levels: [2], training: {length: 64}}") if more else text)
    return experiment(str(path))


def trained(one: Experiment) -> list[tuple[Any, Any, tuple[Any, ...]]]:
    """Level, training and further levels of each run of the second ladder."""
    tasks = [spec.task for spec in expand(one) if spec.task.name == "recall" and "length" not in spec.task.train]
    return [(task.level, task.train.get("pairs"), task.evaluate) for task in tasks]


EACH = [(2, "1..2", ()), (4, "1..4", ())]


@pytest.mark.parametrize(
    "training", ["training: {pairs: 1..level}", "training: {level: 1..level}", "training: 1..level"]
)
def test_an_entry_trains_each_level_up_to_it(tmp_path: Path, training: str) -> None:
    assert trained(written(tmp_path, training)) == EACH


@pytest.mark.parametrize(
    ("training", "more", "runs"),
    [
        ("training: 1..level", "grid: {task.train.pairs: [3]}", [(4, 3, (2,))]),
        ("training: {level: 1..level}", "grid: {task.train: [2..level]}", [(2, 2, ()), (4, "2..4", ())]),
        ("training: 2..level", "zip: [{task.train.level: [1..level], lr: [1e-3]}]", EACH),
        ("training: {pairs: 4..4}", "", [(4, 4, (2,))]),
    ],
)
def test_the_grid_overrides_the_entry_whatever_names_the_option(
    tmp_path: Path, training: str, more: str, runs: list[Any]
) -> None:
    assert trained(written(tmp_path, training, more)) == runs


@pytest.mark.parametrize(
    ("training", "more", "where", "message"),
    [
        ("training: {pears: 1..level}", "", "8: ladders[1].training.pears", "'recall' has no option 'pears'"),
        ("training: {pairs: 0..level}", "", "8: ladders[1].training.pairs", "Option 'pairs' cannot be 0."),
        ("training: {level: 3..level}", "", "8: ladders[1].training.level", "'3..level' is no range at the level 2"),
        ("training: 3..level", "", "8: ladders[1].training", "'3..level' is no range at the level 2"),
        ("training: {level: 1..2, pairs: 1}", "", "8: ladders[1].training", "'pairs' is given twice: '1..2' and 1."),
        ("", "grid: {task.train.pairs: [1..2, 3..level]}", "11: grid.task.train.pairs", "'3..level' is no range"),
        ("", "grid: {task.train: [{pairs: 0..level}]}", "11: grid.task.train", "Option 'pairs' cannot be 0."),
        ("", "zip: [{task.train.pears: [1]}]", "11: zip[0].task.train.pears", "'recall' has no option 'pears'"),
    ],
)
def test_what_cannot_be_trained_is_refused_where_it_is_written(
    tmp_path: Path, training: str, more: str, where: str, message: str
) -> None:
    one = written(tmp_path, training, more)
    with pytest.raises(AttnlabError) as caught:
        expand(one)
    assert str(caught.value).startswith(f"{tmp_path / 'ranges.yaml'}:{where}\n  {message}")


def test_the_options_of_an_entry_are_a_place_too(tmp_path: Path) -> None:
    with pytest.raises(AttnlabError) as caught:
        expand(written(tmp_path, "", "").model_copy(update={"ladders": entries(train={"pairs": "0..level"})}))
    assert caught.value.where == "task.train.pairs"


def entries(**options: Any) -> Any:
    return inline_experiment("recall", settings={"task": options}).ladders


def test_without_a_file_the_key_tells_the_place() -> None:
    with pytest.raises(AttnlabError) as caught:
        expand(inline_experiment("recall", complexity=[2], grid={"task.train.pairs": ["3..level"]}))
    assert caught.value.where == "task.train.pairs"
    assert caught.value.problem.startswith("'3..level' is no range at the level 2")


def test_equal_trainings_are_one_run_that_is_tested_on_all_levels() -> None:
    grid = {"task.train.pairs": ["1..level", "1..4"]}
    one = inline_experiment("recall", complexity=[2, 4], grid=grid, seeds=2, settings={"model": {"layers": 1}})
    assert trained(one) == [(2, "1..2", ())] * 2 + [(4, "1..4", (2,))] * 2
