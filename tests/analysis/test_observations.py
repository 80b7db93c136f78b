from __future__ import annotations

import math
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from attnlab.analysis._observations import (
    METRICS,
    accuracy_bounds,
    check_field,
    check_metric,
    metric_bounds,
    observations,
    varying,
)
from attnlab.analysis.grids import grids
from attnlab.errors import InvalidValueError, UnknownNameError
from tests.rendering.fake_runs import run


def test_a_record_is_observed_on_its_level_on_others_and_for_its_subtasks() -> None:
    seen = observations([run(pairs=4, accuracy=0.9, other_levels={8: 0.6}, subtasks={"copy": 0.7})])
    assert [(one.level, one.subtask, one.metric("accuracy"), one.at_trained_level) for one in seen] == [
        (4, "", 0.9, True),
        (8, "", 0.6, False),
        (4, "copy", 0.7, True),
    ]
    assert [one.metric("loss") for one in seen] == [1.0, 2.0, 2.0]
    assert {one.trained for one in seen} == {4}


@pytest.mark.parametrize(
    ("trained", "own", "other"),
    [
        ("1..8", False, False),
        ("1..4", True, False),
        ("1..2 -> 1..4", True, False),
        ("1..4 -> 1..16", False, False),
        ("2 | 4", True, False),
        ("1..16", False, False),  # 16 was drawn among others, and it is not the level of the run
    ],
)
def test_a_run_is_at_its_trained_level_where_the_range_of_its_training_ends(
    trained: str, own: bool, other: bool
) -> None:
    seen = observations([run(pairs=4, trained=trained, other_levels={16: 0.5})])
    assert [(one.trained, one.at_trained_level) for one in seen] == [(trained, own), (trained, other)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 0.5),
        ("exact_match", 0.25),
        ("loss", 1.0),
        ("perplexity", math.e),
        ("solved", 0.0),
        ("validation_accuracy", 0.4),
        ("steps", 1200),
        ("seconds", 21.0),
        ("parameters", 1000),
        ("rank", 3.5),
    ],
)
def test_metrics(name: str, expected: float) -> None:
    (seen,) = observations([run(seed=1, accuracy=0.5, validation=0.4, diagnostics={"rank": 3.5})])
    assert seen.metric(name) == expected
    check_metric(name, [seen], "--metric")
    assert math.isnan(observations([run(status="failed")])[0].metric(name))


def test_a_metric_that_some_runs_lack_is_nan_there() -> None:
    seen = observations([run(diagnostics={"rank": 2.0}), run(seed=1, loss=None, environment={})])
    check_metric("rank", seen, "--metric")
    assert math.isnan(seen[1].metric("rank"))


def test_a_diverged_run_without_a_loss_has_no_perplexity_either() -> None:
    diverged, large = observations([run(status="diverged", loss=math.nan), run(seed=1, loss=2000.0)])
    assert math.isnan(diverged.metric("perplexity"))
    assert large.metric("perplexity") == math.exp(700)
    records = [run(seed=seed, loss=loss) for seed, loss in enumerate((1.0, 1.1, 1.2, math.nan, math.nan))]
    for metric in ("loss", "perplexity"):
        cell = grids(records, metric=metric)[0].cells[("softmax",), 4]
        assert (len(cell.values), cell.interval_kind) == (3, "student")


def test_a_perplexity_whose_variance_no_float_holds_has_no_interval_and_no_warning() -> None:
    records = [run(seed=seed, loss=loss) for seed, loss in enumerate((1.0, 1.1, 1.2, 800.0))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cell = grids(records, metric="perplexity")[0].cells[("softmax",), 4]
        assert math.isnan(cell.interval[0])


def test_squared_errors_have_no_perplexity() -> None:
    numbers, tokens = observations(
        [run(chance_guess="the number 0"), run(seed=1, chance_guess="a guess", vocabulary=16)]
    )
    assert math.isnan(numbers.metric("perplexity"))
    assert (numbers.metric("loss"), tokens.metric("perplexity")) == (1.0, math.e)
    check_metric("perplexity", [numbers, tokens], "--metric")
    check_metric("loss", [numbers], "--metric")
    with pytest.raises(InvalidValueError, match="answers are numbers") as caught:
        check_metric("perplexity", [numbers], "--metric")
    assert caught.value.where == "--metric"


def test_unknown_names_are_refused_with_the_closest() -> None:
    seen = observations([run(diagnostics={"rank": 2.0})])
    with pytest.raises(UnknownNameError, match="did you mean 'rank'") as caught:
        check_metric("ranks", seen, "--metric")
    assert caught.value.where == "--metric"
    assert all(name in caught.value.hint for name in METRICS)
    with pytest.raises(UnknownNameError, match="did you mean 'width'"):
        check_field("widht", seen, "--index")


def test_sections_may_be_named_or_not() -> None:
    seen = observations([run(options={"length": 64})])
    assert [check_field(name, seen, "") for name in ("train.lr", "lr", "model.width", "task.length", "seed")] == [
        "lr",
        "lr",
        "width",
        "task.length",
        "seed",
    ]


def test_varying_fields_begin_with_the_variant() -> None:
    seen = observations(
        [
            run("softmax", lr=1e-3, options={"length": 64}),
            run("expressive", lr=3e-3, width=32, options={"length": 32}, pairs=8, seed=3),
        ]
    )
    assert varying(seen) == ["attention", "width", "lr", "task.length"]
    assert varying([]) == []


def test_a_field_that_the_json_leaves_out_at_its_default_is_known() -> None:
    record = run()
    model, train = (
        record.spec.model.model_copy(update={"init_scale": 2.0}),
        record.spec.train.model_copy(update={"optimizer": "muon"}),
    )
    spec = record.spec.model_copy(update={"model": model, "train": train})
    other = record.model_copy(update={"spec": spec, "id": spec.id})
    one, two = observations([record, other])
    assert [seen.settings["init_scale"] for seen in (one, two)] == [1.0, 2.0]
    assert [seen.settings["optimizer"] for seen in (one, two)] == ["adamw", "muon"]


def test_options_of_one_task_do_not_vary_because_another_lacks_them() -> None:
    seen = observations([run(options={"length": 64}), run(task="copy", options={"alphabet": 4})])
    assert varying(seen) == []


def test_a_diverged_run_is_never_solved_but_has_its_scores() -> None:
    (seen,) = observations([run(accuracy=1.0, status="diverged")])
    assert (seen.metric("accuracy"), seen.metric("solved")) == (1.0, 0.0)


@pytest.mark.parametrize("chances", [[0.25, 0.25], [0.25, 0.5], [math.nan, 0.5], [math.nan]])
@pytest.mark.parametrize("low", [0.2, 0.6])
def test_bounds_of_the_accuracy_are_those_of_any_metric(chances: list[float], low: float) -> None:
    numbers = [low, math.nan, 0.9][: len(chances)]

    def one(chance: float) -> Any:
        return SimpleNamespace(chance=chance)

    expected = metric_bounds("accuracy", [one(chance) for chance in chances], numbers)
    assert accuracy_bounds(chances, numbers) == expected
    assert accuracy_bounds([], []) is None
