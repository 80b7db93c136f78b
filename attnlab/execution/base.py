"""What an executor is found by: a kind of executor, and the registry of kinds.

An entry point of the group ``attnlab.executors`` names a module that registers a kind; ``--plugin`` loads one as well.
The options of a kind are the keyword-only arguments of its constructor, as with every other registered part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from attnlab.execution.jobs import Executor, WorkerSettings
from attnlab.registry import Registry


@dataclass(frozen=True)
class ExecutorRequest:
    """What is known of a sweep when its executor is made."""

    settings: WorkerSettings
    """How jobs are run."""
    count: int | None = None
    """Number of workers, at most; None leaves it to the executor."""
    runs: int | None = None
    """Number of runs; None where it is not known. 0 sets no limit."""
    store: Path | None = None
    """The folder of results; None where there is none."""


class ExecutorKind(ABC):
    """Makes the executors of one name; options are keyword-only arguments of its constructor."""

    remote: bool = True
    """Whether jobs run in other processes, which load the user's parts again."""

    def device(self, name: str) -> str:
        """Decide where workers train; by default on the device of this machine.

        Args:
            name: One of :data:`attnlab.choices.DeviceName`.

        Returns:
            The type of the device: cpu, cuda or mps.

        Raises:
            DeviceError: This machine has no such device.
        """
        from attnlab.training.environment import device

        return device(name).type

    @abstractmethod
    def make(self, request: ExecutorRequest) -> Executor:
        """Make the executor; its workers start with the first job.

        Args:
            request: What is known of the sweep.

        Returns:
            The executor.

        Raises:
            AttnlabError: It cannot run here.
        """


EXECUTORS: Registry[ExecutorKind] = Registry("executor", "attnlab.execution", "attnlab.executors")
register = EXECUTORS.register
