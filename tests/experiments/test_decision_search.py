"""A sweep until decided: the answers it ends with, the runs it chooses, its budget, and what it does with a store."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab.analysis.comparisons import Comparison, Question
from attnlab.analysis.pairing import pairs
from attnlab.analysis.records import records
from attnlab.config.experiment import Experiment, stored_experiment
from attnlab.config.inline_experiment import inline_experiment
from attnlab.errors import InvalidValueError
from attnlab.experiments.decision_search import DecisionSearch, search_decisions
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.records import Record
from attnlab.rendering.answer import Answers, answer, answers_until_decided, rounds_text
from attnlab.rendering.report import report
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec
from attnlab.storage.status import store_status
from tests.experiments.sweeps import TINY, Fake, shown

LEVELS = (2, 4, 8, 16, 32)
Accuracy = Callable[[str, int, int], float]
"""Attention, level, seed -> accuracy."""


def runs(*attentions: str, seeds: int = 30, widths: Sequence[int] = (8,)) -> list[RunSpec]:
    """A grid, without any lookup of names."""
    tasks = {level: TaskSpec(name="copy", options={"symbols": level}, complexity="symbols") for level in LEVELS}
    return [
        RunSpec(task=task, model=ModelSpec(attention=(Part(name=name),), width=width), seed=seed)
        for width in widths
        for name in attentions
        for task in tasks.values()
        for seed in range(seeds)
    ]


def searched(specs: Sequence[RunSpec], accuracy: Accuracy, **more: Any) -> tuple[DecisionSearch, list[RunSpec]]:
    """The search, and the runs in the order in which it chose them."""
    chosen: list[RunSpec] = []

    def run(wanted: Sequence[RunSpec]) -> list[Record]:
        chosen.extend(wanted)
        return [shown(spec, accuracy(spec.variant, spec.task.level, spec.seed), chance=0.1) for spec in wanted]

    return search_decisions(specs, run, lambda _: Question(), **more), chosen


def up_to(**solved: int) -> Accuracy:
    """All or nothing: each attention solves the levels up to its own, with a little noise."""

    def accuracy(name: str, level: int, seed: int) -> float:
        noise = float(np.random.default_rng([seed, level]).uniform(0, 0.004))
        return 0.996 + noise if level <= solved[name] else 0.1 + noise

    return accuracy


def test_a_lead_is_found_where_it_is_and_with_few_runs() -> None:
    search, chosen = searched(runs("softmax", "expressive"), up_to(softmax=4, expressive=16))
    (comparison,) = search.comparisons
    assert comparison.outcome == "ahead"
    ahead = [one.level for one in comparison.by_level.values() if one.outcome == "ahead"]
    assert set(ahead) <= {8, 16}
    assert ahead
    assert comparison.solved_up_to(comparison.theirs) == 4
    assert comparison.solved_up_to(comparison.ours) in (8, 16)
    assert len(chosen) < 50
    assert len({spec.id for spec in chosen}) == len(chosen) == len(search.records)
    for one in comparison.by_level.values():  # both sides of a pair have the same seeds
        assert one.ours.keys() == one.theirs.keys()


@pytest.mark.parametrize("chance", [0.05, 0.5, 0.9])
def test_what_solves_and_what_guesses_are_told_apart_by_as_many_seeds_whatever_the_chance(chance: float) -> None:
    """Bets are on shares of the way from chance to a perfect score, and a guess below chance is a guess."""
    (pair,) = pairs([spec for spec in runs("softmax", "linear") if spec.task.level == 2])

    def accuracy(spec: RunSpec) -> float:
        return 1.0 if spec.variant == "softmax" else chance + (0.02 if spec.seed % 2 == 0 else -0.02)

    specs = [spec for side in (pair.theirs, pair.ours) for seed, spec in side[2].items() if seed < 10]
    records = {spec.id: shown(spec, accuracy(spec), chance=chance) for spec in specs}
    told = pair.compared(records, Question(levels=4)).by_level[2]
    assert (told.outcome, pair.reference) == ("behind", "softmax")
    assert told.differences == pytest.approx([-(1 - chance) + 0.02 * (seed % 2 == 0) for seed in range(10)])
    low, high = told.interval
    assert -(1 - chance) <= low < -0.9 * (1 - chance) < high < 0
    fewer = {spec.id: records[spec.id] for spec in specs if spec.seed < 8}
    assert pair.compared(fewer, Question(levels=4)).outcome == "undecided"


def test_a_round_that_gives_no_record_is_the_last() -> None:
    asked: list[int] = []

    def stopped(wanted: Sequence[RunSpec]) -> list[Record]:
        asked.append(len(wanted))
        return []

    search = search_decisions(runs("softmax", "linear"), stopped, lambda _: Question())
    assert len(asked) == 1
    assert (search.records, search.undecided) == ([], list(search.comparisons))


def test_the_end_of_a_decided_interval_is_not_shown_as_zero() -> None:
    """Evidence that has just decided leaves an end right above zero."""
    (pair,) = pairs([spec for spec in runs("softmax", "linear") if spec.task.level == 2])
    least = []
    for lead in np.linspace(0.3, 0.9, 13):
        specs = [spec for side in (pair.theirs, pair.ours) for seed, spec in side[2].items() if seed < 12]
        records = {one.id: shown(one, 0.1 + (lead if one.variant == "softmax" else 0.0), chance=0.1) for one in specs}
        for count in range(5, 13):
            found = {one.id: records[one.id] for one in specs if one.seed < count}
            comparison = pair.compared(found, Question())
            if comparison.outcome == "behind":
                least.append(-comparison.by_level[2].interval[1])
                assert " points (0 to " not in answer(comparison)
                break
    assert min(least) < 0.005


def test_the_interval_of_what_one_variant_solves_does_not_depend_on_chance() -> None:
    (pair,) = pairs([spec for spec in runs("softmax", seeds=6) if spec.task.level == 2])
    ends = set()
    for chance in (0.0, 0.5, 0.9):
        records = {spec.id: shown(spec, 1.0, chance=chance) for spec in pair.ours[2].values()}
        told = pair.compared(records, Question()).by_level[2]
        assert set(told.bets) == {1.0}
        ends.add(told.interval)
    assert len(ends) == 1


def test_two_guesses_are_alike_by_their_accuracies_and_not_because_they_are_below_chance() -> None:
    (pair,) = pairs([spec for spec in runs("softmax", "linear") if spec.task.level == 2])
    specs = [spec for side in (pair.theirs, pair.ours) for spec in side[2].values()]
    records = {spec.id: shown(spec, 0.05 if spec.variant == "linear" else 0.2, chance=0.25) for spec in specs}
    told = pair.compared(records, Question()).by_level[2]
    assert (told.outcome, set(told.differences), set(told.alike)) == ("undecided", {0.0}, {-1.0})


def test_rounds_have_more_runs_than_workers_where_more_seeds_are_needed_and_no_more_than_these() -> None:
    """The slow side of a pair must not leave workers without runs."""
    rounds: list[list[RunSpec]] = []
    solved = up_to(softmax=32, linear=1)

    def run(wanted: Sequence[RunSpec]) -> list[Record]:
        rounds.append(list(wanted))
        return [shown(spec, solved(spec.variant, spec.task.level, spec.seed), chance=0.1) for spec in wanted]

    specs = runs("softmax", "linear")
    search = search_decisions(specs, run, lambda _: Question(), at_once=2)
    assert search.comparisons[0].outcome == "behind"
    assert [sorted({spec.task.level for spec in one}) for one in rounds[:2]] == [[8], [2, 16]]
    assert max(map(len, rounds)) == 6
    alone = search_decisions(specs, run, lambda _: Question(), at_once=1)
    assert len(search.records) <= len(alone.records) + 2


def test_a_loss_is_told_as_one() -> None:
    search, _ = searched(runs("softmax", "gpam"), up_to(softmax=16, gpam=4))
    assert search.comparisons[0].outcome == "behind"


def test_equal_variants_are_alike_on_every_level_that_was_run() -> None:
    search, chosen = searched(runs("softmax", "linear"), up_to(softmax=8, linear=8))
    (comparison,) = search.comparisons
    assert comparison.outcome == "alike"
    assert {one.outcome for one in comparison.by_level.values()} == {"alike"}
    assert {8, 16} <= comparison.by_level.keys()
    assert len(chosen) < 80


def test_levels_that_go_both_ways_are_crossing() -> None:
    def accuracy(name: str, level: int, seed: int) -> float:
        return 0.95 if (level <= 8) == (name == "softmax") else 0.05

    specs = runs("softmax", "linear")
    records = {spec.id: shown(spec, accuracy(spec.variant, spec.task.level, spec.seed)) for spec in specs}
    (pair,) = pairs(specs)
    assert pair.compared(records, Question()).outcome == "crossing"


def retrained(specs: Sequence[RunSpec], train: str, evaluate: tuple[int, ...] = ()) -> list[RunSpec]:
    """The same runs with another training; as in a ladder, no run is tested on its own level once more."""
    found = []
    for spec in specs:
        level = spec.task.level
        other = {"train": {"symbols": train.replace("level", str(level))}}
        tested = {"evaluate": tuple(one for one in evaluate if one != level)}
        found.append(spec.model_copy(update={"task": spec.task.model_copy(update=other | tested)}))
    return found


@pytest.mark.parametrize("train", ["1..level", "1..2 -> 1..level", "1..32", "2..2 | 2..level"])
def test_levels_with_one_training_are_one_comparison(train: str) -> None:
    (pair,) = pairs(retrained(runs("softmax", "linear", seeds=2), train, evaluate=(8, 64)))
    assert (pair.variant, pair.reference) == ("linear", "softmax")
    assert tuple(pair.ours) == tuple(pair.theirs) == LEVELS


def test_trainings_that_differ_are_compared_at_equal_levels() -> None:
    specs = runs("softmax", seeds=2)
    first, second = pairs([*retrained(specs, "1..level"), *retrained(specs, "2..level")])
    assert [one.variant for one in (first, second)] == [
        "softmax · trained on symbols=1..level",
        "softmax · trained on symbols=2..level",
    ]
    assert tuple(first.ours) == tuple(second.ours) == LEVELS


def test_one_variant_is_asked_which_levels_most_seeds_solve() -> None:
    search, chosen = searched(runs("softmax"), up_to(softmax=4))
    (comparison,) = search.comparisons
    assert comparison.reference == ""
    assert {one.level: one.outcome for one in comparison.by_level.values()} == {
        level: "solved" if level <= 4 else "unsolved" for level in comparison.by_level
    }
    assert {4, 8} <= comparison.by_level.keys()
    assert len(chosen) < 50


def test_coins_are_not_decided_and_no_seed_is_lost() -> None:
    def coin(name: str, level: int, seed: int) -> float:
        return float(np.random.default_rng([seed, level, len(name)]).choice([0.1, 1.0]))

    search, chosen = searched(runs("softmax", "expressive", seeds=8), coin)
    assert search.undecided
    assert max(len(one.seeds) for one in search.comparisons[0].by_level.values()) == 8
    assert "undecided" in answer(search.comparisons[0])
    assert len(chosen) == len(search.records)


def test_copies_under_two_names_are_seldom_told_apart() -> None:
    wrong = 0
    for trial in range(30):

        def coin(name: str, level: int, seed: int, trial: int = trial) -> float:
            share = {2: 0.9, 4: 0.7, 8: 0.5, 16: 0.2, 32: 0.0}[level]
            return 0.1 + 0.9 * float(np.random.default_rng([trial, seed, level, len(name)]).random() < share)

        search, _ = searched(runs("softmax", "expressive", seeds=12), coin)
        wrong += search.comparisons[0].outcome in ("ahead", "behind", "crossing")
    assert wrong <= 4  # 1.5 are expected at most; more than 4 have a probability of 2 %


def test_every_setting_has_a_comparison_of_its_own_and_all_share_the_error() -> None:
    search, _ = searched(
        runs("softmax", "expressive", "linear", widths=(8, 16)), up_to(softmax=8, expressive=16, linear=8)
    )
    assert [(one.variant, one.reference, one.outcome) for one in search.comparisons] == [
        ("expressive · width=8", "softmax · width=8", "ahead"),
        ("linear · width=8", "softmax · width=8", "alike"),
        ("expressive · width=16", "softmax · width=16", "ahead"),
        ("linear · width=16", "softmax · width=16", "alike"),
    ]
    assert {one.question.comparisons for one in search.comparisons} == {4}


def test_where_only_another_field_differs_its_values_are_compared() -> None:
    specs = runs("softmax", widths=(8, 16, 32), seeds=2)
    assert [(pair.variant, pair.reference) for pair in pairs(specs)] == [
        ("softmax · width=16", "softmax · width=8"),
        ("softmax · width=32", "softmax · width=8"),
    ]


def test_failed_runs_are_replaced_by_further_seeds() -> None:
    def run(wanted: Sequence[RunSpec]) -> list[Record]:
        level = up_to(softmax=4, expressive=16)
        return [
            shown(spec, level(spec.variant, spec.task.level, spec.seed), status="failed" if spec.seed == 1 else "done")
            for spec in wanted
        ]

    search = search_decisions(runs("softmax", "expressive"), run, lambda _: Question())
    assert search.comparisons[0].outcome == "ahead"
    assert all(1 not in one.seeds for one in search.comparisons[0].by_level.values())


def asked(seeds: int | None = None, **more: Any) -> Experiment:
    """The tiny experiment, until it is decided."""
    return inline_experiment(
        "copy", attention=("softmax", "linear"), complexity=(1, 2), seeds=seeds, settings=TINY, until="decided", **more
    )


def better(spec: RunSpec) -> Record:
    """Linear attention fails on the second level."""
    return shown(spec, 1.0 if spec.variant == "softmax" or spec.task.level == 1 else 0.1)


def test_one_seed_is_one_seed_and_of_one_variant_its_levels_are_decided() -> None:
    def solved(name: str, level: int, seed: int) -> float:
        return 1.0

    search, _ = searched(runs("softmax", seeds=1), solved)
    text = answer(search.comparisons[0])
    assert "1 seed" in text
    assert "1 seeds" not in text
    decided, _ = searched(runs("softmax", seeds=30), solved)
    assert "which levels it solves is decided with" in answer(decided.comparisons[0])


def test_a_sweep_ends_decided_and_its_store_misses_nothing(tmp_path: Path) -> None:
    experiment = asked()
    specs = expand(experiment)
    assert len(specs) == 2 * 2 * 30
    executor = Fake(better)
    outcome = run_sweep(experiment, specs, tmp_path, executor)
    assert outcome.search is not None
    assert not outcome.search.undecided
    assert len(outcome.records) == len(executor.given) < 60
    assert not store_status(tmp_path).missing

    again = Fake(better)
    resumed = run_sweep(experiment, specs, tmp_path, again)
    assert again.given == []
    assert [record.id for record in resumed.records] == [record.id for record in outcome.records]

    text = report(records(tmp_path), stored_experiment(tmp_path)).comparisons[0]
    assert text.by_level[2].needed == outcome.search.comparisons[0].by_level[2].needed
    found = re.match(r"linear is behind softmax at 2 by 90 points \((\d+) to (\d+)\)", answer(text))
    assert found is not None, answer(text)
    assert int(found[1]) < 90 <= int(found[2])
    assert "linear solves up to 1, softmax up to 2" in answer(text)


def test_a_budget_ends_it_and_the_next_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = asked(budget="20m")
    specs = expand(experiment)

    class Clock:
        """A timer that fires when a sixth run is asked for."""

        def __init__(self, seconds: float, stop: Callable[[], None]) -> None:
            assert seconds == 1200
            self.stop, self.daemon = stop, False
            timers.append(self)

        def start(self) -> None:
            """Nothing, until the runs say so."""

        cancel = start

    timers: list[Clock] = []
    monkeypatch.setattr("attnlab.experiments.run_sweep.threading.Timer", Clock)

    def slow(spec: RunSpec) -> Record:
        if len(executor.given) >= 6:
            timers[-1].stop()
        return better(spec)

    executor = Fake(slow)
    outcome = run_sweep(experiment, specs, tmp_path, executor)
    assert outcome.search is not None
    assert outcome.search.spent
    assert outcome.search.undecided
    assert 6 <= len(outcome.records) < 12

    executor = Fake(better)
    resumed = run_sweep(experiment, specs, tmp_path, executor)
    assert resumed.search is not None
    assert not resumed.search.undecided
    assert not {spec.id for spec in executor.given} & {record.id for record in outcome.records}


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"until": "never"}, "--until"),
        ({"until": "decided", "budget": "soon"}, "--budget"),
        ({"until": "decided", "budget": "0s"}, "--budget"),
        ({"until": "decided", "equal": 2.0}, "--equal"),
        ({"until": "decided", "equal": math.nan}, "--equal"),
        ({"budget": "20m"}, "--budget"),
        ({"equal": 0.1}, "--equal"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        inline_experiment("copy", attention=("softmax", "linear"), **options)
    assert caught.value.where == where


def test_the_order_of_the_runs_is_told_in_short() -> None:
    search, _ = searched(runs("softmax", "expressive"), up_to(softmax=4, expressive=16))
    text = rounds_text(search.rounds)
    assert text.startswith("8 (1 seed), ")
    assert " .. " in text


def test_many_answers_are_cut_and_say_so() -> None:
    search, _ = searched(runs("softmax", "linear", widths=range(8, 88, 8), seeds=1), up_to(softmax=8, linear=8))
    answers = Answers(answers_until_decided(search.comparisons))
    assert len(answers.shown) == 8 < len(search.comparisons) == 10


def test_an_empty_comparison_says_so() -> None:
    comparison = Comparison("copy", "linear", "softmax", LEVELS, {}, {})
    assert comparison.outcome == "undecided"
    assert answer(comparison) == "linear and softmax on copy: nothing has been run yet."
