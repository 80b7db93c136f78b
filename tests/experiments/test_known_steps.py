"""The steps that a run is expected to take: those of like runs, whatever their budget was."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from attnlab import resources
from attnlab.experiments import known_steps
from attnlab.experiments.known_steps import KnownRun, KnownSteps, known_run, known_runs, shipped_runs
from attnlab.specs import RunSpec
from tests.experiments.sweeps import planned, shown


def spec_of(**train: Any) -> RunSpec:
    return planned(levels=(2,), seeds=1, **{"early_stop_accuracy": 0.9, "max_steps": 60, **train})[0]


def took(steps: int, early_stopped: bool = True, **changed: Any) -> KnownRun:
    return replace(known_run(spec_of(), steps, early_stopped), **changed)


def test_solved_runs_tell_their_steps_and_others_the_whole_budget() -> None:
    known = KnownSteps([took(20), took(50), took(60, early_stopped=False)], shipped=())
    estimate = known.estimate(spec_of())
    assert estimate.mean == pytest.approx(130 / 3)
    assert (estimate.source, estimate.known) == ("store", 3)
    longer = known.estimate(spec_of(max_steps=200))
    assert longer.mean == pytest.approx((20 + 50 + 200) / 3)
    assert known.estimate(spec_of(max_steps=30)).mean == pytest.approx((20 + 30 + 30) / 3)


@pytest.mark.parametrize("field", ["task", "level", "variant", "position"])
def test_runs_of_another_task_level_attention_or_position_tell_nothing(field: str) -> None:
    changed: dict[str, Any] = {field: "other"}
    estimate = KnownSteps([took(20, **changed)], shipped=()).estimate(spec_of())
    assert (estimate.mean, estimate.source, estimate.least) == (60, "unknown", 3)


def test_a_short_budget_in_which_nothing_was_solved_tells_nothing_of_a_long_one() -> None:
    known = KnownSteps([took(60, early_stopped=False)], shipped=[took(20)])
    assert known.estimate(spec_of(max_steps=120)).source == "store"
    assert known.estimate(spec_of(max_steps=121)).source == "shipped"
    assert KnownSteps(known.store, ()).estimate(spec_of(max_steps=121)).source == "unknown"


def test_runs_that_agree_in_most_count_alone() -> None:
    runs = [took(20, width=128, lr=1.0), took(30, lr=1.0), took(40, lr=1.0, width=128, layers=7)]
    assert KnownSteps(runs, shipped=()).estimate(spec_of()).mean == 30
    assert KnownSteps(runs[::2], shipped=()).estimate(spec_of()).mean == 20


def test_the_store_comes_before_the_shipped_results_and_these_before_a_share() -> None:
    known = KnownSteps([took(20)], [took(30)])
    assert known.estimate(spec_of(), 0.25).source == "store"
    assert replace(known, store=()).estimate(spec_of(), 0.25).source == "shipped"
    share = KnownSteps((), ()).estimate(spec_of(), 0.25)
    assert (share.mean, share.source) == (15, "experiment")
    assert share.deviation == pytest.approx(60 * math.sqrt(0.25 * 0.75))


@pytest.mark.parametrize("train", [{"early_stop_accuracy": None}, {"max_steps": 3, "eval_every": 3}])
def test_runs_that_cannot_stop_early_take_all_steps(train: dict[str, object]) -> None:
    estimate = KnownSteps([took(20)], ()).estimate(spec_of(**train), 0.25)
    assert (estimate.source, estimate.deviation) == ("fixed", 0)


def test_runs_of_one_shape_are_averaged_over_their_learning_rates() -> None:
    slow = spec_of(lr=1e-4)
    known = KnownSteps([took(20), took(40, lr=1e-4)], ())
    estimate = known.average([spec_of(), slow, slow])
    assert estimate.mean == pytest.approx(100 / 3)
    assert (estimate.source, estimate.known) == ("store", 2)
    assert known.average([spec_of(), spec_of(early_stop_accuracy=None)]).source == "store"


def test_one_known_run_has_the_usual_variation_and_several_their_own() -> None:
    one = KnownSteps([took(20)], ()).estimate(spec_of())
    assert one.deviation == known_steps.VARIATION * 20
    two = KnownSteps([took(20), took(30)], ()).estimate(spec_of())
    assert two.deviation == pytest.approx(math.sqrt(50))


def test_only_runs_that_could_stop_early_are_known() -> None:
    spec = spec_of()
    records = [shown(spec), shown(spec, status="diverged"), shown(spec_of(early_stop_accuracy=None))]
    records.append(shown(spec_of(max_steps=3, eval_every=3)))
    (run,) = known_runs(records)
    assert run == known_run(spec, 60, early_stopped=False)


def test_the_shipped_results_are_what_the_file_has() -> None:
    runs = shipped_runs()
    assert {run.task for run in runs} >= {"recall"}
    assert all(0 < run.steps <= run.max_steps for run in runs)
    file = resources.folder("experiments") / known_steps.FILE
    assert known_steps.as_json(runs) == file.read_text()


def test_an_estimate_is_that_of_looking_at_every_known_run() -> None:
    """Against a plain search, with runs that agree in this or that."""
    choices: dict[str, list[Any]] = {"width": [16, 32], "lr": [1.0, 3e-3], "max_steps": [60, 90], "level": [2, 4]}
    combinations = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    runs = [
        took(10 + 7 * index, bool(index % 3), variant=("softmax", "gla")[index % 2], **changed)
        for index, changed in enumerate(combinations * 2)
    ]
    known = KnownSteps(runs, shipped=())
    for changed in combinations:
        if changed["level"] != 2:
            continue
        wanted = spec_of(max_steps=changed["max_steps"], lr=changed["lr"])
        own = known_run(wanted)
        same = [one for one in runs if (one.variant, one.level) == (own.variant, own.level)]
        agreement = [sum(getattr(one, name) == getattr(own, name) for name in known_steps.PREFERRED) for one in same]
        like = [one for one, count in zip(same, agreement, strict=True) if count == max(agreement)]
        steps = [min(one.steps, own.max_steps) if one.early_stopped else own.max_steps for one in like]
        for _ in range(2):
            estimate = known.estimate(wanted)
            assert estimate.mean == pytest.approx(sum(steps) / len(steps))
            assert estimate.known == len(steps)
