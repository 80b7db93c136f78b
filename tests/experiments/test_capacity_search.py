"""The adaptive capacity search gives the result of the whole grid with fewer runs."""

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
from attnlab.experiments._capacity_search import VariantSearch, halfway, search_capacity, variant_searches
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.records import Record
from attnlab.specs import RunSpec, TaskSpec
from attnlab.storage import Store
from attnlab.storage.status import store_status
from tests.experiments.sweeps import Fake, numbers, shown, tiny

LEVELS = (2, 4, 8, 16, 32, 64, 128)


def ladder(seeds: int = 5, levels: Sequence[Any] = LEVELS) -> list[RunSpec]:
    """A grid of one variant, without any lookup of names."""
    return [
        RunSpec(task=TaskSpec(name="copy", options={"symbols": level}, complexity="symbols"), seed=seed)
        for level in levels
        for seed in range(seeds)
    ]


def sigmoid(spec: RunSpec, center: float, steepness: float, noise: float = 0.0) -> Record:
    """Accuracy that falls like a sigmoid over the logarithm of complexity, jittered by seed."""
    random = np.random.default_rng([spec.seed, spec.task.level])
    distance = math.log2(spec.task.level) - center + noise * float(random.normal())
    return shown(spec, 1.0 / (1.0 + math.exp(min(500.0, steepness * distance))))


def from_grid(specs: Sequence[RunSpec], show: Any) -> tuple[Any, float]:
    """The max solved level and C50 of the whole grid, as the report computes them."""
    (panel,) = grids([show(spec) for spec in specs])
    (row,) = panel.rows
    return panel.max_solved(row), panel.capacities[row][0][0]


def bracket(value: float) -> tuple[float, float]:
    """The neighboring levels between which a fitted complexity lies."""
    return max((level for level in LEVELS if level <= value), default=0), min(
        (r for r in LEVELS if r > value), default=math.inf
    )


def bracketed(search: VariantSearch) -> tuple[float, float]:
    """The neighboring levels between which the search places C50."""
    below, above = search.boundary(halfway)
    return (search.levels[below] if below >= 0 else 0), (search.levels[above] if above < len(LEVELS) else math.inf)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(center=st.floats(0.0, 8.0), steepness=st.floats(2.0, 60.0))
def test_it_gives_the_max_solved_level_and_the_c50_bracket_of_the_grid(center: float, steepness: float) -> None:
    specs = ladder(seeds=3)

    def show(spec: RunSpec) -> Record:
        return sigmoid(spec, center, steepness)

    search = search_capacity(specs, lambda wanted: [show(spec) for spec in wanted], 1.0)
    max_solved, c50 = from_grid(specs, show)
    (variant,) = search.searches
    assert variant.max_solved() == max_solved
    on_a_level = any(abs(record.accuracy.mean - 0.5) < 0.002 for record in map(show, specs))
    assert on_a_level or bracketed(variant) == bracket(c50)
    assert search.planned == 21
    assert search.saved == 21 - len(search.records) >= 4


def test_no_run_is_requested_twice_and_records_are_in_the_order_of_the_runs() -> None:
    requested: list[str] = []

    def run(wanted: Sequence[RunSpec]) -> list[Record]:
        requested.extend(spec.id for spec in wanted)
        return [sigmoid(spec, 3.5, 3.0, noise=0.5) for spec in wanted]

    search = search_capacity(ladder(), run, 0.0)
    assert len(requested) == len(set(requested))
    assert [record.id for record in search.records] == requested


def test_seeds_are_added_only_around_the_boundary_and_only_until_the_interval_is_narrow() -> None:
    def show(spec: RunSpec) -> Record:
        return sigmoid(spec, 3.5, 4.0, noise=0.6)

    def seeds(width: float) -> dict[Any, int]:
        search = search_capacity(ladder(20), lambda wanted: [show(spec) for spec in wanted], width)
        levels = [record.spec.task.level for record in search.records]
        return {level: levels.count(level) for level in LEVELS if level in levels}

    wide, narrow = seeds(math.inf), seeds(0.0)
    assert set(wide.values()) == {2}
    assert narrow[8] == narrow[16] == 20
    assert sum(narrow.values()) < 20 * len(LEVELS)


@pytest.mark.parametrize(("accuracy", "max_solved"), [(1.0, 128), (0.0, None)])
def test_a_ladder_without_a_boundary_takes_a_few_runs(accuracy: float, max_solved: Any) -> None:
    """Two seeds on each level of the bisection; more on the last level only, until C50 is known to one level.

    Seven seeds there, not six: the levels of two seeds beside it count with what was run on them, and as nothing more.
    """
    search = search_capacity(ladder(8), lambda wanted: [shown(spec, accuracy) for spec in wanted], 1.0)
    (variant,) = search.searches
    assert variant.max_solved() == max_solved
    assert search.decided == 1
    assert sorted(variant.seeds.values())[:-1] == [2, 2]
    assert len(search.records) == 2 + 2 + 7


@pytest.mark.parametrize("seeds", [1, 2, 5, 8])
def test_it_ends_with_few_seeds_and_needs_six_that_agree(seeds: int) -> None:
    search = search_capacity(ladder(seeds), lambda wanted: [sigmoid(spec, 3.5, 9.0) for spec in wanted], 1.0)
    assert search.searches[0].max_solved() == 4
    assert search.saved > 0
    assert search.decided == (seeds > 5)


def test_it_ends_where_runs_fail_and_such_levels_count_as_not_passed() -> None:
    def run(wanted: Sequence[RunSpec]) -> list[Record]:
        return [shown(spec, 1.0, status="failed" if spec.task.level > 8 else "done") for spec in wanted]

    search = search_capacity(ladder(3), run, 0.5)
    assert search.searches[0].max_solved() == 8
    assert any(record.status == "failed" for record in search.records)


def test_each_variant_is_searched_by_itself() -> None:
    experiment = tiny("softmax", "gpam", levels=(1, 2, 4), seeds=2)
    searches = variant_searches(expand(experiment))
    assert [(search.levels, [len(runs) for runs in search.runs]) for search in searches] == [([1, 2, 4], [2, 2, 2])] * 2


def test_an_adaptive_sweep_stores_resumes_and_counts_the_runs_it_saved(tmp_path: Path) -> None:
    experiment = tiny("softmax", "gpam", levels=(1, 2, 4, 8, 16), seeds=6)
    specs = expand(experiment)

    def show(spec: RunSpec) -> Record:
        return shown(spec, float(spec.task.level <= (2 if spec.variant == "gpam" else 8)))

    fake = Fake(show)
    outcome = run_sweep(experiment, specs, tmp_path, fake, adaptive=1.0)
    assert outcome.search is not None
    assert [search.max_solved() for search in outcome.search.searches] == [8, 2]
    assert outcome.search.saved == 60 - len(fake.given) > 30
    assert numbers(outcome.records) == numbers(Store(tmp_path).records())
    status = store_status(tmp_path)
    assert (len(status.done), status.missing) == (len(fake.given), ())  # what was saved is not missing
    again = Fake(show)
    assert run_sweep(experiment, specs, tmp_path, again, adaptive=1.0).num_run == 0
    assert again.given == []


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_what_the_search_calls_narrow_is_the_interval_of_the_report(noise: float, tmp_path: Path) -> None:
    """The report knows no run that was not run, and neither does the search."""
    experiment = tiny("softmax", "gpam", levels=(1, 2, 4, 8, 16), seeds=8)

    def show(spec: RunSpec) -> Record:
        steep = float(spec.task.level <= (2 if spec.variant == "gpam" else 8))
        return shown(spec, abs(steep - noise * ((spec.seed * 7 + spec.task.level) % 3 == 0)))

    search = run_sweep(experiment, expand(experiment), tmp_path, Fake(show), adaptive=1.0).search
    assert search is not None
    (panel,) = grids(search.records)
    for row, one in zip(panel.rows, search.searches, strict=True):
        ends = panel.capacities[row][0][1]
        levels = [-1 if end == 0 else len(one.levels) if end == math.inf else one.levels.index(end) for end in ends]
        assert one.is_narrow == (levels[1] - levels[0] <= 1)
