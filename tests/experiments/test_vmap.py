"""Vmapped runs in a sweep: what is stored of a group, and how it goes on after an interruption or a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.errors import InterruptedTraining
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import (
    Failed,
    Finished,
    Job,
    Message,
    Recorded,
    Saved,
    WorkerSettings,
    group_name,
    remaining_job,
    run_job,
)
from attnlab.experiments.expand import expand
from attnlab.experiments.grouping import jobs
from attnlab.experiments.run_sweep import run_sweep
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.storage.status import store_status
from tests.experiments.sweeps import numbers, planned, tiny
from tests.training.runs import interrupt_at


def assert_close(records: list[Record], others: list[Record]) -> None:
    """Assert that the runs are the same and that their losses differ by rounding alone."""
    assert [record.id for record in records] == [record.id for record in others]
    for one, other in zip(records, others, strict=True):
        assert one.status == other.status
        assert [point.loss for point in one.history] == pytest.approx([p.loss for p in other.history], rel=1e-4)


def test_a_sweep_of_vmapped_runs_stores_the_results_of_one_of_single_runs(tmp_path: Path) -> None:
    experiment = tiny("softmax", "gpam", seeds=3)
    specs = expand(experiment)
    together = run_sweep(experiment, specs, tmp_path / "together", Inline(WorkerSettings(vmap=2)))
    alone = run_sweep(experiment, specs, tmp_path / "alone", Inline(WorkerSettings()))
    assert_close(list(together.records), list(alone.records))
    assert sorted(record.environment["vmap"] for record in together.records) == [1] * 4 + [2] * 8
    assert {record.environment["vmap"] for record in alone.records} == {1}
    for kind in ("weights", "checkpoints"):
        names = [sorted(file.name for file in (tmp_path / folder / kind).glob("*")) for folder in ("together", "alone")]
        assert names[0] == names[1]
    assert run_sweep(experiment, specs, tmp_path / "together", Inline(WorkerSettings(vmap=2))).num_run == 0


@pytest.mark.parametrize("again", [3, 64])
def test_an_interrupted_group_goes_on_with_the_same_runs(tmp_path: Path, again: int) -> None:
    experiment = tiny(levels=(1,), seeds=5, max_steps=30, eval_every=3)
    specs = expand(experiment)
    whole = run_sweep(experiment, specs, tmp_path / "whole", Inline(WorkerSettings(vmap=3)))
    with pytest.raises(InterruptedTraining):
        run_sweep(experiment, specs, tmp_path / "cut", Inline(WorkerSettings(vmap=3)), progress=interrupt_at(3))
    store = Store(tmp_path / "cut")
    together = tuple(spec.id for spec in specs[:3])
    assert {run: one.group for run, one in store.checkpoints().items()} == dict.fromkeys(together, together)
    assert store_status(tmp_path / "cut").checkpoints.keys() == set(together)
    planned_jobs = list(jobs(specs, store, again))
    assert [job.specs for job in planned_jobs] == [tuple(specs[:3]), tuple(specs[3:])]
    assert [job.checkpoints.keys() for job in planned_jobs] == [set(together), set()]
    records = run_sweep(experiment, specs, tmp_path / "cut", Inline(WorkerSettings(vmap=again))).records
    assert numbers(records) == numbers(whole.records)
    assert store.checkpoints() == {}


def test_records_of_a_split_job_are_sent_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = tuple(planned(levels=(1,), seeds=4))
    monkeypatch.setattr("attnlab.training.run.fitting_width", lambda spec, device, wanted: 2)
    messages: list[Message] = []
    run_job(Job(group_name(specs), specs), WorkerSettings(vmap=4, checkpoint_seconds=0.0), messages.append)
    parts = [[r.id for r in message.records] for message in messages if isinstance(message, Recorded | Finished)]
    assert parts == [[spec.id for spec in specs[:2]], [spec.id for spec in specs[2:]], []]
    job = Job(group_name(specs), specs)
    for message in messages:
        job = remaining_job(job, message)
        if isinstance(message, Saved):
            assert message.run in job.checkpoints
            assert job.checkpoints.keys() <= {spec.id for spec in job.specs}
    assert (job.specs, job.checkpoints) == ((), {})


def test_the_rest_of_a_job_goes_on_from_its_checkpoint() -> None:
    specs = tuple(planned(levels=(1,), seeds=2))
    job = Job(group_name(specs), specs)
    messages: list[Message] = []
    run_job(job, WorkerSettings(vmap=2, checkpoint_seconds=0.0), messages.append)
    saved = [message for message in messages if isinstance(message, Saved)]
    assert [message.run for message in saved[:2]] == [spec.id for spec in specs]
    for message in saved[:2]:
        job = remaining_job(job, message)
    assert job.checkpoints == {one.run: (one.arrays, one.metadata) for one in saved[:2]}
    assert remaining_job(job, Saved("another", {}, {})) is job


def test_a_group_that_fails_keeps_its_finished_runs(tmp_path: Path) -> None:
    experiment = tiny(levels=(1,), seeds=3)
    specs = expand(experiment)

    class Halfway:
        description, num_workers, settings, left_running = "halfway", 1, WorkerSettings(vmap=3), ""

        def run(self, given: object, post: object, interruption: object) -> None:
            for job in given:  # type: ignore[attr-defined]
                post(Recorded(tuple(done(job.specs[:1]))))  # type: ignore[operator]
                post(Failed(job, "no memory"))  # type: ignore[operator]

        def close(self) -> None: ...

    def done(some: tuple[RunSpec, ...]) -> list[Record]:
        messages: list[Message] = []
        run_job(Job(some[0].id, some), WorkerSettings(), messages.append)
        (finished,) = (message for message in messages if isinstance(message, Finished))
        return list(finished.records)

    outcome = run_sweep(experiment, specs, tmp_path, Halfway())
    assert [record.status for record in outcome.records] == ["done", "failed", "failed"]
