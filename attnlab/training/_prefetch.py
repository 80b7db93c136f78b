"""Batches drawn one step ahead, by a thread, while a device works on the step before.

On a CPU drawing takes a few thousandths of a step, and a thread would only stand in its way; dozens of lanes on a GPU
take their steps as fast as their batches are drawn.

A batch is a function of its run's seed and of the step alone, so it is the same whoever draws it, and what was drawn
for a step that is never taken changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import final

from attnlab.tasks import Batch
from attnlab.tasks.io.streams import Source

Steps = Mapping[int, int]
"""VmapWidth, and the step that each is to take."""


@final
class Prefetcher:
    """The training batches of a bundle.

    Args:
        sources: The data of each lane.
        batch: Sequences of a batch.
        ahead: Whether the next step's are drawn by a thread.
    """

    def __init__(self, sources: Sequence[Source], batch: int, ahead: bool) -> None:
        self.sources, self.batch = sources, batch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches") if ahead else None
        self._coming: tuple[Steps, Future[dict[int, Batch]]] | None = None

    def __call__(self, steps: Steps) -> dict[int, Batch]:
        """The batch of each lane for its step."""
        if self._thread is None:
            return self._drawn(steps)
        result: dict[int, Batch] = {}
        if self._coming is not None:
            foreseen, future = self._coming
            drawn = future.result()
            result = {lane: drawn[lane] for lane, step in steps.items() if foreseen.get(lane) == step}
        following = {lane: step + 1 for lane, step in steps.items()}
        self._coming = following, self._thread.submit(self._drawn, following)
        return {**self._drawn({lane: step for lane, step in steps.items() if lane not in result}), **result}

    def close(self) -> None:
        """Let the thread go."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _drawn(self, steps: Steps) -> dict[int, Batch]:
        return {lane: self.sources[lane].training(step, self.batch) for lane, step in steps.items()}
