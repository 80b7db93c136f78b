"""What the tests of training share: tiny runs, a checkpointer in memory, callbacks that stop a run."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec, TrainSpec
from attnlab.storage.arrays import Arrays
from attnlab.training.events import Event, StepsTaken

COPY = TaskSpec(name="copy", options={"symbols": 2, "alphabet": 4}, complexity="symbols")
EASY = TaskSpec(name="copy", options={"symbols": 1, "alphabet": 2}, complexity="symbols")


def tiny(
    attention: str = "softmax", position: str = "learned", *, task: TaskSpec = COPY, seed: int = 0, **train: Any
) -> RunSpec:
    """A run of 24 steps that is validated every 8 steps and does not stop early, unless ``train`` changes it."""
    model = ModelSpec(layers=1, width=8, heads=2, mlp_ratio=1.0, attention=(Part(name=attention),))
    defaults = {
        "max_steps": 24,
        "batch_size": 8,
        "eval_every": 8,
        "validation_examples": 12,
        "test_examples": 20,
        "early_stop_accuracy": None,
    }
    return RunSpec(
        task=task,
        model=model.model_copy(update={"position": Part(name=position)}),
        train=TrainSpec(**{**defaults, **train}),
        seed=seed,
    )


@dataclass
class MemoryCheckpointer:
    """A checkpointer that keeps everything in memory; metadata pass through JSON, as in the store."""

    checkpoints: dict[str, tuple[Arrays, str]] = field(default_factory=dict)
    finished: dict[str, Arrays] = field(default_factory=dict)
    saves: int = 0

    def save(self, name: str, arrays: Arrays, metadata: Mapping[str, Any]) -> None:
        copies = {key: array.copy() for key, array in arrays.items()}
        self.checkpoints[name] = (copies, json.dumps(metadata))
        self.saves += 1

    def load(self, name: str) -> tuple[Arrays, dict[str, Any]] | None:
        if name not in self.checkpoints:
            return None
        arrays, metadata = self.checkpoints[name]
        return {key: array.copy() for key, array in arrays.items()}, json.loads(metadata)

    def save_weights(self, run: str, weights: Arrays) -> None:
        self.finished[run] = weights


class Crash(Exception):
    """The process ends unexpectedly."""


def crash_when(condition: Callable[[Event], bool]) -> Callable[[Event], None]:
    """A callback that raises at the first event that meets the condition."""

    def callback(event: Event) -> None:
        if condition(event):
            raise Crash

    return callback


def interrupt_at(step: int, number: signal.Signals = signal.SIGINT) -> Callable[[Event], None]:
    """A callback that sends Ctrl-C once, at the first losses of that step or a later one."""
    sent: list[int] = []

    def callback(event: Event) -> None:
        if isinstance(event, StepsTaken) and event.step >= step and not sent:
            sent.append(event.step)
            signal.raise_signal(number)

    return callback
