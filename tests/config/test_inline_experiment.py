"""Experiments on the command line: the same values as those of a file."""

from __future__ import annotations

from typing import Any

import pytest

from attnlab.config.inline_experiment import inline_experiment, parse_grid, parse_levels
from attnlab.errors import AttnlabError


def test_it_is_the_experiment_that_a_file_would_write() -> None:
    experiment = inline_experiment(
        ["recall,copy", "delay:lag=3"],
        attention="softmax,dape:kernel=3,width=4,softmax+gpam",
        position=["none", "alibi,rotary"],
        complexity=[1, 2],
        grid={"lr": [1e-3, 3e-3]},
        seeds=5,
        match="parameters",
        settings={"model": {"width": 8}, "train": {"max_steps": 3}},
    )
    assert experiment.name == "recall-copy-delay"
    assert [(entry.ladder, entry.levels) for entry in experiment.ladders] == [
        ("recall", (1, 2)),
        ("copy", (1, 2)),
        ("delay", (1, 2)),
    ]
    assert experiment.ladders[2].options == {"lag": 3}
    dape = {"name": "dape", "options": {"kernel": 3, "width": 4}}
    assert experiment.grid["attention"] == ("softmax", dape, ["softmax", "gpam"])
    assert experiment.grid["position"] == ("none", "alibi", "rotary")
    assert experiment.grid["lr"] == (0.001, 0.003)
    assert (experiment.seeds, experiment.match, experiment.model, experiment.train) == (
        5,
        "parameters",
        {"width": 8},
        {"max_steps": 3},
    )


def test_options_are_as_exact_as_they_were_given() -> None:
    (part,) = inline_experiment("copy", attention="gpam:plus=0.123456789").grid["attention"]
    assert part["options"] == {"plus": 0.123456789}


def test_options_of_the_task_reach_every_ladder() -> None:
    experiment = inline_experiment("copy,recall", settings={"task": {"alphabet": 3}})
    assert [entry.options for entry in experiment.ladders] == [{"alphabet": 3}] * 2
    assert experiment.ladders[0].levels is None


def test_a_file_gives_its_name() -> None:
    assert inline_experiment("./deep/mine.yaml").name == "mine"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"grid": {"lr": []}}, "grid.lr\n  It cannot be []."),
        ({"grid": {"lrr": [1]}}, "grid.lrr\n  There is no key 'lrr'; did you mean 'lr'?"),
        (
            {"grid": {"curriculum": ["1..2"]}},
            "grid.curriculum\n  There is no key 'curriculum'.\n  Write task.train",
        ),
        (
            {"until": "decided", "budget": "0.4s"},
            "--budget\n  It cannot be '0.4s'.\n  Write a time such as 90s, 20m or 1h30m, between a second and a year.",
        ),
        ({"grid": {"lr": [1], "train.lr": [2]}}, "grid.train.lr\n  'train.lr' is varied twice."),
        ({"grid": {"attention": ["gpam"]}, "attention": "softmax"}, "--grid\n  'attention' is varied twice."),
        ({"grid": {"model.position": ["none"]}, "position": "none"}, "--grid\n  'position' is varied twice."),
        ({"complexity": []}, "--complexity\n  No level is given.\n  Write 2,4,8, or leave it out to take all."),
        ({"complexity": [None]}, "ladders.0.levels.0\n  It cannot be None."),
        ({"seeds": 0}, "--seeds\n  It cannot be 0."),
        ({"seed": -1}, "--seed\n  It cannot be -1."),
        ({"settings": {"modle": {"width": 3}}}, "--set modle\n  There is no section 'modle'; did you mean 'model'?"),
        ({"settings": {"task": 3}}, "--set task\n  'task' is a section.\n  Set a key of it: task.KEY."),
        ({"attention": "dape:kernel"}, "dape:kernel\n  'kernel' is not an option."),
        ({"attention": ","}, "''\n  A name is missing."),
        ({"match": "size"}, "match\n  It cannot be 'size'."),
    ],
)
def test_a_slip_is_told(more: dict[str, Any], told: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        inline_experiment("copy", **more)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("word", ["lr", "lr=", "=3", ""])
def test_a_word_without_values_is_told(word: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        parse_grid([word])
    assert str(caught.value) == f"--grid\n  '{word}' has no values.\n  Write key=value,value."


def test_a_key_that_stands_twice_is_told() -> None:
    with pytest.raises(AttnlabError, match="'lr' is varied twice"):
        parse_grid(["lr=1", "lr=2"])


def test_values_are_those_of_yaml() -> None:
    assert parse_grid(["a=[1, 2],[3]", "b=true,x,1e-3"]) == {"a": [[1, 2], [3]], "b": [True, "x", 0.001]}
    assert parse_levels("2, 4,x") == [2, 4, "x"]
    assert parse_levels(",") == []
    assert parse_levels(None) is None
