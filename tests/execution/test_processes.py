"""Processes: the same numbers as inline, and nothing is lost when a worker dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attnlab.errors import InterruptedTraining, PluginError
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import Job, WorkerSettings
from attnlab.execution.processes import JobQueue, Processes, exit_reason
from attnlab.execution.worker_parts import WorkerParts
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import SweepOutcome, run_sweep
from attnlab.plugins import load_plugin
from attnlab.storage import Store
from attnlab.training.events import Event, Progress, RunStarted, StepsTaken, no_callback
from tests.experiments.sweeps import drive, numbers, planned, tiny

EVERY_STEP = WorkerSettings(checkpoint_seconds=0.0)
DEADLY = """\
import os, pathlib, signal
from attnlab.attention import Attention, register

@register("deadly", source="me")
class Deadly(Attention):
    "Kills its worker, as often as its file says."
    def score(self, qkv):
        if os.environ.get("DEADLY") == str(os.getppid()):
            left = pathlib.Path(__file__).with_suffix(".left")
            count = int(left.read_text())
            if count:
                left.write_text(str(count - 1))
                os.kill(os.getpid(), signal.SIGKILL)
        return super().score(qkv)

@register("raising", source="me")
class Raising(Attention):
    "Raises while the variable is set."
    def score(self, qkv):
        if os.environ.get("DEADLY"):
            raise ArithmeticError("it does not add up")
        return super().score(qkv)
"""


@pytest.fixture
def executor() -> Iterator[Callable[..., Processes]]:
    """Makes executors of processes, and closes them after the test."""
    made: list[Processes] = []

    def make(count: int = 2, settings: WorkerSettings = EVERY_STEP) -> Processes:
        made.append(Processes(count, settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def run_tiny(
    store: Path, executor: object, *attentions: str, progress: Progress = no_callback, **more: object
) -> SweepOutcome:
    experiment = tiny(*attentions, **more)  # type: ignore[arg-type]
    return run_sweep(experiment, expand(experiment), store, executor, progress=progress)  # type: ignore[arg-type]


def has_ended(process: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_processes_give_the_numbers_of_inline_and_workers_outlive_jobs(
    tmp_path: Path, executor: Callable[..., Processes]
) -> None:
    workers = executor()
    ids: set[int | None] = set()

    def watch(event: Event) -> None:
        ids.update(worker.process.pid for worker in workers.workers)

    outcome = run_tiny(tmp_path / "two", workers, "softmax", "gpam", progress=watch)
    assert len(ids) == 2
    more = run_tiny(tmp_path / "more", workers, "softmax", progress=watch)
    assert len(ids) == 2
    here = run_tiny(tmp_path / "here", Inline(WorkerSettings()), "softmax", "gpam")
    assert numbers(outcome.records) == numbers(here.records)
    assert numbers(more.records).items() <= numbers(here.records).items()
    assert {record.environment["threads"] for record in outcome.records} == {1}
    saved = [(tmp_path / store / "weights").iterdir() for store in ("two", "here")]
    first, second = ({path.name: path.read_bytes() for path in paths} for paths in saved)
    assert first == second
    assert len(first) == 8


@pytest.mark.parametrize("vmap", [1, 2])
def test_the_runs_of_a_killed_worker_go_on_from_their_checkpoints(
    tmp_path: Path, executor: Callable[..., Processes], vmap: int
) -> None:
    workers, first_steps = executor(1, WorkerSettings(checkpoint_seconds=0.0, vmap=vmap)), []
    killed: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, RunStarted):
            first_steps.append(event.step)
        if isinstance(event, StepsTaken) and event.step >= 5 and not killed:
            killed.append(event.step)
            os.kill(workers.workers[0].process.pid or 0, signal.SIGKILL)

    plan: dict[str, Any] = {"levels": (1,), "seeds": vmap, "max_steps": 400, "eval_every": 400}
    outcome = run_tiny(tmp_path / "killed", workers, **plan, progress=kill)
    assert first_steps[:vmap] == [0] * vmap
    assert min(first_steps[vmap:]) >= 4
    assert outcome.failed == []
    whole = run_tiny(tmp_path / "whole", Inline(WorkerSettings(vmap=vmap)), **plan)
    if vmap == 1:
        assert numbers(outcome.records) == numbers(whole.records)
    for record, other in zip(outcome.records, whole.records, strict=True):
        assert [point.step for point in record.history] == [400]
        # The worker may be lost between the checkpoints of two runs: then one is a step ahead, and sums are rounded
        # otherwise where the other takes its last step alone.
        assert record.history[0].loss == pytest.approx(other.history[0].loss, rel=1e-4)


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_run_that_kills_its_workers_fails_the_second_time_and_the_sweep_goes_on(
    times: int, tmp_path: Path, executor: Callable[..., Processes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "deadly.left").write_text(str(times))
    load_plugin(tmp_path / "deadly.py")
    monkeypatch.setenv("DEADLY", str(os.getpid()))
    workers = executor(1, WorkerSettings(parts=WorkerParts((tmp_path / "deadly.py",))))
    outcome = run_tiny(tmp_path / "store", workers, "deadly", "softmax", levels=(1,), seeds=1)
    reason = "its worker was killed (signal 9), twice; the system does this when memory runs out"
    assert [(record.spec.variant, record.status, record.reason) for record in outcome.records] == [
        ("deadly", "failed", reason) if times == 2 else ("deadly", "done", ""),
        ("softmax", "done", ""),
    ]
    third = run_tiny(tmp_path / "store", workers, "deadly", "softmax", levels=(1,), seeds=1)
    assert (third.num_run, third.failed) == (times - 1, [])


def test_an_exception_is_the_record_of_its_run_alone(
    tmp_path: Path, executor: Callable[..., Processes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    load_plugin(tmp_path / "deadly.py")
    experiment = tiny("raising", "softmax", levels=(1,), seeds=1)
    specs = expand(experiment)
    monkeypatch.setenv("DEADLY", "yes")
    (failed, done) = run_sweep(
        experiment, specs, tmp_path / "s", executor(1, WorkerSettings(parts=WorkerParts((tmp_path / "deadly.py",))))
    ).records
    assert failed.status == "failed"
    assert failed.reason.startswith("ArithmeticError: it does not add up at ")
    assert "deadly.py:" in failed.reason
    assert done.status == "done"


def test_ctrl_c_stops_every_worker_with_its_checkpoint(tmp_path: Path, executor: Callable[..., Processes]) -> None:
    pressed: set[str] = set()

    def press(event: Event) -> None:
        if isinstance(event, StepsTaken):
            pressed.add(event.spec.id)
            if len(pressed) == 2:
                pressed.add("pressed")
                signal.raise_signal(signal.SIGINT)

    workers = executor(2, WorkerSettings(checkpoint_seconds=1000))
    with pytest.raises(InterruptedTraining, match=r"0 of 4 runs are done"):
        run_tiny(tmp_path, workers, max_steps=5000, eval_every=5000, progress=press)
    names = {path.stem for path in (tmp_path / "checkpoints").iterdir()}
    assert names == pressed - {"pressed"}
    assert all(worker.process.is_alive() and worker.job is None for worker in workers.workers)


def test_a_signal_to_a_worker_alone_loses_no_run(tmp_path: Path, executor: Callable[..., Processes]) -> None:
    workers = executor(1, WorkerSettings(checkpoint_seconds=1000))
    asked: list[int] = []
    first_steps: list[int] = []

    def ask(event: Event) -> None:
        if isinstance(event, RunStarted):
            first_steps.append(event.step)
        if isinstance(event, StepsTaken) and not asked:
            asked.append(event.step)
            os.kill(workers.workers[0].process.pid or 0, signal.SIGTERM)

    plan: dict[str, Any] = {"levels": (1,), "seeds": 1, "max_steps": 400, "eval_every": 400}
    outcome = run_tiny(tmp_path / "asked", workers, **plan, progress=ask)
    assert len(first_steps) == 2
    assert first_steps[1] >= asked[0]
    assert numbers(outcome.records) == numbers(run_tiny(tmp_path / "here", Inline(WorkerSettings()), **plan).records)


def test_a_file_that_a_worker_cannot_load_stops_the_sweep_before_its_first_run(
    tmp_path: Path, executor: Callable[..., Processes]
) -> None:
    with pytest.raises(PluginError) as caught:
        run_tiny(tmp_path / "store", executor(2, WorkerSettings(parts=WorkerParts((tmp_path / "absent.py",)))))
    assert str(caught.value).startswith(f"--plugin {tmp_path}/absent.py\n  There is no such Python file.")
    assert Store(tmp_path / "store").records() == []


def test_a_killed_driver_leaves_no_workers_and_no_duplicate_record(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from attnlab.execution.processes import Processes; from attnlab.experiments.run_sweep import run_sweep\n"
        "from attnlab.experiments.expand import expand; from attnlab.execution.jobs import WorkerSettings\n"
        "from attnlab.training.events import RunFinished\n"
        "from tests.experiments.sweeps import tiny\n"
        "if __name__ == '__main__':\n"
        "    executor = Processes(2, WorkerSettings(checkpoint_seconds=0.0))\n"
        "    def watch(event):\n"
        "        if isinstance(event, RunFinished): print(*(w.process.pid for w in executor.workers), flush=True)\n"
        "    experiment = tiny(max_steps=60, seeds=20)\n"
        "    run_sweep(experiment, expand(experiment), Path('store'), executor, progress=watch)\n"
    )
    driver = drive(script, tmp_path)
    assert driver.stdout is not None
    lines = [driver.stdout.readline() for _ in range(3)]
    driver.kill()
    driver.communicate(timeout=60)
    workers = [int(word) for word in lines[-1].split()]
    assert workers
    deadline = time.monotonic() + 60
    while not all(map(has_ended, workers)):
        assert time.monotonic() < deadline, "workers outlived their driver"
        time.sleep(0.05)
    before = Store(tmp_path / "store").records()
    outcome = run_tiny(tmp_path / "store", Inline(WorkerSettings()), max_steps=60, seeds=20)
    assert outcome.num_run == 40 - len(before)
    lines = (tmp_path / "store" / "records.jsonl").read_text().splitlines()
    assert len(lines) == len({record.id for record in outcome.records}) == 40


def test_a_job_is_started_twice_at_most() -> None:
    one, two = (Job(spec.id, (spec,)) for spec in planned(levels=(1,)))
    queue = JobQueue(iter([one, two]))
    assert queue.waiting
    assert queue.next() is one
    assert queue.retry(one)
    assert queue.next() is one
    assert queue.next() is two
    assert not queue.retry(one)
    assert queue.next() is None


def test_the_exit_status_gives_the_reason() -> None:
    assert exit_reason(-11) == "its worker died of signal 11, twice"
    assert exit_reason(3) == "its worker ended with status 3, twice"
