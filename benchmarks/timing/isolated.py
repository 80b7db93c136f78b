"""Programs that take turns, each in a process of its own, as a user of each would run it.

What one program does to its process (attnlab keeps memory that glibc would return, and sets flags of torch) then does
not help the others.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Self, final

import torch

from attnlab.experiments.bench_result import turns
from benchmarks.timing.pairs import ROUNDS, Program, Seconds

Build = Callable[[], Program]
"""Makes a program in the process that runs it; must be picklable: a function of a module, or a partial of one."""


def time_isolated(
    builds: Mapping[str, Build],
    rounds: int = ROUNDS,
    *,
    times: int = 1,
    processor: bool = False,
    device: torch.device | None = None,
) -> Seconds:
    """Time programs in processes of their own; a first round does not count.

    Args:
        builds: What makes the programs, by name.
        rounds: Number of rounds that count.
        times: How often a program runs in one turn.
        processor: Whether to measure processor time instead of wall time.
        device: The device that the programs use; it is synchronized before the clock is read. None is the CPU.

    Returns:
        Seconds of each program in each round.

    Raises:
        ChildProcessError: A program could not be made, or failed; its process has printed the error.
    """
    seconds: Seconds = {name: [] for name in builds}
    with ExitStack() as stack:
        settings = (times, processor, device or torch.device("cpu"), torch.get_num_threads())
        runners = {name: stack.enter_context(Runner(build, settings)) for name, build in builds.items()}
        for name, counted in turns(list(builds), rounds):
            spent = runners[name].turn()
            if counted:
                seconds[name].append(spent)
    return seconds


@final
class Runner:
    """A process that runs a program once per request.

    Args:
        build: What makes the program.
        settings: The further arguments of :func:`serve`.
    """

    def __init__(self, build: Build, settings: Sequence[object]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, remote = context.Pipe()
        self._process = context.Process(target=serve, args=(remote, build, *settings), daemon=True)
        self._process.start()
        remote.close()

    def turn(self) -> float:
        """Seconds of one turn."""
        try:
            self._connection.send(None)
            spent = self._connection.recv()
        except (EOFError, OSError):
            raise ChildProcessError("A timed program has failed; its error is printed above.") from None
        assert isinstance(spent, float), "a runner sends seconds"
        return spent

    def __enter__(self) -> Self:
        """Return the runner."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(10)
        self._process.kill()


def serve(
    connection: Connection, build: Build, times: int, processor: bool, device: torch.device, threads: int
) -> None:
    """Run a program whenever a request comes, until the connection is closed."""
    torch.set_num_threads(threads)
    program, clock = build(), time.process_time if processor else time.perf_counter
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        start = clock()
        for _ in range(times):
            program()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        connection.send(clock() - start)
