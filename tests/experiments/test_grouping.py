"""Runs of one shape are grouped, shared out among workers, and matched with their checkpoints."""

from __future__ import annotations

from pathlib import Path

from attnlab.experiments.grouping import groups, jobs
from attnlab.storage import Store
from attnlab.training.loop import group_name
from tests.experiments.sweeps import planned


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
    store.save(group_name(specs[:6]), {}, {"runs": [{"id": spec.id} for spec in specs[:6]]})
    assert [len(job.specs) for job in jobs(specs, store, 64, 4)] == [6, 1, 1, 1, 1]


def test_a_run_with_a_checkpoint_of_its_own_is_not_grouped(tmp_path: Path) -> None:
    specs = planned(levels=(1,), seeds=3)
    store = Store(tmp_path)
    store.save(specs[1].id, {}, {"runs": [{"id": specs[1].id}]})
    assert [job.specs for job in jobs(specs, store, 4)] == [(specs[1],), (specs[0], specs[2])]


def test_a_checkpoint_of_other_runs_is_not_used(tmp_path: Path) -> None:
    specs = planned(levels=(1,), seeds=3)
    store = Store(tmp_path)
    store.save("other", {}, {"runs": [{"id": specs[0].id}, {"id": "unplanned"}]})
    store.save("large", {}, {"runs": [{"id": spec.id} for spec in specs]})
    assert [(job.specs, job.checkpoint) for job in jobs(specs, store, 2)] == [
        (tuple(specs[:2]), None),
        ((specs[2],), None),
    ]
