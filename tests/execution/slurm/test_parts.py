"""The pieces of the executor of a cluster: times, states, lines of a job, what is done with a lost one."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.execution._slurm import SlurmKind
from attnlab.execution.base import EXECUTORS
from attnlab.execution.executors import check_executor, make_executor
from attnlab.execution.jobs import Failed, Job, Message, Progressed, Recorded, Saved, TrainedWeights, WorkerSettings
from attnlab.execution.slurm.cluster import Cluster, JobState
from attnlab.execution.slurm.driver import ClusterDriver
from attnlab.execution.slurm.earlier import working_jobs
from attnlab.execution.slurm.flight import Flight
from attnlab.execution.slurm.folder import JOBS, JobFolder, Submission
from attnlab.execution.slurm.lines import Checkpointed, Ended, JobStarted, Line, RunsFailed, decode, encode
from attnlab.execution.slurm.losses import judge_loss
from attnlab.execution.slurm.options import parse_minutes, read_options
from attnlab.execution.slurm.outbox import Outbox
from attnlab.execution.slurm.real import check_commands, read_states, refused, sbatch_parameters
from attnlab.execution.slurm.worker import Work, remaining_jobs, requeue
from attnlab.experiments.expand import expand
from attnlab.experiments.run_sweep import run_sweep
from attnlab.records import HistoryPoint
from attnlab.training.events import Event, Notice, Preparing, RunStarted, StepsTaken, Validated
from tests.experiments.sweeps import Fake, planned, shown, tiny


class Silent:
    """A cluster that is never asked."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder


def folder_of(path: Path, **more: Any) -> tuple[JobFolder, Submission]:
    specs = planned(levels=(1,), seeds=2)
    submission = Submission(cluster="slurm", job_name="copy-1", groups=tuple((spec,) for spec in specs), **more)
    folder = JobFolder(path / "job")
    folder.write_submission(submission)
    return folder, submission


def test_what_a_job_writes_is_what_the_driver_passes_on(tmp_path: Path) -> None:
    folder, submission = folder_of(tmp_path)
    first, second = submission.specs
    outbox = Outbox(folder)
    outbox(Progressed(RunStarted(first, 0, 10, "cpu")))
    outbox(Progressed(StepsTaken(first, 10, math.nan, 7, 0.5)))
    outbox(Progressed(StepsTaken(first, 20, math.inf, 8, math.inf)))  # within a second of the line before
    outbox(Progressed(Validated(first, HistoryPoint(step=20, loss=math.nan, accuracy=0.5))))
    outbox(TrainedWeights(first.id, {"w": _array()}))
    outbox(Recorded((shown(first),)))
    outbox(Failed(Job("x", (second,)), "no memory"))
    outbox.close()
    for line in folder.messages.read_bytes().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"no strict JSON: {word}"))
    messages: list[Message] = []
    flight = Flight(folder, submission)
    assert flight.read(messages.append)
    events = [message.event for message in messages if isinstance(message, Progressed)]
    assert [type(event).__name__ for event in events] == [
        "RunStarted",
        "StepsTaken",
        "StepsTaken",
        "Validated",
        "RunFinished",
    ]
    steps = [event for event in events if isinstance(event, StepsTaken)]
    assert [event.tokens for event in steps] == [7, 8]
    assert math.isnan(steps[0].loss)
    assert steps[1].loss == math.inf
    assert [event.gradient_norm for event in steps] == [0.5, math.inf]
    (weights,) = (message for message in messages if isinstance(message, TrainedWeights))
    assert weights.arrays["w"].tolist() == _array().tolist()
    assert not folder.weights(first.id).exists(), "it was moved"
    (recorded,) = (message for message in messages if isinstance(message, Recorded))
    assert recorded.records == (shown(first),)
    (failed,) = (message for message in messages if isinstance(message, Failed))
    assert (failed.job.specs, failed.reason) == ((second,), "no memory")
    assert flight.remaining == ()
    assert not flight.read(messages.append), "nothing is said twice"


def _array() -> Any:
    import numpy as np

    return np.arange(3.0, dtype=np.float32)


def test_a_torn_line_is_waited_for_and_an_unreadable_one_left_out(tmp_path: Path) -> None:
    folder, submission = folder_of(tmp_path)
    flight, line = Flight(folder, submission), encode(Ended(outcome="done"))
    folder.messages.write_bytes(b'{"kind":"of a newer attnlab"}\n\xff\n' + line[:-9])
    flight.read(lambda message: None)
    before = flight.outcome
    with folder.messages.open("ab") as file:
        file.write(line[-9:])
    flight.read(lambda message: None)
    assert (before, flight.outcome) == (None, "done")
    assert decode(b"[]") is None


def test_a_start_after_a_kill_within_a_line_begins_a_line_of_its_own(tmp_path: Path) -> None:
    folder, _ = folder_of(tmp_path)
    folder.messages.write_bytes(b'{"kind":"ste')
    outbox = Outbox(folder)
    outbox.write(Ended(outcome="time"))
    outbox.close()
    assert [line for line, _ in folder.lines()] == [Ended(outcome="time")]


def test_what_is_left_of_a_job_has_its_checkpoints(tmp_path: Path) -> None:
    folder, submission = folder_of(tmp_path)
    first, second = submission.specs
    outbox = Outbox(folder)
    outbox(Saved(first.id, {"w": _array()}, {"id": first.id, "step": 3}))
    outbox(Saved(second.id, {"w": _array()}, {"id": second.id, "step": 4}))
    outbox(Recorded((shown(first),)))
    outbox.close()
    (job,) = remaining_jobs(folder, submission.groups)
    assert job.specs == (second,)
    assert job.checkpoints[second.id][1]["step"] == 4
    folder.checkpoint(second.id).write_bytes(b"damaged")
    assert remaining_jobs(folder, submission.groups)[0].checkpoints == {}


LOG = """\
Traceback (most recent call last):
Killed
slurmstepd-vm: error: *** STEP 12.0 ON vm CANCELLED ***
submitit WARNING (2026-11-29 15:06:11,446) - Bypassing signal SIGCONT
srun: error: vm: task 0: Killed

"""


def flight_of(path: Path, end: str = "", *, tries: int = 1, step: int = 0, outcome: Any = None) -> Flight:
    folder, submission = folder_of(path, cluster_id="12_3")
    flight = Flight(folder, submission)
    flight.tries, flight.outcome = tries, outcome
    flight.reached = {submission.specs[0].id: step}
    flight.end = JobState(end) if end else None
    return flight


@pytest.mark.parametrize(
    ("end", "how", "reason", "again"),
    [
        ("CANCELLED", {}, "job 12_3 was cancelled; the same command goes on from its checkpoint", False),
        ("OUT_OF_MEMORY", {}, "job 12_3 needs more memory than it asked for: --slurm-mem", False),
        ("", {}, "job 12_3 is gone, and the cluster does not say why (Killed)", True),
        ("", {"tries": 2}, "job 12_3 is gone, and the cluster does not say why (Killed), twice", False),
        ("FAILED", {}, "job 12_3 ended as FAILED (Killed)", True),
        ("TIMEOUT", {"step": 5, "tries": 2}, "job 12_3 reached its time limit and was not queued again", True),
        (
            "TIMEOUT",
            {"tries": 2},
            "job 12_3 saved no progress in its whole time limit; give more with --slurm-time",
            False,
        ),
        ("COMPLETED", {"outcome": "time", "tries": 2}, "job 12_3 reached its time limit", True),
        ("NODE_FAIL", {"step": 5, "tries": 2}, "job 12_3 lost its node", True),
        ("NODE_FAIL", {"tries": 2}, "job 12_3 lost its node, twice", False),
    ],
)
def test_what_is_done_with_a_lost_job(tmp_path: Path, end: str, how: dict[str, Any], reason: str, again: bool) -> None:
    (tmp_path / "12_3_0_log.err").write_text(LOG)
    loss = judge_loss(flight_of(tmp_path, end, **how), Silent(tmp_path))  # type: ignore[arg-type]
    assert (loss.reason, loss.again) == (reason, again)


@pytest.mark.parametrize("end", ["FAILED", ""])
@pytest.mark.parametrize(
    "told",
    [
        "slurmstepd-vm: error: Exceeded job memory limit",
        "slurmstepd-vm: error: StepId=4.0 exceeded memory limit (218775552 > 209715200), being killed",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been OOM Killed.",
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.batch.",
    ],
)
def test_a_job_killed_for_its_memory_is_not_tried_again_where_only_the_log_tells(
    tmp_path: Path, end: str, told: str
) -> None:
    (tmp_path / "12_3_0_log.err").write_text(f"{told}\n{LOG}")
    loss = judge_loss(flight_of(tmp_path, end), Silent(tmp_path))  # type: ignore[arg-type]
    assert (loss.reason, loss.again) == ("job 12_3 needs more memory than it asked for: --slurm-mem", False)


def test_progress_counts_from_the_last_submission(tmp_path: Path) -> None:
    flight = flight_of(tmp_path, step=5)
    assert flight.progressed
    flight.submitted_again(flight.submission)
    seen = [flight.progressed]
    messages: list[Line] = [
        JobStarted(cluster_id="13", host="n1", threads=1),
        Checkpointed(run=flight.submission.specs[0].id, step=9),
    ]
    flight.folder.messages.write_bytes(b"".join(map(encode, messages)))
    flight.read(lambda message: None)
    seen.append(flight.progressed)
    assert seen == [False, True]
    assert flight.started


def test_failures_that_the_store_has_are_not_told_again(tmp_path: Path) -> None:
    folder, submission = folder_of(tmp_path)
    first = submission.specs[0]
    folder.messages.write_bytes(encode(RunsFailed(runs=(first.id,), reason="no luck")))
    flight, messages = Flight(folder, submission), []  # type: tuple[Flight, list[Message]]
    flight.known_failures = {first.id}
    assert flight.failures() == {first.id}
    flight.read(messages.append)
    assert messages == []


def test_states_are_read_off_squeue() -> None:
    answer = (
        "12_0|RUNNING|0|recall-1a2b|None\n12_1|PENDING|1|recall-1a2b|JobArrayTaskLimit\n"
        "14|PENDING|N/A|odd|name|(ReqNodeNotAvail, UnavailableNodes:n1)\n\nslurm is busy\n"
    )
    assert read_states(answer) == {
        "12_0": JobState("RUNNING", "", "recall-1a2b", 0),
        "12_1": JobState("PENDING", "JobArrayTaskLimit", "recall-1a2b", 1),
        "14": JobState("PENDING", "(ReqNodeNotAvail, UnavailableNodes:n1)", "odd|name", None),
    }
    assert JobState("PENDING").waits
    assert JobState("TIMEOUT").ended
    assert not JobState("COMPLETING").ended


@pytest.mark.parametrize("text", ["90", "30:00", "", "0m", "-1h", "1h30", "400-00:00:00", "0:00:00", "soon"])
def test_a_time_that_slurm_and_attnlab_would_read_differently_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_minutes(text, "--slurm-time")
    assert caught.value.where == "--slurm-time"


def test_options_become_those_of_sbatch() -> None:
    kind = SlurmKind(
        partition="gpu", time="2h", mem="4GB", cpus=4, gpus=2, setup="module load x", set={"mail_user": "me"}
    )
    parameters = sbatch_parameters(kind.request, 8, "recall-1")
    assert parameters["time"] == 120
    assert parameters["signal_delay_s"] == 90
    assert (parameters["partition"], parameters["mem"], parameters["gpus_per_node"]) == ("gpu", "4G", 2)
    assert parameters["array_parallelism"] == 8
    assert parameters["srun_args"] == ["--cpus-per-task=4"]
    assert parameters["setup"][1] == "module load x"
    assert "OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-4}" in parameters["setup"][0]
    assert parameters["additional_parameters"] == {"requeue": True, "mail-user": "me"}
    assert parameters["wckey"] is None
    assert "qos" not in parameters
    assert SlurmKind(time="1m").request.signal_seconds == 15
    assert kind.device("auto") == "cuda"
    assert SlurmKind().device("auto") == "cpu"
    assert SlurmKind(set={"gres": "gpu:a100:1"}).device("auto") == "cuda"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slurm:memory=4G", "--executor slurm\n  'slurm' has no option 'memory'; did you mean 'mem'?"),
        ("slurm:mem=4", "--executor slurm\n  Option 'mem' cannot be 4.\n"),
        ("slurm:mem=lots", "--slurm-mem\n  'lots' is no amount of memory.\n  Write such as 4G or 512M."),
        ("slurm:cpus=0", "--executor slurm\n  Option 'cpus' cannot be 0.\n"),
        ("slurm:time=90", "--executor slurm\n  Option 'time' cannot be 90.\n"),
        ("slurm:0", "--executor slurm:0\n  '0' is not a number of workers of at least 1.\n  Write slurm:2."),
        ("slurm:set={x y: 1}", "--slurm-set\n  'x y' is no option of sbatch.\n"),
        ('slurm:account="a\\nb"', "--executor slurm\n  'account' has a line break"),
        ("processes:4,partition=x", "--executor processes\n  'processes' has no option 'partition'"),
    ],
)
def test_wrong_options_are_errors(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AttnlabError) as caught:
        make_executor(name, "cpu", store=tmp_path)
    assert str(caught.value).startswith(message)


def test_devices_that_jobs_do_not_have_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="The jobs ask for no GPU"):
        make_executor("slurm", "cuda", store=tmp_path)
    with pytest.raises(InvalidValueError, match="have no device 'mps'"):
        make_executor("slurm", "mps", store=tmp_path)


def test_without_slurm_one_error_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidValueError) as caught:
        make_executor("slurm", "cpu", store=tmp_path)
    assert str(caught.value) == (
        "--executor slurm\n"
        "  There is no SLURM here: the commands sbatch, srun, squeue, scancel were not found.\n"
        "  Run this on a login node of the cluster, or leave --executor out."
    )
    for command in ("sbatch", "srun", "squeue"):
        (tmp_path / command).write_text("#!/bin/sh\n")
        (tmp_path / command).chmod(0o755)
    with pytest.raises(InvalidValueError, match="the command scancel was not found"):
        check_commands()


@pytest.mark.parametrize("cluster", ["slurm", "local"])
def test_without_submitit_the_error_shows_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(InvalidValueError, match="submitit is not installed here") as caught:
        make_executor(f"slurm:cluster={cluster}", "cpu", store=tmp_path)
    assert caught.value.hint == "Install it with: pip install 'attnlab[slurm]'."


def test_without_a_store_there_is_no_place_for_results() -> None:
    with pytest.raises(InvalidValueError, match="leave their results in a store"):
        make_executor("slurm:cluster=local", "cpu")


def test_a_file_of_options_is_checked_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("partition: gpu\ntime: 2h\nsetup:\n  - module load x\nset:\n  nodelist: n1\n")
    assert read_options(path)["set"] == {"nodelist": "n1"}
    assert SlurmKind(**EXECUTORS.entry("slurm").complete(read_options(path))).request.setup == ("module load x",)
    path.write_text("partition: gpu\ncpus: many\n")
    with pytest.raises(InvalidValueError) as caught:
        read_options(path)
    assert caught.value.where == f"{path}:2: cpus"
    path.write_text("- gpu\n")
    with pytest.raises(AttnlabError, match="Options are written as key: value"):
        read_options(path)


def test_what_sbatch_says_is_one_sentence() -> None:
    text = "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid name"
    said = "SLURM refused the jobs: invalid partition specified: nope. Batch job submission failed: Invalid name."
    assert refused(text).problem == said
    assert (
        refused("sbatch: error: QOSMaxSubmitJobPerUserLimit").hint
        == "Let each job train several runs: --slurm-groups 10."
    )
    assert refused("").problem == "SLURM refused the jobs: It does not say why."


def test_a_node_without_scontrol_leaves_it_to_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not requeue()
    for status, expected in (("exit 1", False), ("exit 0", True), ("kill -TERM $$", True)):
        (tmp_path / "scontrol").write_text(f"#!/bin/sh\n[ \"$*\" = 'requeue 12' ] || exit 1\n{status}\n")
        (tmp_path / "scontrol").chmod(0o755)
        assert requeue() is expected


def test_executors_are_looked_up_by_name() -> None:
    assert check_executor("processes:3") == "processes"
    assert check_executor("slurm:8,partition=gpu") == "slurm"
    with pytest.raises(AttnlabError, match="did you mean 'slurm'"):
        check_executor("slrum")
    assert [entry.name for entry in EXECUTORS] == ["inline", "processes", "ray", "slurm"]
    assert EXECUTORS.group == "attnlab.executors"


def test_another_executor_tells_of_jobs_that_work_on_its_store(tmp_path: Path) -> None:
    experiment = tiny(seeds=1, levels=(1,))
    specs = expand(experiment)
    folder = JobFolder(tmp_path / JOBS / "one-1")
    folder.write_submission(Submission(cluster="slurm", job_name="x", cluster_id="12_3", groups=((specs[0],),)))
    told: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.text)

    assert working_jobs(tmp_path) == ""
    folder.heartbeat.touch()
    run_sweep(experiment, specs, tmp_path, Fake(), progress=watch)
    assert told == ["Jobs of a cluster work on this store too: 12_3. --executor slurm comes back to them."]
    executor = make_executor("slurm:cluster=local", "cpu", store=tmp_path)
    with pytest.raises(InvalidValueError, match=r"Jobs of another cluster \('slurm'\) work on this store"):
        run_sweep(experiment, expand(tiny(seeds=2, levels=(1,))), tmp_path, executor)


class Scripted(Cluster):
    """A cluster that runs nothing, and says what a test has it say."""

    name, at_once, patience, ask_seconds, read_seconds = "slurm", None, 0.0, 0.0, 0.0
    largest_array = 2

    def __init__(self, folder: Path, said: list[dict[str, JobState] | None]) -> None:
        self.logs, self.said = folder, said
        self.arrays: list[int] = []
        self.cancelled: list[str] = []

    def submit(self, works: Sequence[Work], job_name: str) -> list[str]:
        self.arrays.append(len(works))
        return [f"{len(self.arrays)}_{index}" for index in range(len(works))]

    def states(self, ids: Collection[str]) -> dict[str, JobState] | None:
        return self.said.pop(0) if self.said else {}

    def cancel(self, ids: Collection[str]) -> None:
        self.cancelled += ids


def test_jobs_that_never_start_end_the_sweep_with_their_log(tmp_path: Path) -> None:
    (tmp_path / "2_0_0_log.err").write_text("python: can't open file\n")
    cluster = Scripted(tmp_path, [])
    driver = ClusterDriver(cluster, tmp_path / "store", WorkerSettings(), parallel=2)
    experiment = tiny(seeds=3, levels=(1,))
    with pytest.raises(InvalidValueError) as caught:
        run_sweep(experiment, expand(experiment), tmp_path / "store", driver)
    assert cluster.arrays[:2] == [2, 1], "no array is larger than the cluster takes"
    assert caught.value.problem.startswith("The jobs cannot start: ")
    assert set(cluster.cancelled) >= {"1_0", "1_1", "2_0"}


def test_a_cluster_that_does_not_answer_loses_nothing_and_hopeless_waits_are_told(tmp_path: Path) -> None:
    wait = JobState("PENDING", "PartitionTimeLimit")
    cluster = Scripted(tmp_path, [None, {"1_0": wait}, {"1_0": wait}, {"1_0": JobState("CANCELLED")}])
    driver = ClusterDriver(cluster, tmp_path / "store", WorkerSettings(), parallel=2)
    experiment, told = tiny(seeds=1, levels=(1,)), []  # type: tuple[Any, list[str]]

    def watch(event: Event) -> None:
        if isinstance(event, Notice | Preparing):
            told.append(event.text)

    outcome = run_sweep(experiment, expand(experiment), tmp_path / "store", driver, progress=watch)
    assert told == [
        "Submitted 1 job to SLURM: 1_0.",
        "SLURM does not answer now; the jobs go on.",
        "SLURM keeps job 1_0 waiting: PartitionTimeLimit. See: scontrol show job 1_0",
        "0 jobs running, 1 waiting (PartitionTimeLimit)",
        "0 jobs running, 0 waiting",
        "",
    ]
    reason = "job 1_0 was cancelled; the same command goes on from its checkpoint"
    assert [record.reason for record in outcome.failed] == [reason]
    assert cluster.arrays == [1]
