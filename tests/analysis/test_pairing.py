"""Which variants are compared with which, on which levels, and how many comparisons share an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from attnlab.analysis.comparisons import Question
from attnlab.analysis.pairing import Pair, pairs, with_questions
from attnlab.analysis.panel_comparisons import decided_pairs
from attnlab.analysis.questions import num_comparisons, questions_of
from attnlab.config.experiment import Experiment
from attnlab.experiments.decision_search import search_decisions
from attnlab.experiments.expand import expand, with_levels
from attnlab.records import Evaluation, Record
from attnlab.rendering.report import report
from attnlab.specs import ModelSpec, ModulePart, Part, RunSpec, TaskSpec
from tests.experiments.sweeps import shown

LEVELS = (2, 4)


def experiment_of(*ladders: Any, grid: Any, zipped: Any = (), **more: Any) -> Experiment:
    return Experiment.model_validate(
        {"name": "a", "question": "", "ladders": ladders, "grid": grid, "zip": zipped, **more}
    )


def spec(level: int = 2, seed: int = 0, **model: Any) -> RunSpec:
    task = TaskSpec(name="copy", options={"symbols": level}, complexity="symbols")
    return RunSpec(task=task, model=ModelSpec(**model), seed=seed)


def named(name: str) -> tuple[Part, ...]:
    return (Part(name=name),)


def compared(specs: Sequence[RunSpec]) -> list[tuple[str, str]]:
    return [(pair.variant, pair.reference) for pair in pairs(specs)]


WHOLE = ModulePart(name="mixer.py:Mixer")


def test_a_whole_model_is_compared_with_the_first_attention_beside_another() -> None:
    specs = [spec(attention=named("softmax")), spec(attention=named("relu")), spec(module=WHOLE)]
    assert compared(specs) == [("relu", "softmax"), (str(WHOLE), "softmax")]


def test_what_needs_a_permission_is_compared_with_what_needs_none() -> None:
    leaks = [spec(attention=named(name), allow_leak=True) for name in ("leaky", "leakier")]
    assert [one[1] for one in compared([spec(attention=named("softmax")), *leaks])] == ["softmax", "softmax"]


def test_what_leaves_out_a_part_of_a_recipe_is_compared_within_each_setting() -> None:
    normed: dict[str, Any] = {"modifiers": {"qk_norm": True}}
    specs = [
        spec(attention=named(name), width=width, **(normed if name != "delta" else {}))
        for width in (16, 32)
        for name in ("softmax", "relu", "delta")
    ]
    found = pairs(specs)
    assert len(found) == 4
    widths = [
        {one.model.width for side in (pair.ours, pair.theirs) for runs in side.values() for one in runs.values()}
        for pair in found
    ]
    assert widths == [{16}, {16}, {32}, {32}]


def test_other_fields_are_compared_where_one_variant_is_alone() -> None:
    assert len(compared([spec(width=width) for width in (16, 32, 64)])) == 2
    assert [one[1] for one in compared([spec(width=width) for width in (16, 32, 64)])].count("") == 0


@pytest.mark.parametrize(
    ("grid", "zipped", "count"),
    [
        ({"attention": ["softmax", "gpam", "relu"]}, (), 2),
        ({"attention": ["softmax", "gpam"], "width": [8, 16, 32]}, (), 3),
        ({"model.attention": ["softmax", "gpam"]}, ({"lr": [1e-3, 1e-2], "warmup_ratio": [0.0, 0.1]},), 2),
        ({"width": [8, 16, 32]}, (), 2),
        ({"width": [8]}, ({"attention": ["softmax", "gpam", "relu"], "lr": [1e-3, 1e-2, 1e-1]},), 2),
        ({"attention": ["softmax"]}, (), 1),
    ],
)
def test_comparisons_of_a_plan_are_counted_as_they_are_made(
    grid: dict[str, list[Any]], zipped: Sequence[dict[str, list[Any]]], count: int
) -> None:
    """The search and every report share an error between as many, whatever has been run."""
    ladders = ({"ladder": "copy", "levels": LEVELS}, {"ladder": "parity", "levels": LEVELS})
    experiment = experiment_of(*ladders, grid=grid, zipped=zipped, seeds=1)
    assert num_comparisons(experiment) == len(pairs(expand(experiment))) == 2 * count


def decided_after(levels: Sequence[int] | None, seeds: int) -> tuple[str, str, str]:
    """What a search, the report of its experiment and that of its store say, where parity has been run on one level."""
    entry: Any = {"ladder": "parity"} | ({"levels": levels} if levels else {})
    experiment = experiment_of(
        entry,
        {"ladder": "copy", "levels": LEVELS},
        grid={"attention": ["softmax", "relu"]},
        until="decided",
        seeds=seeds,
    )
    specs = [one for one in expand(experiment) if one.task.name == "parity"]
    hardest = max(one.task.level for one in specs)
    records = [
        shown(one, 1.0 if one.variant == "softmax" else 0.5, chance=0.5) for one in specs if one.task.level == hardest
    ]
    search = search_decisions(specs, lambda _: [], questions_of(experiment), done=records, spent=lambda: True)
    told = [
        search.comparisons[0],
        *(report(records, one).comparisons[0] for one in (experiment, with_levels(experiment))),
    ]
    return tuple(one.outcome for one in told)  # type: ignore[return-value]


@pytest.mark.parametrize("levels", [None, (2, 4), (2,)])
def test_a_search_and_reports_decide_by_the_same_evidence(levels: Sequence[int] | None) -> None:
    """With the levels that happened to run, a report decided with 7 seeds what the search had left undecided."""
    outcomes = [decided_after(levels, seeds) for seeds in range(5, 14)]
    assert all(len(set(one)) == 1 for one in outcomes)
    assert {one[0] for one in outcomes} == {"undecided", "behind"}


def test_records_of_variants_that_are_not_in_the_plan_share_the_error_too() -> None:
    found = pairs([spec(attention=named(name)) for name in ("softmax", "relu", "gpam", "linear")])
    assert [own.comparisons for _, own in with_questions(found, lambda _: Question(comparisons=2))] == [3, 3, 3]
    assert [own.comparisons for _, own in with_questions(found, lambda _: Question(comparisons=5))] == [5, 5, 5]


def ranged(seed: int, accuracies: dict[int, float], name: str) -> Record:
    """A run that was trained on a range of levels, and tested on each."""
    task = TaskSpec(
        name="copy", options={"symbols": 16}, complexity="symbols", train={"symbols": "1..16"}, evaluate=(2, 4)
    )
    run = RunSpec(task=task, model=ModelSpec(attention=named(name)), seed=seed)
    record = shown(run, accuracies[16], chance=0.1)
    scores = {level: shown(run, accuracies[level], chance=0.1).accuracy for level in (2, 4)}
    tests = [
        Evaluation(level=level, length=8, accuracy=one, exact_match=one, loss=None) for level, one in scores.items()
    ]
    return record.model_copy(update={"evaluations": tuple(tests)})


def test_levels_that_share_a_training_are_compared_each_with_its_own_accuracy() -> None:
    found = [
        ranged(seed, {2: 1.0, 4: 1.0 if name == "softmax" else 0.1, 16: 0.1}, name)
        for name in ("softmax", "relu")
        for seed in range(12)
    ]
    (pair,) = pairs([one.spec for one in found])
    assert isinstance(pair, Pair)
    told = pair.compared({one.id: one for one in found}, Question(levels=3))
    assert list(told.by_level) == [2, 4, 16]
    assert [one.outcome for one in told.by_level.values()] == ["alike", "behind", "alike"]
    assert told.solved_up_to(told.theirs) == 4
    assert told.solved_up_to(told.ours) == 2


def test_runs_that_are_tested_on_several_levels_are_counted_once() -> None:
    """A run that is tested on three levels is one run, though each level wants a seed."""
    found = [ranged(seed, {2: 1.0, 4: 1.0, 16: 1.0}, name) for name in ("softmax", "relu") for seed in range(3)]
    (pair,) = pairs([one.spec for one in found])
    told = pair.compared({one.id: one for one in found}, Question(levels=3))
    wanting, runs = told.deciding()
    assert len(wanting) == 3
    assert runs == 2 * max(one.needed["alike"] for one in wanting)


def test_a_comparison_of_values_that_were_not_chosen_ranks_no_rows() -> None:
    """Each level chooses its own rate: by one rate alone both variants had the rank 3-0."""

    def accuracy(one: RunSpec) -> float:
        solves = one.variant == ("softmax" if one.task.level == 2 else "relu")
        chosen = 1e-3 if one.task.level == 2 else 1e-2
        return 1.0 if solves or one.train.lr != chosen else 0.1

    grid = {"attention": ["softmax", "relu"], "lr": [1e-3, 1e-2]}
    experiment = experiment_of({"ladder": "copy", "levels": LEVELS}, grid=grid, until="decided", seeds=12)
    records = [
        shown(one, accuracy(one), chance=0.1).model_copy(
            update={"last_validation": float(one.train.lr == (1e-3 if one.task.level == 2 else 1e-2))}
        )
        for one in expand(experiment)
    ]
    told = report(records, experiment)
    (panel,) = told.panels
    assert {one.outcome for one in told.comparisons} == {"ahead", "behind"}
    assert decided_pairs(panel, told.comparisons) == []
    assert set(told.ranks_of(panel).values()) == {"1-2"}
