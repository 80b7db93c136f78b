"""Programs that take turns, each in a process of its own, as whoever uses it would run it.

What one does to the process it runs in (we keep memory that glibc would hand back, and set flags of torch's) is then
no help to its rivals.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Self, final

import torch

from benchmarks.timing.pairs import ROUNDS, Program, Seconds, turns

Build = Callable[[], Program]
"""Makes a program, in the process that will run it; functions of a module and what is bound to their arguments."""


def raced(
    builds: Mapping[str, Build],
    rounds: int = ROUNDS,
    *,
    times: int = 1,
    processor: bool = False,
    device: torch.device | None = None,
) -> Seconds:
    """Seconds of each program in each round, as its own process tells them; a first round is not counted.

    Args:
        builds: What makes the programs, by name.
        rounds: How often each has its turn.
        times: How often a program is run in one turn.
        processor: Whether the time of the processor is told, and not that of the clock.
        device: What the programs keep busy; waited for before the clock is read.

    Raises:
        ChildProcessError: a program could not be made, or failed; its process has told why.
    """
    seconds: Seconds = {name: [] for name in builds}
    with ExitStack() as stack:
        how = (times, processor, device or torch.device("cpu"), torch.get_num_threads())
        runners = {name: stack.enter_context(Runner(build, how)) for name, build in builds.items()}
        for name, counted in turns(list(builds), rounds):
            spent = runners[name].turn()
            if counted:
                seconds[name].append(spent)
    return seconds


@final
class Runner:
    """A process that runs a program whenever it is told to."""

    def __init__(self, build: Build, how: Sequence[object]) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, build, *how), daemon=True)
        self._process.start()
        theirs.close()

    def turn(self) -> float:
        """Seconds of one turn."""
        try:
            self._line.send(None)
            spent = self._line.recv()
        except (EOFError, OSError):
            raise ChildProcessError("A program that is timed has failed; its process has told why.") from None
        assert isinstance(spent, float), "a runner tells seconds"
        return spent

    def __enter__(self) -> Self:
        """Once it is started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let it go."""
        self._line.close()
        self._process.join(10)
        self._process.kill()


def serve(line: Connection, build: Build, times: int, processor: bool, device: torch.device, threads: int) -> None:
    """The life of a runner, until the line is closed."""
    torch.set_num_threads(threads)
    program, clock = build(), time.process_time if processor else time.perf_counter
    while True:
        try:
            line.recv()
        except EOFError:
            return
        start = clock()
        for _ in range(times):
            program()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        line.send(clock() - start)
