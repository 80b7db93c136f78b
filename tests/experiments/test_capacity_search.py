"""Adaptive climbing: the answer of the whole grid, with fewer runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnlab.analysis.grid import grids
from attnlab.experiments._capacity_search import VariantSearch, search_capacity, variant_searches
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.records import Record
from attnlab.specs import RunSpec, TaskSpec
from attnlab.storage import Store
from tests.experiments.sweeps import Fake, numbers, shown, tiny

RUNGS = (2, 4, 8, 16, 32, 64, 128)


def ladder(seeds: int = 5, levels: Sequence[Any] = RUNGS) -> list[RunSpec]:
    """A grid of one variant, without looking anything up."""
    return [
        RunSpec(task=TaskSpec(name="copy", options={"symbols": level}, complexity="symbols"), seed=seed)
        for level in levels
        for seed in range(seeds)
    ]


def curve(spec: RunSpec, cliff: float, steepness: float, noise: float = 0.0) -> Record:
    """Accuracy that falls like a sigmoid over the logarithm of complexity, jittered by seed."""
    random = np.random.default_rng([spec.seed, spec.task.level])
    place = math.log2(spec.task.level) - cliff + noise * float(random.normal())
    return shown(spec, 1.0 / (1.0 + math.exp(min(500.0, steepness * place))))


def whole(specs: Sequence[RunSpec], show: Any) -> tuple[Any, float]:
    """Reach and C50 of the whole grid, by the report."""
    (panel,) = grids([show(spec) for spec in specs])
    (row,) = panel.rows
    return panel.max_solved(row), panel.capacities[row][0][0]


def bracket(value: float) -> tuple[float, float]:
    """The neighboring levels between which a fitted complexity lies."""
    return max((level for level in RUNGS if level <= value), default=0), min(
        (r for r in RUNGS if r > value), default=math.inf
    )


def bracketed(ascent: VariantSearch) -> tuple[float, float]:
    """The neighboring levels between which C50 was found."""
    from attnlab.experiments._capacity_search import halfway

    below, above = ascent.cliff(halfway)
    return (ascent.levels[below] if below >= 0 else 0), (ascent.levels[above] if above < len(RUNGS) else math.inf)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cliff=st.floats(0.0, 8.0), steepness=st.floats(2.0, 60.0))
def test_it_gives_the_reach_and_the_c50_bracket_of_the_grid(cliff: float, steepness: float) -> None:
    specs = ladder(seeds=3)

    def show(spec: RunSpec) -> Record:
        return curve(spec, cliff, steepness)

    search = search_capacity(specs, lambda wanted: [show(spec) for spec in wanted], 1.0)
    reach, c50 = whole(specs, show)
    (ascent,) = search.searches
    assert ascent.reach() == reach
    on_a_rung = any(abs(shown.accuracy.mean - 0.5) < 0.002 for shown in map(show, specs))
    assert on_a_rung or bracketed(ascent) == bracket(c50)
    assert search.planned == 21
    assert search.saved == 21 - len(search.records) >= 4


def test_no_run_is_asked_for_twice_and_records_come_as_they_were_run() -> None:
    requested: list[str] = []

    def run(wanted: Sequence[RunSpec]) -> list[Record]:
        requested.extend(spec.id for spec in wanted)
        return [curve(spec, 3.5, 3.0, noise=0.5) for spec in wanted]

    search = search_capacity(ladder(), run, 0.0)
    assert len(requested) == len(set(requested))
    assert [record.id for record in search.records] == requested


def test_seeds_are_added_only_where_the_cliff_is_and_only_until_it_is_narrow() -> None:
    def show(spec: RunSpec) -> Record:
        return curve(spec, 3.5, 4.0, noise=0.6)

    def seeds(width: float) -> dict[Any, int]:
        search = search_capacity(ladder(20), lambda wanted: [show(spec) for spec in wanted], width)
        levels = [record.spec.task.level for record in search.records]
        return {level: levels.count(level) for level in RUNGS if level in levels}

    wide, narrow = seeds(math.inf), seeds(0.0)
    assert set(wide.values()) == {2}
    assert narrow[8] == narrow[16] == 20
    assert sum(narrow.values()) < 20 * len(RUNGS)


@pytest.mark.parametrize(("accuracy", "reach"), [(1.0, 128), (0.0, None)])
def test_a_ladder_without_a_cliff_takes_a_few_runs(accuracy: float, reach: Any) -> None:
    search = search_capacity(ladder(), lambda wanted: [shown(spec, accuracy) for spec in wanted], 1.0)
    (ascent,) = search.searches
    assert ascent.reach() == reach
    assert len(search.records) <= 6


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_come_to_an_end(seeds: int) -> None:
    search = search_capacity(ladder(seeds), lambda wanted: [curve(spec, 3.5, 9.0) for spec in wanted], 1.0)
    assert search.searches[0].reach() == 4
    assert search.saved > 0
    assert search.decided == (seeds > 1)


def test_rungs_whose_runs_fail_come_to_an_end_and_count_as_not_passed() -> None:
    def run(wanted: Sequence[RunSpec]) -> list[Record]:
        return [shown(spec, 1.0, status="failed" if spec.task.level > 8 else "done") for spec in wanted]

    search = search_capacity(ladder(3), run, 0.5)
    assert search.searches[0].reach() == 8
    assert any(record.status == "failed" for record in search.records)


def test_variants_climb_by_themselves_and_options_are_part_of_a_variant() -> None:
    experiment = tiny("softmax", "gpam", levels=(1, 2, 4), seeds=2)
    ascents = variant_searches(expand(experiment))
    assert [(ascent.levels, [len(runs) for runs in ascent.runs]) for ascent in ascents] == [([1, 2, 4], [2, 2, 2])] * 2


def test_a_sweep_that_climbs_keeps_resumes_and_says_what_it_saved(tmp_path: Path) -> None:
    experiment = tiny("softmax", "gpam", levels=(1, 2, 4, 8, 16), seeds=4)
    specs = expand(experiment)

    def show(spec: RunSpec) -> Record:
        return shown(spec, float(spec.task.level <= (2 if spec.variant == "gpam" else 8)))

    fake = Fake(show)
    outcome = run_sweep(experiment, specs, tmp_path, fake, adaptive=1.0)
    assert outcome.search is not None
    assert [ascent.reach() for ascent in outcome.search.searches] == [8, 2]
    assert outcome.search.saved == 40 - len(fake.given) > 20
    assert numbers(outcome.records) == numbers(Store(tmp_path).records())
    again = Fake(show)
    assert run_sweep(experiment, specs, tmp_path, again, adaptive=1.0).num_run == 0
    assert again.given == []
