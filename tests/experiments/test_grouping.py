"""Runs of one shape are grouped, shared out among workers, and matched with their checkpoints."""

from __future__ import annotations

from pathlib import Path

from attnlab.experiments.grouping import groups, jobs
from attnlab.specs import RunSpec
from attnlab.storage import Store
from tests.experiments.sweeps import planned


def save_together(store: Store, specs: list[RunSpec]) -> None:
    """Checkpoints without arrays of runs that were trained as one program."""
    group = [spec.id for spec in specs]
    for spec in specs:
        store.save(spec.id, {}, {"id": spec.id, "step": 3, "group": group})


def test_runs_of_one_shape_are_grouped_in_the_order_of_the_plan() -> None:
    specs = planned("softmax", "gpam", seeds=3)
    for runs, sizes in ((1, [1] * 12), (2, [2, 1] * 4), (64, [3] * 4)):
        result = list(groups(specs, runs))
        assert [len(group) for group in result] == sizes
        assert {spec.id for group in result for spec in group} == {spec.id for spec in specs}
        assert all(len({spec.shape for spec in group}) == 1 for group in result)
    assert [group[0].id for group in groups(specs, 1)] == [spec.id for spec in specs]


def test_several_workers_share_the_runs_of_one_shape(tmp_path: Path) -> None:
    specs, store = planned(levels=(1,), seeds=10), Store(tmp_path)
    sizes = [[len(job.specs) for job in jobs(specs, store, 64, workers)] for workers in (1, 2, 4, 99)]
    assert sizes == [[10], [5, 5], [3, 3, 3, 1], [1] * 10]
    save_together(store, specs[:6])
    assert [len(job.specs) for job in jobs(specs, store, 64, 4)] == [6, 1, 1, 1, 1]


def test_a_run_with_a_checkpoint_of_its_own_is_not_grouped(tmp_path: Path) -> None:
    specs = planned(levels=(1,), seeds=3)
    store = Store(tmp_path)
    save_together(store, [specs[1]])
    assert [job.specs for job in jobs(specs, store, 4)] == [(specs[1],), (specs[0], specs[2])]


def test_runs_that_cannot_stay_together_take_their_checkpoints_with_them(tmp_path: Path) -> None:
    specs = planned(levels=(1,), seeds=4)
    store = Store(tmp_path)
    save_together(store, specs[1:])
    for width, expected in ((1, [[1], [2], [3], [0]]), (2, [[1, 2], [3, 0]])):
        found = list(jobs(specs, store, width))
        assert [[spec.seed for spec in job.specs] for job in found] == expected
        assert {run for job in found for run in job.checkpoints} == {spec.id for spec in specs[1:]}
    assert [[spec.seed for spec in job.specs] for job in jobs(specs[:3], store, 4)] == [[1, 2, 0]]


def test_the_costliest_runs_are_given_out_first_after_those_with_a_checkpoint(tmp_path: Path) -> None:
    narrow = planned(levels=(1,), seeds=2)
    wide = [spec.model_copy(update={"model": spec.model.model_copy(update={"width": 64})}) for spec in narrow]
    specs, store = [narrow[0], wide[0], narrow[1], wide[1]], Store(tmp_path)
    assert [job.specs for job in jobs(specs, store)] == [(wide[0],), (wide[1],), (narrow[0],), (narrow[1],)]
    save_together(store, [narrow[1]])
    assert [job.specs for job in jobs(specs, store)] == [(narrow[1],), (wide[0],), (wide[1],), (narrow[0],)]
