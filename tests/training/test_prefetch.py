"""Batches drawn ahead are those drawn when they are due, whoever retires in between."""

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


def same(one: Mapping[int, Batch], other: Mapping[int, Batch]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[lane].inputs_BT, other[lane].inputs_BT)
        and np.array_equal(one[lane].targets_BT, other[lane].targets_BT)
        for lane in one
    )


def threads() -> int:
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


def test_they_are_those_drawn_when_due() -> None:
    sources = [Source(MIXED, seed) for seed in range(3)]
    ahead, plain = Prefetcher(sources, 4, True), Prefetcher(sources, 4, False)
    requested = [{0: 0, 1: 0, 2: 0}, {0: 1, 1: 1, 2: 1}, {0: 2, 2: 2}, {0: 3, 2: 3}, {0: 9, 1: 9}, {1: 10}]
    for steps in requested:
        assert same(ahead(steps), plain(steps))
    assert threads() == 1
    ahead.close()
    plain.close()
    assert threads() == 0


def test_all_but_the_first_are_drawn_by_the_thread() -> None:
    drawn: list[tuple[int, bool]] = []

    class DiagnosticsPoint(Source):
        def training(self, step: int, batch: int) -> Batch:
            drawn.append((step, threading.current_thread() is threading.main_thread()))
            return super().training(step, batch)

    ahead = Prefetcher([DiagnosticsPoint(COPY, 0)], 4, True)
    for step in range(4):
        ahead({0: step})
    ahead.close()
    assert {(0, True), (1, False), (2, False), (3, False)} <= set(drawn)
    assert all(step == 0 for step, main in drawn if main)


def test_what_fails_in_the_thread_fails_where_it_is_due() -> None:
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
