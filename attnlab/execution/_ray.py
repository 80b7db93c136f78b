"""The executor of a cluster: Ray actors of one core (or one GPU) each, on this machine or on many.

Jobs and messages are values, so nothing has to be shared between machines, not even a file system: checkpoints travel
to the driver and back, and the text of the user's files travels to every worker. A worker that is lost, with its
machine or without, gives its job back once.
"""

from __future__ import annotations

import importlib.metadata
import os
import socket
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from attnlab.errors import AttnlabError, InvalidValueError, PluginError
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
from attnlab.execution.processes import BEAT, Queue
from attnlab.training.interruption import Interruption, polling

STARTING = 120.0
"""Seconds that the first worker may take to be there."""
ANSWERING = 5.0
"""Seconds that the head of a cluster may take to answer a call."""
STARTS = 3
"""How many workers may be lost while they start, one after the other, before the sweep is given up."""


class RayWorker:
    """A worker of the cluster.

    Args:
        setting: How jobs are worked through.
        files: Name and text of the user's files.
        mail: Where messages go.
    """

    def __init__(self, setting: WorkerSettings, files: list[tuple[str, str]], mail: Any) -> None:
        self.settings, self.mailbox, self.interruption = setting, mail, Interruption()
        self.refused = ("", "", "")
        from attnlab.registry import load_plugin

        for name, text in files:
            path = Path(tempfile.mkdtemp(prefix="attnlab-")) / name
            path.write_text(text)
            try:
                load_plugin(path)
            except AttnlabError as error:
                self.refused = (error.problem, error.hint, error.where)
        if setting.threads is not None:
            import torch

            torch.set_num_threads(setting.threads)

    def ready(self) -> tuple[str, Ready]:
        """The version here, and whether this worker can work."""
        return importlib.metadata.version("attnlab"), Ready(self.refused)

    def work(self, job: Job) -> Message:
        """Do a job; what is said on the way goes by mail, the last word is returned."""
        last: list[Message] = []

        def post(message: Message) -> None:
            if isinstance(message, Finished | Failed | Stopped):
                last.append(message)
            else:
                self.mailbox.put(message)

        self.interruption.requested = False
        with polling(self.interruption):
            run_job(job, self.settings, post)
        return last[0]

    def stop(self) -> None:
        """Stop the job at its next step."""
        self.interruption.requested = True


@dataclass
class Started:
    """An actor, what it is doing, and whether it is there yet."""

    actor: Any
    awaited: Any
    """The reference that comes back next: of its start, or of its job."""
    job: Job | None = None
    here: bool = False


@final
class RayCluster:
    """Ray actors, one for each core of the cluster, or fewer.

    Args:
        setting: How jobs are worked through.
        count: Most workers; None takes one for each core (for each GPU where the device is one).
        address: Of an existing cluster; None starts one on this machine.

    Raises:
        InvalidValueError: Ray is not installed, or there is no cluster at that address.
    """

    def __init__(self, setting: WorkerSettings, count: int | None, address: str | None) -> None:
        self.settings = setting
        self.ray = connected(address)
        resources = self.ray.cluster_resources()
        self.need = {"num_gpus": 1} if setting.device == "cuda" else {"num_cpus": 1}
        there = int(resources.get("GPU" if setting.device == "cuda" else "CPU", 1))
        self.num_workers = max(1, min(count or there, there))
        nodes = sum(node["Alive"] for node in self.ray.nodes())
        self.description = f"{self.num_workers} workers on {nodes} Ray node{'s' if nodes > 1 else ''}"
        self.files = [(path.name, path.read_text()) for path in setting.files]
        self.workers: list[Started] = []
        self.mailbox: Any = None
        self.failed_starts = 0
        """Workers lost while they started, since one was last there."""

    def run(self, jobs: Iterable[Job], post: Send, interruption: Interruption) -> None:
        """Work through the jobs."""
        if self.mailbox is None:
            from ray.util.queue import Queue as RemoteCheckpointer
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Pinned

            here = Pinned(self.ray.get_runtime_context().get_node_id(), soft=False)  # it must not die with another node
            self.mailbox = RemoteCheckpointer(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        queue = Queue(iter(jobs))
        started = time.monotonic()
        reported = False
        while True:
            if not interruption.requested:
                self._give(queue)
            elif not reported:
                reported = True
                for member in self.workers:
                    member.actor.stop.remote()
            busy = [member for member in self.workers if member.job or not member.here]
            if not any(member.job for member in busy) and (interruption.requested or not queue.waiting):
                return
            if not any(member.here for member in self.workers) and time.monotonic() - started > STARTING:
                need = " and ".join(f"{count} {name[4:].upper()[:3]}" for name, count in self.need.items())
                hint = "Others may hold what it has: see ray status."
                raise InvalidValueError(
                    f"No worker could start within {STARTING:.0f} s; each needs {need}.", hint, where="ray"
                )
            self._hear(busy, queue, post, interruption)
            post(Tick())

    def close(self) -> None:
        """Let the workers go; a cluster that was there before stays."""
        for member in self.workers:
            self.ray.kill(member.actor)
        self.workers = []
        self.ray.shutdown()

    def _give(self, queue: Queue) -> None:
        """Workers for what is waiting, and a job for each that is there and idle."""
        while queue.waiting and len(self.workers) < self.num_workers:
            actor = self.ray.remote(**self.need, max_concurrency=2)(RayWorker).remote(
                self.settings, self.files, self.mailbox
            )
            self.workers.append(Started(actor, actor.ready.remote()))
        for member in self.workers:
            if member.here and member.job is None and (job := queue.next()):
                member.job = job
                member.awaited = member.actor.work.remote(job)

    def _hear(self, busy: list[Started], queue: Queue, post: Send, interruption: Interruption) -> None:
        """Pass on what the workers say; see who is there, done or lost."""
        awaited = {member.awaited: member for member in busy}
        ready, _ = self.ray.wait(list(awaited), num_returns=1, timeout=BEAT)
        while size := self.mailbox.qsize():
            for message in self.mailbox.get_nowait_batch(min(size, 256)):
                self._note(message)
                post(message)
        for reference in ready:
            self._take(awaited[reference], queue, post, interruption)

    def _note(self, message: Message) -> None:
        """Keep beside a job what is left of it, for the worker that may have to go on with it."""
        for member in self.workers:
            if member.job:
                member.job = remaining_job(member.job, message)

    def _take(self, member: Started, queue: Queue, post: Send, interruption: Interruption) -> None:
        job = member.job
        try:
            value = self.ray.get(member.awaited)
        except self.ray.exceptions.RayError as error:
            self.workers.remove(member)
            if job is None:
                self.failed_starts += 1
                if self.failed_starts == STARTS:
                    raise InvalidValueError(f"Workers cannot start: {_short(error)}", where="ray") from None
            elif interruption.requested:
                post(Stopped(job.name))
            elif not queue.again(job):
                post(Failed(job, f"its worker was lost, twice: {_short(error)}"))
            return
        if job is None:
            self._welcome(member, *value)
        else:
            member.job = None
            post(value)

    def _welcome(self, member: Started, version: str, said: Ready) -> None:
        """A worker is there: see that it can work."""
        ours = importlib.metadata.version("attnlab")
        if version != ours:
            raise InvalidValueError(
                f"A worker has attnlab {version}, this is {ours}.", "Install the same there.", where="ray"
            )
        result, hint, where = said.refused
        if result:
            more = "Workers run the files of --with; what these import must be there too."
            raise PluginError(f"A worker of the cluster: {result}", f"{hint}\n{more}".strip(), where=where)
        member.here, self.failed_starts = True, 0


def connected(address: str | None) -> Any:
    """Ray, connected to a cluster.

    Raises:
        InvalidValueError: Ray is not installed, or there is no cluster at that address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the behavior to come, without its warning
    try:
        import ray
    except ImportError:
        hint = "Install it with: pip install 'attnlab[ray]'."
        raise InvalidValueError("Ray is not installed here.", hint, where="--executor ray") from None
    if address and address != "auto" and not answers(address):
        raise _unreachable(address, f"nothing listens at {address}.")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "ignore_reinit_error": True}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unreachable(address, _short(error)) from None
    return ray


def answers(address: str) -> bool:
    """Whether anything listens at ``host:port``; Ray itself would try for minutes, then end the process.

    An address of another form is left to Ray to judge.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERING):
            return True
    except (OSError, OverflowError):
        return False


def _unreachable(address: str | None, why: str) -> InvalidValueError:
    hint = "Start one with: ray start --head --port=6379; then give --ray-address HOST:6379."
    return InvalidValueError(
        f"No Ray cluster answers: {why}", hint, where=f"--ray-address {address}" if address else "ray"
    )


def _short(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
