"""Runs that are made to fail by a known cause.

    written    the tasks, causes and seeds on which the rules and their bounds were written
    held-out   other causes, on eight tasks of which four were not used before, with four attentions and two schedules;
               its mistakes changed three rules
    second     further causes on the same tasks; its mistakes changed three more
    third      further causes on the same tasks; its mistakes changed what is small
    fourth     small models and few steps on the same tasks, after which no rule was changed
    fresh      sixteen runs on recall, parity, delay and copy, four causes each

A cause that holds for some tasks only names them. No run is left out because its failure mode is not the expected one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

LEVELS: dict[str, tuple[int, dict[str, Any]]] = {
    "copy": (8, {}),
    "recall": (4, {"length": 32, "vocabulary": 32}),
    "parity": (8, {}),
    "delay": (5, {"length": 16}),
    "induction": (16, {}),
    "majority": (16, {}),
    "dyck": (8, {}),
    "histogram": (16, {}),
    "modular-counting": (16, {}),
    "needle": (16, {}),
}
"""Task -> a level and its options, small enough for a few seconds."""
ATTENTIONS = ("softmax", "linear", "gla", "delta")
SCHEDULES = ("cosine", "constant")
USED = ("copy", "recall", "parity", "delay", "induction", "majority")
"""Tasks on which the rules were written."""
NEW = ("dyck", "histogram", "modular-counting", "needle", "copy", "recall", "parity", "delay")
"""Tasks of the held-out runs."""
CORE = ("recall", "parity", "delay", "copy")
BASE: dict[str, Any] = {
    "max_steps": 200,
    "batch_size": 32,
    "eval_every": 20,
    "log_diagnostics": ["rank", "gradients", "attention"],
    "validation_examples": 128,
    "test_examples": 256,
    "lr": 3e-3,
}
MODEL: dict[str, Any] = {"layers": 2, "width": 32, "heads": 2, "position": "rotary"}
TINY: dict[str, Any] = {"layers": 1, "width": 8, "heads": 1}


@dataclass(frozen=True)
class Cause:
    """A cause of failure."""

    name: str
    expected: str
    """The failure mode that it brings about."""
    train: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    attention: str = ""
    """The only one that has this cause; empty for all, in turn."""
    harder: int = 1
    """Factor on the level."""
    options: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    """The only tasks that have this cause; empty for all."""


@dataclass(frozen=True)
class Failing:
    """One run with its cause."""

    cause: Cause
    task: str
    attention: str
    schedule: str
    seed: int

    @property
    def level(self) -> int:
        """The level of its task."""
        return LEVELS[self.task][0] * self.cause.harder

    @property
    def options(self) -> dict[str, Any]:
        """The other options of its task."""
        return {**LEVELS[self.task][1], **self.cause.options}


def _steps(count: int, validations: int = 10) -> dict[str, Any]:
    return {"max_steps": count, "eval_every": max(1, count // validations)}


NO_RESIDUAL: dict[str, Any] = {"layers": 8, "residual": False, "mlp_ratio": 0.0}
WRITTEN = (
    Cause("rate 1e-5", "undertrained", {"lr": 1e-5}),
    Cause("30 steps", "undertrained", _steps(30)),
    Cause("rate 1", "optimization failure", {"lr": 1.0, **_steps(80)}),
    Cause("rate 0.3", "optimization failure", {"lr": 0.3, **_steps(120)}),
    Cause("8 layers, no residual, no MLP", "rank collapse", _steps(60), NO_RESIDUAL, "softmax"),
    Cause("32 sequences", "overfit", {"train_examples": 32, **_steps(160)}),
    Cause("1 layer, window of 2", "capacity", _steps(400), {"layers": 1}, "window:window=2,sinks=0", 2),
    Cause("1 layer, width 8", "capacity", _steps(1000), TINY, "linear", 2, tasks=("copy", "recall", "parity", "delay")),
    Cause("weights times 30", "optimization failure", _steps(100), {"init_scale": 30.0}),
    Cause("scores times 300", "entropy collapse", _steps(80), {}, "ssmax:start=300"),
)
HELD_OUT = (
    Cause("Muon, rate 1e-5", "undertrained", {"lr": 1e-5, "optimizer": "muon", **_steps(150, 3)}),
    Cause("20 steps of 8 sequences", "undertrained", {"batch_size": 8, **_steps(20, 4)}),
    Cause("Muon, rate 3", "optimization failure", {"lr": 3.0, "optimizer": "muon", **_steps(80)}),
    Cause("weight decay 30", "optimization failure", {"weight_decay": 30.0, **_steps(200)}),
    Cause("weights times 100", "optimization failure", _steps(60), {"init_scale": 100.0}),
    Cause("12 layers, no residual", "rank collapse", _steps(40), {"layers": 12, "residual": False}, "softmax"),
    Cause("scores times 1000", "entropy collapse", _steps(60), {}, "ssmax:start=1000"),
    Cause("16 sequences", "overfit", {"train_examples": 16, **_steps(150)}),
    Cause("window of 1", "capacity", _steps(300), {}, "window:window=1,sinks=0"),
)
SECOND = (
    Cause("warmup of all steps to 3e-5", "undertrained", {"lr": 3e-5, "warmup_ratio": 1.0, **_steps(120, 4)}),
    Cause("12 steps", "undertrained", _steps(12, 3)),
    Cause("rate 0.5, no clipping", "optimization failure", {"lr": 0.5, "grad_clip": None, **_steps(100)}),
    Cause("weight decay 100, rate 1e-3", "optimization failure", {"weight_decay": 100.0, "lr": 1e-3, **_steps(150)}),
    Cause("weights times 20", "optimization failure", _steps(60), {"init_scale": 20.0}),
    Cause("9 layers, no residual, no MLP", "rank collapse", _steps(50), {**NO_RESIDUAL, "layers": 9}, "linear"),
    Cause("3 layers, scores times 200", "entropy collapse", _steps(60), {"layers": 3}, "ssmax:start=200"),
    Cause("Muon, 24 sequences", "overfit", {"train_examples": 24, "optimizer": "muon", **_steps(150)}),
    Cause("1 layer, width 4", "capacity", _steps(600), {"layers": 1, "width": 4, "heads": 1}, harder=2),
)
DEEP: dict[str, Any] = {**NO_RESIDUAL, "layers": 11, "width": 16}
NARROW: dict[str, Any] = {"layers": 3, "width": 2, "heads": 1}
THIRD = (
    Cause("40 steps of 2 sequences, rate 1e-4", "undertrained", {"lr": 1e-4, "batch_size": 2, **_steps(40, 4)}),
    Cause("rate 5, betas 0.5", "optimization failure", {"lr": 5.0, "betas": [0.5, 0.5], **_steps(80)}),
    Cause("weights times 40, width 16", "optimization failure", _steps(60), {"init_scale": 40.0, "width": 16}),
    Cause("11 layers, no residual, width 16", "rank collapse", _steps(50), DEEP, "softmax"),
    Cause("40 sequences, 300 steps", "overfit", {"train_examples": 40, **_steps(300)}),
    Cause("3 layers, width 2", "capacity", _steps(400), NARROW, harder=2),
)
FOURTH = (
    Cause("2 layers, width 4", "capacity", _steps(500), {"width": 4, "heads": 1}, harder=2),
    Cause("1 layer, no MLP, width 6", "capacity", _steps(500), {**TINY, "width": 6, "mlp_ratio": 0.0}, harder=2),
    Cause("18 steps, width 16", "undertrained", _steps(18, 3), {"width": 16}),
    Cause("rate 2e-5, width 16", "undertrained", {"lr": 2e-5, **_steps(150, 5)}, {"width": 16}),
)
FRESH = {
    "recall": (
        Cause("rate 1e-5", "undertrained", {"lr": 1e-5, **_steps(300, 3)}),
        Cause("rate 2", "optimization failure", {"lr": 2.0, **_steps(100)}),
        Cause("10 layers, no residual, no MLP", "rank collapse", _steps(60), {**NO_RESIDUAL, "layers": 10}, "softmax"),
        Cause("48 sequences", "overfit", {"train_examples": 48, **_steps(200)}),
    ),
    "parity": (
        Cause("rate 1e-5", "undertrained", {"lr": 1e-5, **_steps(300, 3)}),
        Cause("rate 2", "optimization failure", {"lr": 2.0, **_steps(100)}),
        Cause("1 layer, width 8", "capacity", _steps(800), TINY, "linear", 4),
        Cause("10 layers, no residual, no MLP", "rank collapse", _steps(60), {**NO_RESIDUAL, "layers": 10}, "softmax"),
    ),
    "delay": (
        Cause("rate 1e-5", "undertrained", {"lr": 1e-5, **_steps(300, 3)}),
        Cause("15 steps", "undertrained", _steps(15, 3)),
        Cause("weights times 50", "optimization failure", _steps(60), {"init_scale": 50.0}),
        Cause("1 layer, window of 3", "capacity", _steps(400), {"layers": 1}, "window:window=3,sinks=0", 2, {"lag": 6}),
    ),
    "copy": (
        Cause("rate 1e-5", "undertrained", {"lr": 1e-5, **_steps(300, 3)}),
        Cause("25 steps", "undertrained", _steps(25, 5)),
        Cause("24 sequences", "overfit", {"train_examples": 24, **_steps(200)}),
        Cause("scores times 500", "entropy collapse", _steps(80), {}, "ssmax:start=500"),
    ),
}


def failing_runs(name: str, first: int, seeds: int) -> Iterator[Failing]:
    """List the runs of a set; attentions and schedules take turns over its tasks, each run with a seed of its own.

    Args:
        name: ``written``, ``held-out``, ``second``, ``third``, ``fourth`` or ``fresh``.
        first: The first seed.
        seeds: How often each task and cause occurs.

    Yields:
        The runs.
    """
    causes: list[tuple[Cause, tuple[str, ...]]]
    if name == "fresh":
        causes = [(cause, (task,)) for task, own in FRESH.items() for cause in own]
    else:
        listed = {"written": WRITTEN, "held-out": HELD_OUT, "second": SECOND, "third": THIRD, "fourth": FOURTH}[name]
        tasks = USED if name == "written" else NEW
        causes = [(cause, cause.tasks or tasks) for cause in listed]
    number = first
    for again in range(seeds):
        for row, (cause, own_tasks) in enumerate(causes):
            for column, task in enumerate(own_tasks):
                turn = again + row + column  # a task has another attention with the next cause
                attention = cause.attention or ATTENTIONS[turn % len(ATTENTIONS)]
                schedule = SCHEDULES[(turn // len(ATTENTIONS) + row) % len(SCHEDULES)]
                yield Failing(cause, task, attention, schedule, number)
                number += 1
