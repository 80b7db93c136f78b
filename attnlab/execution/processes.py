"""The executor of one machine: N processes of one thread each, which outlive many jobs.

On a CPU two processes of one thread do more than one process of two, as these models are too small to share out. A
worker that dies takes its job with it once; the job is given to a fresh worker, and reported if that one dies too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import final

from attnlab.errors import AttnlabError, PluginError
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
    run_job,
)
from attnlab.training.interruption import Interruption

BEAT = 0.25
"""Seconds between two looks at the clock and at Ctrl-C."""
MEMORY = 700 * 2**20
"""Bytes that one worker is reckoned to need."""
TRIES = 2
"""How often a job is given out before the death of its workers counts as its own failure."""


def workers(device: str = "cpu") -> int:
    """As many processes as cores, or as memory allows if that is fewer; on GPUs as many as there are."""
    if device == "cuda":
        import torch

        return torch.cuda.device_count()
    if device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return cores
    return max(1, min(cores, free // MEMORY))


@dataclass
class Worker:
    """A process and the line to it."""

    process: SpawnProcess
    line: Connection
    job: Job | None = None
    here: bool = False
    """Whether it has said that it can work."""
    rank: int = 0
    """Which of the workers it is, counted from 0; whoever replaces it has the same."""


@final
class Processes:
    """N processes of one thread each.

    Args:
        count: How many; they are started when there is work for them.
        setting: How jobs are worked through.
    """

    def __init__(self, count: int, setting: WorkerSettings) -> None:
        self.num_workers, self.settings = count, setting
        self.description = f"{count} processes" if count > 1 else "1 process"
        self.workers: list[Worker] = []

    def run(self, jobs: Iterable[Job], post: Send, interruption: Interruption) -> None:
        """Work through the jobs."""
        queue = Queue(iter(jobs))
        try:
            while True:
                if not interruption.requested:
                    self._give(queue)
                busy = [worker for worker in self.workers if worker.job]
                if not busy:
                    return
                if interruption.requested:
                    for worker in busy:  # at every beat: one that is not listening yet ignores it
                        os.kill(worker.process.pid or 0, signal.SIGINT)
                self._hear(busy, queue, post, interruption)
                post(Tick())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the workers go, at once."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
            worker.line.close()
        self.workers = []

    def _give(self, queue: Queue) -> None:
        """A job for every idle worker, and workers for what is waiting."""
        idle = [worker for worker in self.workers if not worker.job]
        while idle or len(self.workers) < self.num_workers:
            job = queue.next()
            if job is None:
                return
            worker = idle.pop() if idle else self._start_worker()
            worker.job = job
            worker.line.send(job)

    def _start_worker(self) -> Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        seat = min(set(range(self.num_workers)) - {worker.rank for worker in self.workers})
        setting = replace(self.settings, device=device_of_rank(self.settings.device, seat))
        process = context.Process(target=serve, args=(theirs, setting), daemon=True, name="attnlab worker")
        with quiet_stdin():
            process.start()
        theirs.close()
        self.workers.append(Worker(process, ours, rank=seat))
        return self.workers[-1]

    def _hear(self, busy: list[Worker], queue: Queue, post: Send, interruption: Interruption) -> None:
        """Pass on what the workers say; see whether one has died."""
        ready = set(wait([*(w.line for w in busy), *(w.process.sentinel for w in busy)], timeout=BEAT))
        for worker in busy:
            if not ready & {worker.line, worker.process.sentinel}:
                continue
            try:
                while worker.line.poll():
                    self._pass(worker, worker.line.recv(), post)
            except (EOFError, OSError):
                self._lost(worker, queue, post, interruption)

    def _pass(self, worker: Worker, message: Message, post: Send) -> None:
        match message:
            case Ready((result, hint, where)) if result:
                raise PluginError(result, hint, where=where)
            case Ready():
                worker.here = True
            case Saved() | Recorded() if worker.job:
                worker.job = remaining_job(worker.job, message)
            case Finished() | Failed() | Stopped():
                worker.job = None
        post(message)

    def _lost(self, worker: Worker, queue: Queue, post: Send, interruption: Interruption) -> None:
        """A worker died: its job is tried once more from its last checkpoint, then reported."""
        self.workers.remove(worker)
        worker.process.join()
        worker.line.close()
        code = worker.process.exitcode or 0
        job, reason = worker.job, died(code)
        if job is None:
            return
        if code > 0 and not worker.here and not interruption.requested:
            hint = "A script that sweeps needs: if __name__ == '__main__', as workers import it too. Or use inline."
            raise PluginError("A worker could not start; what it said stands above.", hint, where="processes")
        if interruption.requested:
            post(Stopped(job.name))
        elif not queue.again(job):
            post(Failed(job, reason))


@dataclass
class Queue:
    """Jobs to give out: those whose worker died first."""

    fresh: Iterator[Job]
    back: list[Job] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)

    ahead: Job | None = None
    """The next fresh job, once it has been looked for."""

    @property
    def waiting(self) -> bool:
        """Whether there is a job to give out."""
        self.ahead = self.ahead or next(self.fresh, None)
        return bool(self.back or self.ahead)

    def next(self) -> Job | None:
        """The next job, or None if there is none."""
        if not self.waiting:
            return None
        if self.back:
            return self.back.pop()
        job, self.ahead = self.ahead, None
        return job

    def again(self, job: Job) -> bool:
        """Give a job out once more, unless it has had its tries."""
        self.tries[job.name] = self.tries.get(job.name, 1) + 1
        if self.tries[job.name] > TRIES:
            return False
        self.back.append(job)
        return True


def device_of_rank(device: str, seat: int) -> str:
    """The device of a worker: several GPUs are dealt out in turn."""
    if device != "cuda":
        return device
    import torch

    return f"cuda:{seat % torch.cuda.device_count()}"


def died(code: int | None) -> str:
    """Why a worker is gone, in words."""
    if code == -signal.SIGKILL:
        return "its worker was killed (signal 9), twice; that is how a machine without memory left defends itself"
    if code is not None and code < 0:
        return f"its worker died of signal {-code}, twice"
    return f"its worker ended with status {code}, twice"


@contextmanager
def quiet_stdin() -> Iterator[None]:
    """Within it Ctrl-C waits; a process that is started here hears none before it says so."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(line: Connection, setting: WorkerSettings) -> None:
    """The life of a worker: load the user's files, then do jobs until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver hears Ctrl-C, and tells us
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if hasattr(os, "setsid"):
        os.setsid()
    from attnlab.registry import load_plugin

    try:
        for path in setting.files:
            load_plugin(path)
        line.send(Ready())
    except AttnlabError as error:
        line.send(Ready((error.problem, error.hint, error.where)))
        return
    except (EOFError, OSError):
        return  # the driver is gone
    if setting.threads is not None:
        import torch

        torch.set_num_threads(setting.threads)
    while True:
        try:
            run_job(line.recv(), setting, line.send)
        except (EOFError, OSError):
            return  # the driver is gone
