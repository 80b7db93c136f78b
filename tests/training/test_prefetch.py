"""Prefetched batches equal those generated when needed, whichever runs end in between."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from attnlab.tasks import Batch
from attnlab.tasks.io.streams import Source
from attnlab.training._prefetch import Prefetcher
from attnlab.training.loop import Loop
from attnlab.training.stepper import SingleStepper
from tests.training.runs import COPY, tiny

MIXED = COPY.model_copy(update={"train": {"symbols": "1..6"}})


def equal(one: Mapping[int, Batch], other: Mapping[int, Batch]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[index].inputs_BT, other[index].inputs_BT)
        and np.array_equal(one[index].targets_BT, other[index].targets_BT)
        for index in one
    )


def threads() -> int:
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


def test_prefetched_batches_equal_those_generated_when_needed() -> None:
    sources = [Source(MIXED, seed) for seed in range(3)]
    ahead, direct = Prefetcher(sources, 4, True), Prefetcher(sources, 4, False)
    sequence = [{0: 0, 1: 0, 2: 0}, {0: 1, 1: 1, 2: 1}, {0: 2, 2: 2}, {0: 3, 2: 3}, {0: 9, 1: 9}, {1: 10}]
    for steps in sequence:
        assert equal(ahead(steps), direct(steps))
    assert threads() == 1
    ahead.close()
    direct.close()
    assert threads() == 0


def test_the_thread_generates_all_but_the_first() -> None:
    generated: list[tuple[int, bool]] = []

    class Logged(Source):
        def training(self, step: int, batch: int) -> Batch:
            generated.append((step, threading.current_thread() is threading.main_thread()))
            return super().training(step, batch)

    ahead = Prefetcher([Logged(COPY, 0)], 4, True)
    for step in range(4):
        ahead({0: step})
    ahead.close()
    assert {(0, True), (1, False), (2, False), (3, False)} <= set(generated)
    assert all(step == 0 for step, main in generated if main)


def test_an_error_in_the_thread_is_raised_when_the_batch_is_needed() -> None:
    class Broken(Source):
        def training(self, step: int, batch: int) -> Batch:
            if step == 1:
                raise ArithmeticError("no such batch")
            return super().training(step, batch)

    ahead = Prefetcher([Broken(COPY, 0)], 4, True)
    ahead({0: 0})
    with pytest.raises(ArithmeticError, match="no such batch"):
        ahead({0: 1})
    ahead.close()


def test_a_training_is_the_same_either_way() -> None:
    spec = tiny(task=MIXED)
    records = []
    for ahead in (True, False):
        source = Source(spec.task, spec.seed)
        stepper = SingleStepper(spec, source, torch.device("cpu"))
        loop = Loop([spec], [source], stepper, lambda event: None, None, 1e9, {}, ahead)
        records += loop.run(False)
        assert threads() == 0
    assert records[0].history == records[1].history
    assert records[0].accuracy == records[1].accuracy
