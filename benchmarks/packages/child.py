"""The process in which the cases of a package are measured: one after another, each with a limit of time."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.packages.case import Case

RESULT = "RESULT "
"""What a line with a result begins with: packages print lines of their own."""


def measure_all(
    cases: Sequence[Case],
    variables: Mapping[str, str],
    seconds: float,
    program: str = "benchmarks.packages.measure",
) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Measure cases in a process, which is started anew after a case that ended it or took too long.

    Args:
        cases: The cases.
        variables: The environment of the process.
        seconds: The limit of each case, in seconds.
        program: The module that measures.

    Yields:
        Each case with its result.
    """
    child: Child | None = None
    try:
        for case in cases:
            child = child or Child(variables, program)
            result = child.measure(case, seconds)
            if result is None:
                code = child.ended()
                child.close()
                child = None
                reason = f"not done within {seconds:g} s" if code is None else f"the process ended with code {code}"
                result = {"error": reason}
            yield case, result
    finally:
        if child is not None:
            child.close()


class Child:
    """A process that measures.

    Args:
        variables: Its environment.
        program: The module that measures.
    """

    def __init__(self, variables: Mapping[str, str], program: str) -> None:
        words = [sys.executable, "-m", program]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=dict(variables)
        )
        self.answers: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def measure(self, case: Case, seconds: float) -> dict[str, Any] | None:
        """Measure a case.

        Args:
            case: The case.
            seconds: Its limit.

        Returns:
            The result; None if the process ended or took too long.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(case.model_dump_json() + "\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=seconds)
        except (BrokenPipeError, queue.Empty):
            return None
        return json.loads(line) if line else None

    def ended(self) -> int | None:
        """Tell the exit code, or None while the process runs."""
        try:
            return self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _read(self) -> None:
        """Pass results on; an empty line tells that there will be no more."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(RESULT):
                self.answers.put(line.removeprefix(RESULT))
        self.answers.put("")
