"""The executor without workers: one job after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import final

from attnlab.execution.base import ExecutorKind, ExecutorRequest, register
from attnlab.execution.jobs import Job, Send, WorkerSettings, run_job
from attnlab.training.interruption import Interruption


@final
class Inline:
    """Runs one job after the other in this process, with all of torch's threads.

    Args:
        settings: How jobs are run.
    """

    description = "this process, one run after the other"
    num_workers = 1
    left_running = ""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings

    def run(self, jobs: Iterable[Job], send: Send, interruption: Interruption, /) -> None:
        """Run all jobs."""
        for job in jobs:
            if interruption.requested:
                return
            run_job(job, self.settings, send)

    def close(self) -> None:
        """Do nothing: there are no workers."""


@final
@register("inline", source="ours")
class InlineKind(ExecutorKind):
    """This process: one run after the other, with all of torch's threads."""

    remote = False

    def make(self, request: ExecutorRequest) -> Inline:
        """Make the executor; a number of workers means nothing here."""
        return Inline(replace(request.settings, threads=None))
