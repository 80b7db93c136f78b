"""Training batches generated one step ahead by a thread, while the device computes the step before.

On a CPU, generating a batch takes a few thousandths of a step, and a thread would only compete for the cores. On a
GPU, dozens of vmapped runs take their steps as fast as their batches are generated.

A batch is a function of the seed of its run and of the step alone. It is the same whoever generates it, and a batch
for a step that is never taken changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import final

from attnlab.tasks import Batch
from attnlab.tasks.io.streams import Source

Steps = Mapping[int, int]
"""Index of a run -> the step that it takes next."""


@final
class Prefetcher:
    """The training batches of a group of runs.

    Args:
        sources: The data of each run.
        batch_size: Sequences per batch.
        ahead: Whether a thread generates the batches of the next step.
    """

    def __init__(self, sources: Sequence[Source], batch_size: int, ahead: bool) -> None:
        self.sources, self.batch_size = sources, batch_size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches") if ahead else None
        self._pending: tuple[Steps, Future[dict[int, Batch]]] | None = None

    def __call__(self, steps: Steps) -> dict[int, Batch]:
        """Return the batch of each run for its step."""
        if self._thread is None:
            return self._generate(steps)
        ready: dict[int, Batch] = {}
        if self._pending is not None:
            expected, future = self._pending
            batches = future.result()
            ready = {index: batches[index] for index, step in steps.items() if expected.get(index) == step}
        following = {index: step + 1 for index, step in steps.items()}
        self._pending = following, self._thread.submit(self._generate, following)
        return {**self._generate({index: step for index, step in steps.items() if index not in ready}), **ready}

    def close(self) -> None:
        """Stop the thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _generate(self, steps: Steps) -> dict[int, Batch]:
        """Generate the batch of each run for its step."""
        return {index: self.sources[index].training(step, self.batch_size) for index, step in steps.items()}
