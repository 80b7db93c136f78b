"""The executor without workers: one job after the other, here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from attnlab.execution.jobs import Job, Post, Setting, work
from attnlab.training.interruption import Interruption


@final
class Inline:
    """One job after the other, in this process, with all of torch's threads."""

    words = "here, one after the other"
    count = 1

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def run(self, jobs: Iterable[Job], post: Post, interruption: Interruption) -> None:
        """Work through the jobs."""
        for job in jobs:
            if interruption.asked:
                return
            work(job, self.setting, post)

    def close(self) -> None:
        """Nothing to let go."""
