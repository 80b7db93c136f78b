"""What the tests of training share: tiny runs, a vault kept in memory, watchers that stop a run."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec, TrainSpec
from attnlab.training.events import Event, StepsTaken
from attnlab.training.stepper import Arrays

COPY = TaskSpec(name="copy", options={"symbols": 2, "alphabet": 4}, complexity="symbols")
EASY = TaskSpec(name="copy", options={"symbols": 1, "alphabet": 2}, complexity="symbols")


def tiny(
    attention: str = "softmax", position: str = "learned", *, task: TaskSpec = COPY, seed: int = 0, **train: Any
) -> RunSpec:
    """A run of 24 steps that looks every 8 and never stops sooner, unless told otherwise."""
    model = ModelSpec(layers=1, width=8, heads=2, mlp_ratio=1.0, attention=(Part(name=attention),))
    budget = {
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
        train=TrainSpec(**{**budget, **train}),
        seed=seed,
    )


@dataclass
class Memory:
    """A vault that forgets when the test ends; what is said of the arrays goes through JSON, as in the store."""

    checkpoints: dict[str, tuple[Arrays, str]] = field(default_factory=dict)
    finished: dict[str, Arrays] = field(default_factory=dict)
    saves: int = 0

    def save(self, name: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
        copied = {key: array.copy() for key, array in arrays.items()}
        self.checkpoints[name] = (copied, json.dumps(about))
        self.saves += 1

    def load(self, name: str) -> tuple[Arrays, dict[str, Any]] | None:
        if name not in self.checkpoints:
            return None
        arrays, about = self.checkpoints[name]
        return {key: array.copy() for key, array in arrays.items()}, json.loads(about)

    def save_weights(self, run: str, weights: Arrays) -> None:
        self.finished[run] = weights


class Crash(Exception):
    """The machine goes away."""


def crash_when(due: Callable[[Event], bool]) -> Callable[[Event], None]:
    """A watcher that fails at the first event that is due."""

    def watch(event: Event) -> None:
        if due(event):
            raise Crash

    return watch


def interrupt_at(step: int, kind: signal.Signals = signal.SIGINT) -> Callable[[Event], None]:
    """A watcher that presses Ctrl-C at the first losses of that step or a later one."""
    pressed: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepsTaken) and event.step >= step and not pressed:
            pressed.append(event.step)
            signal.raise_signal(kind)

    return watch
