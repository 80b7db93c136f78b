"""Jobs as processes of this machine that outlive the driver: the numbers of inline, whatever dies or is interrupted."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from attnlab.errors import InterruptedTraining, PluginError
from attnlab.execution._inline import Inline
from attnlab.execution.executors import make_executor
from attnlab.execution.jobs import WorkerSettings
from attnlab.execution.slurm.driver import ClusterDriver
from attnlab.execution.slurm.folder import job_folders
from attnlab.execution.worker_parts import WorkerParts
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import SweepOutcome, run_sweep
from attnlab.plugins import load_plugin
from attnlab.storage import Store
from attnlab.training.events import Event, Notice, Progress, RunStarted, StepsTaken, no_callback
from tests.experiments.sweeps import drive, numbers, tiny

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="submitit runs on Unix"),
    pytest.mark.usefixtures("no_job_stays"),
]
LONG: dict[str, Any] = {"levels": (1,), "seeds": 1, "max_steps": 1500, "eval_every": 1500}
"""A run of some seconds."""


@pytest.fixture
def no_job_stays(tmp_path: Path) -> Iterator[None]:
    """Ends what a test that failed has left running."""
    yield
    for process in tasks(tmp_path):
        process.kill()


def tasks(folder: Path, module: str = "submitit.core._submit") -> list[psutil.Process]:
    """The processes that train, of the stores in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if module in words and any(word.startswith(str(folder)) for word in words):
            found.append(process)
    return found


def cluster(store: Path, count: int = 2, *, settings: WorkerSettings | None = None, **options: Any) -> ClusterDriver:
    """The executor, which saves checkpoints at every step."""
    made = make_executor(f"slurm:{count}", "cpu", store=store, options={"cluster": "local", **options})
    assert isinstance(made, ClusterDriver)
    made.settings = settings or replace(made.settings, checkpoint_seconds=0.0)
    return made


def run_tiny(
    store: Path, executor: ClusterDriver | Inline, *attentions: str, progress: Progress = no_callback, **more: Any
) -> SweepOutcome:
    experiment = tiny(*attentions, **more)
    try:
        return run_sweep(experiment, expand(experiment), store, executor, progress=progress)
    finally:
        executor.close()


def inline(store: Path, *attentions: str, **more: Any) -> SweepOutcome:
    return run_tiny(store, Inline(WorkerSettings()), *attentions, **more)


def at_step(step: int, act: Callable[[], object]) -> tuple[Progress, list[Event]]:
    """A callback that acts once, when a run has come so far; and the events that it received."""
    events: list[Event] = []
    done: list[bool] = []

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepsTaken) and event.step >= step and not done:
            done.append(True)
            act()

    return watch, events


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def test_jobs_give_the_numbers_of_inline_and_leave_nothing_behind(tmp_path: Path) -> None:
    store = tmp_path / "store"
    outcome = run_tiny(store, cluster(store), seeds=1)
    here = inline(tmp_path / "here", seeds=1)
    assert numbers(outcome.records) == numbers(here.records)
    assert {record.environment["threads"] for record in outcome.records} == {1}
    saved = [(folder / "weights").iterdir() for folder in (store, tmp_path / "here")]
    first, second = ({path.name: path.read_bytes() for path in paths} for paths in saved)
    assert first == second
    assert not (store / "slurm").exists()
    assert run_tiny(store, cluster(store), seeds=1).num_run == 0


def test_a_job_of_several_cores_trains_its_groups_side_by_side(tmp_path: Path) -> None:
    store = tmp_path / "store"
    outcome = run_tiny(store, cluster(store, cpus=2, groups=3), seeds=3, levels=(1,))
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", seeds=3, levels=(1,)).records)
    assert {record.environment["threads"] for record in outcome.records} == {1}


def test_a_job_of_one_group_has_the_threads_of_its_cores(tmp_path: Path) -> None:
    store = tmp_path / "store"
    outcome = run_tiny(store, cluster(store, cpus=2), seeds=1, levels=(1,))
    assert [record.environment["threads"] for record in outcome.records] == [2]


DRIVER = """\
import sys
from pathlib import Path
from tests.execution.slurm.test_rehearsal import LONG, cluster, run_tiny
from attnlab.training.events import StepsTaken

def watch(event):
    if isinstance(event, StepsTaken) and event.step > 50:
        print("trains", flush=True)

run_tiny(Path("store"), cluster(Path("store")), progress=watch, **{**LONG, "seeds": 2})
"""


@pytest.mark.slow
def test_the_driver_may_be_killed_and_come_back(tmp_path: Path) -> None:
    driver = drive(DRIVER, tmp_path)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "trains\n"
    driver.kill()
    driver.communicate()
    before = {process.pid for process in tasks(tmp_path)}
    assert before, "the jobs go on without the driver"
    watch, events = at_step(1, lambda: None)
    store = tmp_path / "store"
    outcome = run_tiny(store, cluster(store), progress=watch, **{**LONG, "seeds": 2})
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", **{**LONG, "seeds": 2}).records)
    assert len(Store(store).journal.path.read_bytes().splitlines()) == 2
    started = [event for event in events if isinstance(event, RunStarted)]
    assert [event.step for event in started] == [0] * len(started), "no run was begun a second time"
    (back,) = notices(events)
    assert back.startswith("Back to ") or back == "Jobs of an earlier command have ended 2 runs meanwhile."


@pytest.mark.slow
def test_what_ended_while_there_was_no_driver_is_taken(tmp_path: Path) -> None:
    driver = drive(DRIVER, tmp_path)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "trains\n"
    driver.kill()
    driver.communicate()
    psutil.wait_procs(tasks(tmp_path), timeout=300)
    time.sleep(2.5)  # the last sign of life is old by now
    watch, events = at_step(1, lambda: None)
    store = tmp_path / "store"
    outcome = run_tiny(store, cluster(store), progress=watch, **{**LONG, "seeds": 2})
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", **{**LONG, "seeds": 2}).records)
    assert notices(events) == ["Jobs of an earlier command have ended 2 runs meanwhile."]
    assert not [event for event in events if isinstance(event, StepsTaken)]
    assert not (store / "slurm").exists()


@pytest.mark.slow
def test_a_job_whose_time_is_up_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    store = tmp_path / "store"
    watch, events = at_step(100, lambda: os.kill(tasks(tmp_path)[0].pid, signal.SIGUSR2))
    settings = WorkerSettings(checkpoint_seconds=1000)
    outcome = run_tiny(store, cluster(store, settings=settings), progress=watch, **LONG)
    first, second = (event.step for event in events if isinstance(event, RunStarted))
    assert first == 0
    assert second >= 100
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", **LONG).records)


@pytest.mark.slow
def test_a_killed_job_is_submitted_again_and_fails_the_second_time(tmp_path: Path) -> None:
    store = tmp_path / "store"
    kills: list[int] = []
    steps: list[int] = []
    told: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.text)
        if isinstance(event, RunStarted):
            steps.append(event.step)
        if isinstance(event, StepsTaken) and len(kills) < min(2, len(steps)) and event.step > steps[-1] + 20:
            kills.append(event.step)
            for process in [*tasks(tmp_path, "submitit.local._local"), *tasks(tmp_path)]:
                process.kill()

    outcome = run_tiny(store, cluster(store), progress=watch, **LONG)
    assert len(kills) == 2
    assert steps[0] == 0
    assert steps[1] >= 20, "from the checkpoint"
    (failed,) = outcome.failed
    assert failed.reason.endswith("is gone, and the cluster does not say why, twice")
    assert len(told) == 1
    assert told[0].endswith("is gone, and the cluster does not say why; it is submitted again.")
    again = run_tiny(store, cluster(store), **LONG)
    assert again.failed == []
    assert numbers(again.records) == numbers(inline(tmp_path / "here", **LONG).records)


@pytest.mark.slow
def test_ctrl_c_leaves_the_jobs_running_and_says_how_to_come_back(tmp_path: Path) -> None:
    store = tmp_path / "store"
    watch, _ = at_step(20, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InterruptedTraining, match="Interrupted: 0 of 1 runs are done") as caught:
        run_tiny(store, cluster(store), progress=watch, **LONG)
    (process,) = tasks(tmp_path)
    parent = process.ppid()
    hint = f"Nothing is lost. 1 job goes on: {parent}. The same command comes back to it; to end it: kill {parent}"
    assert caught.value.hint == hint
    back, events = at_step(1, lambda: None)
    outcome = run_tiny(store, cluster(store), progress=back, **LONG)
    assert notices(events) == [f"Back to 1 job of an earlier command: {parent}."]
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", **LONG).records)


def test_ctrl_c_cancels_the_jobs_where_that_is_asked_for(tmp_path: Path) -> None:
    store = tmp_path / "store"
    watch, _ = at_step(20, lambda: signal.raise_signal(signal.SIGINT))
    settings = WorkerSettings(checkpoint_seconds=1000)
    with pytest.raises(InterruptedTraining) as caught:
        run_tiny(store, cluster(store, cancel=True, settings=settings), progress=watch, **LONG)
    assert caught.value.hint == "Nothing is lost; the same command goes on from here."
    assert tasks(tmp_path) == []
    ((run, checkpoint),) = Store(store).checkpoints().items()
    assert checkpoint.step >= 20
    assert (store / "checkpoints" / f"{run}.safetensors").exists()


FAULTY = """\
import os
from attnlab.attention import Attention, register

@register("faulty", source="me")
class Faulty(Attention):
    "Raises in a job."
    def score(self, qkv):
        if "SUBMITIT_FOLDER" in os.environ:
            raise ArithmeticError("it does not add up")
        return super().score(qkv)
"""


def test_an_exception_is_the_record_of_its_run(tmp_path: Path) -> None:
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)
    load_plugin(path)
    store = tmp_path / "store"
    settings = WorkerSettings(parts=WorkerParts((path,)))
    outcome = run_tiny(store, cluster(store, settings=settings), "faulty", "softmax", seeds=1, levels=(1,))
    assert [record.status for record in outcome.records] == ["failed", "done"]
    assert outcome.failed[0].reason.startswith("ArithmeticError: it does not add up at ")
    assert list((store / "slurm" / "logs").glob("*_log.err")), "the log of a job that failed stays"


def test_a_file_that_no_job_can_load_ends_the_sweep(tmp_path: Path) -> None:
    path = tmp_path / "gone.py"
    path.write_text("raise RuntimeError('not there')")
    store = tmp_path / "store"
    with pytest.raises(PluginError, match=r"A job of the cluster: RuntimeError: not there"):
        run_tiny(store, cluster(store, settings=WorkerSettings(parts=WorkerParts((path,)))), seeds=1, levels=(1,))
    assert Store(store).records() == []


def test_what_lies_in_the_current_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "socket.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    outcome = run_tiny(Path("store"), cluster(Path("store")), seeds=1, levels=(1,))
    assert outcome.failed == []
    assert job_folders(Path("store")) == []
    assert os.environ.get("PYTHONSAFEPATH") is None
