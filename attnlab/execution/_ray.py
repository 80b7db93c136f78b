"""The executor of a cluster: Ray actors of one core (or one GPU) each, on this machine or on many.

Jobs and messages are values, so the machines share nothing, not even a file system: checkpoints are sent to the
driver and back, and every worker is sent the text of the plugin files and of the modules beside them that they import.
When a worker or its machine is lost, its job runs once more.
"""

from __future__ import annotations

import linecache
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from attnlab.errors import AttnlabError, InvalidValueError, PluginError
from attnlab.execution.base import ExecutorKind, ExecutorRequest, register
from attnlab.execution.jobs import (
    Failed,
    Finished,
    Job,
    Message,
    Ready,
    Send,
    Stopped,
    Tick,
    WorkerSettings,
    remaining_job,
    run_job,
)
from attnlab.execution.processes import POLL_SECONDS, JobQueue
from attnlab.execution.worker_parts import load_worker_parts
from attnlab.part_code import files_with
from attnlab.stop_signals import STOP_SIGNALS, StopRequest
from attnlab.training.interruption import Interruption, polling
from attnlab.version import __version__

START_SECONDS = 120.0
"""Seconds within which the first worker must have started."""
CONNECT_SECONDS = 5.0
"""Seconds within which the head of a cluster must accept a connection."""
CLOSE_SECONDS = 2.0
"""Seconds within which workers must have removed their files; they are ended then."""
MAX_FAILED_STARTS = 3
"""How many workers may be lost in a row while they start, before the sweep ends with an error."""

PluginText = tuple[str, dict[str, bytes]]
"""The name of a plugin file; the content of it (under the empty path) and of the modules beside it."""


class RayWorker:
    """A worker of the cluster.

    Args:
        settings: How jobs are run.
        files: The plugin files: the name of each, and its text and those of the modules that it imports by their paths.
        mailbox: The Ray queue that takes its messages.
    """

    def __init__(self, settings: WorkerSettings, files: list[PluginText], mailbox: Any) -> None:
        self.settings, self.mailbox, self.interruption = settings, mailbox, Interruption()
        self.error = ("", "", "")
        # The files stay while the worker lives: its functions may import modules and read data when they are called.
        self.folder = tempfile.TemporaryDirectory(prefix="attnlab-")
        paths = [_written(plugin, Path(self.folder.name) / str(index)) for index, plugin in enumerate(files)]
        try:
            load_worker_parts(replace(settings.parts, files=tuple(paths)))
        except AttnlabError as error:
            self.error = (error.problem, error.hint, error.where)
        if settings.threads is not None:
            import torch

            torch.set_num_threads(settings.threads)

    def ready(self) -> tuple[str, Ready]:
        """The version of attnlab here, and whether this worker can work."""
        return __version__, Ready(self.error)

    def work(self, job: Job) -> Message:
        """Run a job: its last message is returned, the others go to the mailbox."""
        last: list[Message] = []

        def send(message: Message) -> None:
            if isinstance(message, Finished | Failed | Stopped):
                last.append(message)
            else:
                self.mailbox.put(message)

        self.interruption.requested = False
        with polling(self.interruption):
            run_job(job, self.settings, send)
        return last[0]

    def stop(self) -> None:
        """Stop the job at its next step."""
        self.interruption.requested = True

    def close(self) -> None:
        """Remove the files."""
        self.folder.cleanup()


@dataclass
class StartedWorker:
    """An actor of the cluster and its state."""

    actor: Any
    awaited: Any
    """The Ray reference that returns next: of its start, or of its job."""
    job: Job | None = None
    ready: bool = False


@final
class RayCluster:
    """Ray actors, at most one for each core of the cluster.

    Args:
        settings: How jobs are run.
        count: Highest number of workers; None takes one for each core, or for each GPU if the device is a GPU.
        address: ``HOST:PORT`` of an existing cluster; None starts one on this machine.

    Raises:
        InvalidValueError: Ray is not installed, or there is no cluster at that address.
    """

    left_running = ""

    def __init__(self, settings: WorkerSettings, count: int | None, address: str | None) -> None:
        self.settings = settings
        self.ray = connect(address)
        total = self.ray.cluster_resources()
        self.resources = {"num_gpus": 1} if settings.device == "cuda" else {"num_cpus": 1}
        most = int(total.get("GPU" if settings.device == "cuda" else "CPU", 1))
        self.num_workers = max(1, min(count or most, most))
        nodes = sum(node["Alive"] for node in self.ray.nodes())
        workers = f"{self.num_workers} worker{'s' if self.num_workers > 1 else ''}"
        self.description = f"{workers} on {nodes} Ray node{'s' if nodes > 1 else ''}"
        self.files = [(path.name, files_with(path)) for path in settings.parts.files]
        self.workers: list[StartedWorker] = []
        self.mailbox: Any = None
        self.failed_starts = 0
        """Number of workers that were lost while they started, since one last started."""

    def run(self, jobs: Iterable[Job], send: Send, interruption: Interruption, /) -> None:
        """Run all jobs."""
        if self.mailbox is None:
            self.mailbox = self._make_mailbox()
        queue = JobQueue(iter(jobs))
        started = time.monotonic()
        stopping = False
        while True:
            if not interruption.requested:
                self._assign(queue)
            elif not stopping:
                stopping = True
                for worker in self.workers:
                    worker.actor.stop.remote()
            busy = [worker for worker in self.workers if worker.job or not worker.ready]
            if not any(worker.job for worker in busy) and (interruption.requested or not queue.waiting):
                return
            if not any(worker.ready for worker in self.workers) and time.monotonic() - started > START_SECONDS:
                need = " and ".join(f"{count} {name[4:].upper()[:3]}" for name, count in self.resources.items())
                hint = "Other programs may use the cluster's resources; see: ray status."
                problem = f"No worker could start within {START_SECONDS:.0f} s; each needs {need}."
                raise InvalidValueError(problem, hint, where="ray")
            self._receive(busy, queue, send, interruption)
            send(Tick())

    def close(self) -> None:
        """End the workers; a cluster that existed before keeps running."""
        closed = [worker.actor.close.remote() for worker in self.workers if worker.ready]
        if closed:
            self.ray.wait(closed, num_returns=len(closed), timeout=CLOSE_SECONDS)
        for worker in self.workers:
            self.ray.kill(worker.actor)
        self.workers = []
        with signals_afterwards():  # an end of Ray that is interrupted gives the process a status of its own
            self.ray.shutdown()

    def _make_mailbox(self) -> Any:
        """Make the queue of messages on this node, so that the loss of another node does not end it."""
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    def _assign(self, queue: JobQueue) -> None:
        """Start workers for the jobs that are waiting, and give a job to each worker that is idle."""
        while queue.waiting and len(self.workers) < self.num_workers:
            actor = self.ray.remote(**self.resources, max_concurrency=2)(RayWorker).remote(
                self.settings, self.files, self.mailbox
            )
            self.workers.append(StartedWorker(actor, actor.ready.remote()))
        for worker in self.workers:
            if worker.ready and worker.job is None and (job := queue.next()):
                worker.job = job
                worker.awaited = worker.actor.work.remote(job)

    def _receive(self, busy: list[StartedWorker], queue: JobQueue, send: Send, interruption: Interruption) -> None:
        """Forward the messages of the workers, and find workers that have started, finished or died."""
        awaited = {worker.awaited: worker for worker in busy}
        done, _ = self.ray.wait(list(awaited), num_returns=1, timeout=POLL_SECONDS)
        while size := self.mailbox.qsize():
            for message in self.mailbox.get_nowait_batch(min(size, 256)):
                self._update_jobs(message)
                send(message)
        for reference in done:
            self._take_result(awaited[reference], queue, send, interruption)

    def _update_jobs(self, message: Message) -> None:
        """Store with each worker what is left of its job, for the worker that may have to continue it."""
        for worker in self.workers:
            if worker.job:
                worker.job = remaining_job(worker.job, message)

    def _take_result(self, worker: StartedWorker, queue: JobQueue, send: Send, interruption: Interruption) -> None:
        """Take what a worker returned: of its start, or of its job; a lost worker is removed."""
        job = worker.job
        try:
            value = self.ray.get(worker.awaited)
        except self.ray.exceptions.RayError as error:
            self.workers.remove(worker)
            if job is None:
                self.failed_starts += 1
                if self.failed_starts == MAX_FAILED_STARTS:
                    raise InvalidValueError(f"Workers cannot start: {_first_line(error)}", where="ray") from None
            elif interruption.requested:
                send(Stopped(job.name))
            elif not queue.retry(job):
                send(Failed(job, f"its worker was lost, twice: {_first_line(error)}"))
            return
        if job is None:
            self._check_start(worker, *value)
        else:
            worker.job = None
            send(value)

    def _check_start(self, worker: StartedWorker, version: str, report: Ready) -> None:
        """Mark a worker as ready, or raise the error of its start."""
        if version != __version__:
            problem = f"A worker has attnlab {version}, the driver has {__version__}."
            raise InvalidValueError(problem, "Install the same version on both.", where="ray")
        problem, hint, where = report.error
        if problem:
            more = "Every worker loads the plugin files; the modules that they import must be installed there too."
            raise PluginError(f"A worker of the cluster: {problem}", f"{hint}\n{more}".strip(), where=where)
        worker.ready, self.failed_starts = True, 0


def connect(address: str | None) -> Any:
    """Connect to a cluster, or start one on this machine if the address is None.

    Raises:
        InvalidValueError: Ray is not installed, or there is no cluster at that address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's future default, without its warning
    try:
        import ray
    except ImportError:
        hint = "Install it with: pip install 'attnlab[ray]'."
        raise InvalidValueError("Ray is not installed here.", hint, where="--executor ray") from None
    if address and address != "auto" and not is_listening(address):
        raise _unreachable(address, f"nothing listens at {address}.")
    # Ray (2.60) puts the current folder before Python's own modules in its workers, unless a client started the job.
    config = ray.job_config.JobConfig()
    config._client_job = True
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "ignore_reinit_error": True}
    try:
        with own_sigterm():
            if address:
                ray.init(address=address, job_config=config, **common)
            else:
                ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", job_config=config, **common)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unreachable(address, _first_line(error)) from None
    return ray


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM over the start of Ray, which replaces it by one that ends the process without a word.

    Yields:
        Nothing.

    Raises:
        StopRequest: SIGTERM came while Ray was starting, and Ray's handler took it.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        raise StopRequest(signal.SIGTERM) from None
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def signals_afterwards() -> Iterator[None]:
    """Let Ctrl-C and signals like it take effect at the end of this block, by the handlers that they had before it.

    The end of Ray puts the system's handler of SIGTERM in place, where Python does not see it. Installing the handlers
    again undoes that.

    Yields:
        Nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in heard[:1]:
        signal.raise_signal(number)


def is_listening(address: str) -> bool:
    """Whether anything listens at ``host:port``; Ray itself would try for minutes, then end the process.

    An address of another form is left to Ray.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            return True
    except (OSError, OverflowError):
        return False


def _unreachable(address: str | None, reason: str) -> InvalidValueError:
    """Make the error of a cluster that cannot be reached."""
    hint = "Start one with: ray start --head --port=6379; then give --ray-address HOST:6379."
    where = f"--ray-address {address}" if address else "ray"
    return InvalidValueError(f"No Ray cluster was found: {reason}", hint, where=where)


def _first_line(error: BaseException) -> str:
    """The first line of an error's text that is not blank."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _written(plugin: PluginText, folder: Path) -> Path:
    """Write a plugin file, with the modules beside it, into a folder."""
    name, texts = plugin
    for place, text in texts.items():
        path = folder / (place or name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        # Without a time of change the lines outlive the worker's files, for the messages of errors.
        linecache.cache[str(path)] = (
            len(text),
            None,
            text.decode(errors="replace").splitlines(keepends=True),
            str(path),
        )
    return folder / name


@final
@register("ray", source="https://www.ray.io")
class RayKind(ExecutorKind):
    """Workers on a Ray cluster, or on one that is started on this machine.

    Options:
        address: ``HOST:PORT`` of an existing cluster.
    """

    def __init__(self, *, address: str | None = None) -> None:
        self.address = address

    def make(self, request: ExecutorRequest) -> RayCluster:
        """Connect to the cluster, or start one; no more workers than there are runs."""
        most = min([limit for limit in (request.count, request.runs) if limit], default=None)
        return RayCluster(request.settings, most, self.address)
