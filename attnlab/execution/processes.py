"""The executor of one machine: N processes of one thread each, each of which runs many jobs.

On a CPU two processes of one thread are faster than one process of two threads, because the models are too small for
torch to split their operations well. When a worker dies, a new worker runs its job again from the last checkpoint. The
job fails if that worker dies as well.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import final

from attnlab.errors import PluginError
from attnlab.execution import worker_start
from attnlab.execution.base import ExecutorKind, ExecutorRequest, register
from attnlab.execution.jobs import (
    Failed,
    Finished,
    Job,
    Message,
    Ready,
    Recorded,
    Saved,
    Send,
    Stopped,
    Tick,
    WorkerSettings,
    remaining_job,
)
from attnlab.execution.starting import children_started
from attnlab.sizes import available_memory, check_fits
from attnlab.training.interruption import Interruption

POLL_SECONDS = 0.25
"""Seconds between two checks of the clock and of Ctrl-C."""
WORKER_MEMORY = 700 * 2**20
"""Bytes that one worker is expected to need."""
TRIES = 2
"""How often a job is started before the death of its workers counts as its own failure."""


def default_workers(device: str = "cpu") -> int:
    """Choose the number of workers: one per core, as far as memory allows; on CUDA one per GPU.

    Args:
        device: The type of the device: ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The number of workers, at least 1 on a CPU.
    """
    if device == "cuda":
        import torch

        return torch.cuda.device_count()
    if device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, available_memory() // WORKER_MEMORY))


@dataclass
class Worker:
    """A process, and the connection to it."""

    process: SpawnProcess
    connection: Connection
    job: Job | None = None
    ready: bool = False
    """Whether it has reported that it can work."""
    rank: int = 0
    """Number of the worker, from 0; a worker that replaces another takes its rank."""


@final
class Processes:
    """N processes of one thread each.

    Args:
        count: Number of processes; they are started when there are jobs for them.
        settings: How jobs are run.
        blocked: Signals that never reach the workers: a cluster sends them to every process of a job, and this one
            stops the workers.
    """

    left_running = ""

    def __init__(self, count: int, settings: WorkerSettings, blocked: frozenset[signal.Signals] = frozenset()) -> None:
        self.num_workers, self.settings, self.blocked = count, settings, blocked
        self.description = f"{count} processes" if count > 1 else "1 process"
        self.workers: list[Worker] = []

    def run(self, jobs: Iterable[Job], send: Send, interruption: Interruption, /) -> None:
        """Run all jobs, see :meth:`attnlab.execution.jobs.Executor.run`.

        Args:
            jobs: The jobs; one is taken whenever a worker is free.
            send: Receives every message.
            interruption: Once it is requested, the workers stop at their next step.
        """
        queue = JobQueue(iter(jobs))
        try:
            while True:
                if not interruption.requested:
                    self._assign(queue)
                busy = [worker for worker in self.workers if worker.job]
                if not busy:
                    return
                if interruption.requested:
                    for worker in busy:  # repeated, because a worker ignores the signal until its training has begun
                        os.kill(worker.process.pid or 0, signal.SIGINT)
                self._receive(busy, queue, send, interruption)
                send(Tick())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill the workers."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()
        self.workers = []

    def _assign(self, queue: JobQueue) -> None:
        """Give a job to every idle worker, and start workers for the jobs that are waiting."""
        idle = [worker for worker in self.workers if not worker.job]
        while idle or len(self.workers) < self.num_workers:
            job = queue.next()
            if job is None:
                return
            worker = idle.pop() if idle else self._start_worker()
            worker.job = job
            worker.connection.send(job)

    def _start_worker(self) -> Worker:
        """Start a worker of the lowest free rank."""
        context = multiprocessing.get_context("spawn")
        connection, remote = context.Pipe()
        rank = min(set(range(self.num_workers)) - {worker.rank for worker in self.workers})
        settings = replace(self.settings, device=device_of_rank(self.settings.device, rank))
        by_main_thread = threading.current_thread() is threading.main_thread()
        arguments = (remote, by_main_thread, pickle.dumps(settings))
        process = context.Process(target=worker_start.start, args=arguments, daemon=True, name="attnlab worker")
        with children_started(self.blocked):
            process.start()
        remote.close()
        self.workers.append(Worker(process, connection, rank=rank))
        return self.workers[-1]

    def _receive(self, busy: list[Worker], queue: JobQueue, send: Send, interruption: Interruption) -> None:
        """Forward what the workers have sent, and find workers that have died."""
        sources: list[Connection | int] = [worker.connection for worker in busy]
        sources += [worker.process.sentinel for worker in busy]
        ready = set(wait(sources, timeout=POLL_SECONDS))
        for worker in busy:
            if not ready & {worker.connection, worker.process.sentinel}:
                continue
            try:
                while worker.connection.poll():
                    self._forward(worker, worker.connection.recv(), queue, send, interruption)
            except (EOFError, OSError):
                self._replace_lost(worker, queue, send, interruption)

    def _forward(
        self, worker: Worker, message: Message, queue: JobQueue, send: Send, interruption: Interruption
    ) -> None:
        """Update the state of a worker from its message, then send the message on."""
        match message:
            case Ready((problem, hint, where)) if problem:
                raise PluginError(problem, hint, where=where)
            case Ready():
                worker.ready = True
            case Saved() | Recorded() if worker.job:
                worker.job = remaining_job(worker.job, message)
            case Stopped() if worker.job and not interruption.requested:  # a signal to this worker alone
                job, worker.job = worker.job, None
                message = Tick() if queue.retry(job) else Failed(job, "its worker was asked to stop, twice")
            case Finished() | Failed() | Stopped():
                worker.job = None
        send(message)

    def _replace_lost(self, worker: Worker, queue: JobQueue, send: Send, interruption: Interruption) -> None:
        """Remove a worker that died; its job is queued again from its last checkpoint, or fails."""
        self.workers.remove(worker)
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode or 0
        job = worker.job
        if job is None:
            return
        if code > 0 and not worker.ready and not interruption.requested:
            hint = "The executor 'inline' needs no workers."
            raise PluginError("A worker could not start; its error is printed above.", hint, where="processes")
        if interruption.requested:
            send(Stopped(job.name))
        elif not queue.retry(job):
            send(Failed(job, exit_reason(code)))


@dataclass
class JobQueue:
    """Jobs to start: first those that lost their worker, then new ones."""

    new: Iterator[Job]
    lost: list[Job] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)
    """Job name -> how often it was started, for those that lost a worker."""

    upcoming: Job | None = None
    """The next new job, once it has been taken from the iterator."""

    @property
    def waiting(self) -> bool:
        """Whether there is a job to start."""
        self.upcoming = self.upcoming or next(self.new, None)
        return bool(self.lost or self.upcoming)

    def next(self) -> Job | None:
        """The next job, or None if there is none."""
        if not self.waiting:
            return None
        if self.lost:
            return self.lost.pop()
        job, self.upcoming = self.upcoming, None
        return job

    def retry(self, job: Job) -> bool:
        """Queue a job again, unless it has used all its tries.

        Args:
            job: What is left of the job whose worker was lost.

        Returns:
            Whether it was queued.
        """
        self.tries[job.name] = self.tries.get(job.name, 1) + 1
        if self.tries[job.name] > TRIES:
            return False
        self.lost.append(job)
        return True


def device_of_rank(device: str, rank: int) -> str:
    """Choose the device of a worker; several GPUs are assigned in turn.

    Args:
        device: The type of the device, such as ``cuda``.
        rank: Number of the worker, from 0.

    Returns:
        ``cuda:I`` on CUDA, otherwise ``device``.
    """
    if device != "cuda":
        return device
    import torch

    return f"cuda:{rank % torch.cuda.device_count()}"


def exit_reason(code: int | None) -> str:
    """Explain why a worker ended.

    Args:
        code: Exit status of the process; negative for a signal, None if it is unknown.

    Returns:
        The reason, for the record of the failed run.
    """
    if code == -signal.SIGKILL:
        return "its worker was killed (signal 9), twice; the system does this when memory runs out"
    if code is not None and code < 0:
        return f"its worker died of signal {-code}, twice"
    return f"its worker ended with status {code}, twice"


@final
@register("processes", source="ours")
class ProcessesKind(ExecutorKind):
    """Processes of this machine, with one thread each; one for each core, or for each GPU."""

    def make(self, request: ExecutorRequest) -> Processes:
        """Make the executor; no more processes than there are runs."""
        count = request.count or default_workers(request.settings.device)
        workers = min(count, request.runs or count)
        if workers > (os.cpu_count() or 1):
            where = f"--executor processes:{count}"
            check_fits(workers, lambda number: number * WORKER_MEMORY, what=f"{workers:,} workers", where=where)
        return Processes(workers, request.settings)
