"""The executor without workers: one job after the other, here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from attnlab.execution.jobs import Job, Send, WorkerSettings, run_job
from attnlab.training.interruption import Interruption


@final
class Inline:
    """One job after the other, in this process, with all of torch's threads."""

    description = "here, one after the other"
    num_workers = 1

    def __init__(self, setting: WorkerSettings) -> None:
        self.settings = setting

    def run(self, jobs: Iterable[Job], post: Send, interruption: Interruption) -> None:
        """Work through the jobs."""
        for job in jobs:
            if interruption.requested:
                return
            run_job(job, self.settings, post)

    def close(self) -> None:
        """Nothing to let go."""
