"""A real SLURM of one node on the loopback address, of Debian's packages: slow, and skipped where it cannot be had."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnlab.errors import InterruptedTraining, InvalidValueError
from attnlab.execution.executors import make_executor
from attnlab.execution.jobs import WorkerSettings
from attnlab.execution.slurm.driver import ClusterDriver
from attnlab.execution.worker_parts import WorkerParts
from attnlab.plugins import load_plugin
from attnlab.storage import Store
from attnlab.training.events import RunStarted
from tests.execution.slurm.test_rehearsal import LONG, at_step, inline, notices, run_tiny, tasks
from tests.experiments.sweeps import drive, numbers

SCRIPT = Path(__file__).with_name("cluster.sh")
CANNOT = 77
"""Exit status of the script where a cluster cannot be had."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def _slurm() -> Iterator[None]:
    """Starts the cluster, and ends it after the tests of this module."""
    folder = tempfile.mkdtemp(prefix="attnlab-slurm-")
    for words in (["install"], ["start", folder]):
        done = subprocess.run([str(SCRIPT), *words], capture_output=True, text=True, check=False)
        if done.returncode == CANNOT:
            pytest.skip(done.stderr.strip().splitlines()[-1])
        assert done.returncode == 0, done.stderr
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
    yield
    subprocess.run(["scancel", "--user=root"], check=False)
    subprocess.run([str(SCRIPT), "stop", folder], check=False)
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def store(_slurm: None, tmp_path: Path) -> Iterator[Path]:
    """A folder of results; jobs that a test leaves are cancelled."""
    yield tmp_path / "store"
    for job in queue("--format=%A"):
        subprocess.run(["scancel", job], check=False)


def queue(*words: str) -> list[str]:
    """What squeue tells, line by line."""
    done = subprocess.run(["squeue", "--noheader", *words], capture_output=True, text=True, check=True)
    return done.stdout.split()


def cluster(store: Path, **options: Any) -> ClusterDriver:
    """The executor, which saves checkpoints at every step."""
    made = make_executor("slurm", "cpu", store=store, options={"time": "10m", "mem": "1500M", **options})
    assert isinstance(made, ClusterDriver)
    made.settings = WorkerSettings(checkpoint_seconds=0.0)
    return made


def test_an_array_gives_the_numbers_of_inline(store: Path, tmp_path: Path) -> None:
    watch, events = at_step(1, lambda: None)
    outcome = run_tiny(store, cluster(store), progress=watch, seeds=2, levels=(1,))
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", seeds=2, levels=(1,)).records)
    assert re.fullmatch(r"Submitted 2 jobs to SLURM: \d+_\[0-1\]\.", notices(events)[0])
    assert not (store / "slurm").exists()


def test_a_job_of_two_cores_has_two_threads_whatever_the_node_has(store: Path) -> None:
    outcome = run_tiny(store, cluster(store, cpus=2), seeds=1, levels=(1,))
    assert [record.environment["threads"] for record in outcome.records] == [2]


def test_what_sbatch_refuses_is_an_error_before_anything_runs(store: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"SLURM refused the jobs: .*[Pp]artition.*nope"):
        run_tiny(store, cluster(store, partition="nope"), seeds=2, levels=(1,))
    assert list((store / "slurm" / "jobs").iterdir()) == []


DRIVER = """\
from pathlib import Path
from tests.execution.slurm.test_cluster import LONG, cluster, run_tiny
from attnlab.training.events import StepsTaken

def watch(event):
    if isinstance(event, StepsTaken) and event.step > 50:
        print("trains", flush=True)

run_tiny(Path("store"), cluster(Path("store")), progress=watch, **{**LONG, "seeds": 2})
"""


def test_the_driver_may_be_killed_and_come_back(store: Path, tmp_path: Path) -> None:
    driver = drive(DRIVER, tmp_path)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "trains\n"
    driver.kill()
    driver.communicate()
    submitted = queue("--format=%A", "--array")
    watch, events = at_step(1, lambda: None)
    outcome = run_tiny(store, cluster(store), progress=watch, **{**LONG, "seeds": 2})
    assert set(queue("--format=%A", "--array", "--states=all")) >= set(submitted)
    assert not [text for text in notices(events) if text.startswith("Submitted")]
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", **{**LONG, "seeds": 2}).records)
    assert len(Store(store).journal.path.read_bytes().splitlines()) == 2


def test_a_cancelled_job_is_told_and_goes_on_with_the_next_command(store: Path, tmp_path: Path) -> None:
    def cancel() -> None:
        subprocess.run(["scancel", *queue("--format=%A")], check=True)

    watch, _ = at_step(100, cancel)
    outcome = run_tiny(store, cluster(store), progress=watch, **LONG)
    (failed,) = outcome.failed
    assert re.fullmatch(r"job \d+ was cancelled; the same command goes on from its checkpoint", failed.reason)
    watch, events = at_step(1, lambda: None)
    again = run_tiny(store, cluster(store), progress=watch, **LONG)
    assert [event.step >= 100 for event in events if isinstance(event, RunStarted)] == [True]
    assert numbers(again.records) == numbers(inline(tmp_path / "here", **LONG).records)


def test_a_killed_job_is_submitted_again(store: Path, tmp_path: Path) -> None:
    watch, events = at_step(100, lambda: os.kill(tasks(tmp_path)[0].pid, signal.SIGKILL))
    outcome = run_tiny(store, cluster(store), progress=watch, **LONG)
    assert outcome.failed == []
    assert [text for text in notices(events) if "it is submitted again" in text]
    first, second = (event.step for event in events if isinstance(event, RunStarted))
    assert (first, second >= 90) == (0, True)
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", **LONG).records)


def test_ctrl_c_leaves_the_jobs_in_the_queue(store: Path) -> None:
    watch, _ = at_step(20, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InterruptedTraining) as caught:
        run_tiny(store, cluster(store), progress=watch, **LONG)
    (job,) = queue("--format=%A")
    hint = f"Nothing is lost. 1 job goes on: {job}. The same command comes back to it; to end it: scancel {job}"
    assert caught.value.hint == hint


SLEEPY = """\
import os, time
from attnlab.attention import Attention, register

@register("sleepy", source="me")
class Sleepy(Attention):
    "Sleeps in a job, so that a run lasts more than a minute on any machine."
    def score(self, qkv):
        if "SLURM_JOB_ID" in os.environ:
            time.sleep(0.06)
        return super().score(qkv)
"""


def test_a_job_whose_time_is_up_is_queued_again(store: Path, tmp_path: Path) -> None:
    """The time limit of SLURM is a minute at least, and it starts a job again two minutes after its end."""
    path = tmp_path / "sleepy.py"
    path.write_text(SLEEPY)
    load_plugin(path)
    watch, events = at_step(1, lambda: None)
    plan = {**LONG, "max_steps": 1000, "eval_every": 500}
    executor = cluster(store, time="1m")
    executor.settings = WorkerSettings(parts=WorkerParts((path,)), checkpoint_seconds=1000)
    outcome = run_tiny(store, executor, "sleepy", progress=watch, **plan)
    starts = [event.step for event in events if isinstance(event, RunStarted)]
    assert len(starts) > 1
    assert starts == sorted(set(starts)), "each start goes on from what the one before it saved"
    assert len(notices(events)) == 1, "one submission: SLURM itself queued the job again"
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", "sleepy", **plan).records)


def test_a_preempted_job_goes_on_from_its_checkpoint(store: Path, tmp_path: Path) -> None:
    """SLURM kills it for a job of a partition of higher priority, and starts it again two minutes later."""

    def preempt() -> None:
        subprocess.run(
            ["sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"], check=True
        )

    watch, events = at_step(100, preempt)
    outcome = run_tiny(store, cluster(store), progress=watch, **LONG)
    assert outcome.failed == []
    first, second = (event.step for event in events if isinstance(event, RunStarted))
    assert (first, second >= 90) == (0, True)
    assert len(notices(events)) == 1, "one submission: SLURM itself queued the job again"
    assert numbers(outcome.records) == numbers(inline(tmp_path / "here", **LONG).records)


def test_a_job_that_is_killed_for_its_memory_says_so_and_is_not_tried_again(store: Path) -> None:
    watch, events = at_step(1, lambda: None)
    outcome = run_tiny(store, cluster(store, mem="100M"), progress=watch, **LONG)
    (failed,) = outcome.failed
    assert re.fullmatch(r"job \d+ needs more memory than it asked for: --slurm-mem", failed.reason)
    assert not [text for text in notices(events) if "again" in text]


def test_a_job_has_the_gpus_that_it_asks_for(store: Path, tmp_path: Path) -> None:
    """The GPUs of this cluster cannot compute, so that the run is trained on the processor."""
    seen: list[str] = []

    def look() -> None:
        seen.append(tasks(tmp_path)[0].environ()["CUDA_VISIBLE_DEVICES"])
        seen.extend(queue("--format=%b"))

    watch, _ = at_step(100, look)
    outcome = run_tiny(store, cluster(store, gpus=2), progress=watch, **LONG)
    assert outcome.failed == []
    assert seen[0] == "0,1"
    assert re.fullmatch(r"(gres:)?gpu:2", seen[1])
