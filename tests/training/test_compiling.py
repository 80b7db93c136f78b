"""Compiling: when it is done, what a compiler that fails leads to, and that a run goes on as it began."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from attnlab.tasks.io.streams import Source
from attnlab.training.compiling import LONG, Compile, should_compile
from attnlab.training.run import train_runs
from attnlab.training.stepper import SingleStepper
from tests.training.runs import tiny

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("wish", "device", "steps", "random", "expected"),
    [
        ("auto", CPU, 10**6, False, False),
        ("auto", GPU, LONG, False, True),
        ("auto", GPU, LONG - 1, False, False),
        ("auto", GPU, LONG, True, False),
        ("always", CPU, 1, False, True),
        ("always", CPU, 1, True, False),
        ("never", GPU, 10**6, False, False),
    ],
)
def test_it_is_decided_from_the_run_and_the_device(
    wish: Compile, device: torch.device, steps: int, random: bool, expected: bool
) -> None:
    assert should_compile(wish, tiny(max_steps=steps), device, random) is expected


def counted(monkeypatch: pytest.MonkeyPatch, fault: Exception | None = None) -> list[int]:
    """Calls of what stands in for compiled programs: they run as written, or fail."""
    calls: list[int] = []

    def compile(function: Callable[..., Any]) -> Callable[..., Any]:
        def program(*args: Any) -> Any:
            calls.append(1)
            if fault:
                raise fault
            return function(*args)

        return program

    monkeypatch.setattr(torch, "compile", compile)
    return calls


def test_every_step_is_compiled_and_the_record_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    (record,) = train_runs([tiny()], compile="always")
    assert len(calls) == 24
    assert record.environment["compiled"] is True
    (plain,) = train_runs([tiny()])
    assert len(calls) == 24
    assert plain.environment["compiled"] is False
    assert plain.id == record.id
    assert plain.history == record.history


def test_a_compiler_that_fails_is_told_of_once_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, RuntimeError("no compiler was found\nand a long story"))
    with pytest.warns(RuntimeWarning, match="Not compiled, and slower for it: no compiler was found$") as warned:
        (record,) = train_runs([tiny()], compile="always")
    assert len(warned) == 1
    assert len(calls) == 1
    assert record.environment["compiled"] is False
    assert record.history == train_runs([tiny()])[0].history


def test_a_full_memory_is_not_the_compilers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    counted(monkeypatch, torch.OutOfMemoryError("full"))
    spec = tiny()
    source = Source(spec.task, spec.seed)
    stepper = SingleStepper(spec, source, CPU, "always")
    with pytest.raises(torch.OutOfMemoryError):
        stepper.step({0: source.training(0, 8)}, {0: 1e-2})


@pytest.mark.parametrize("before", ["always", "never"])
def test_a_run_goes_on_as_it_began(before: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    spec = tiny()
    source = Source(spec.task, spec.seed)
    one = SingleStepper(spec, source, CPU, before)
    one.step({0: source.training(0, 8)}, {0: 1e-2})
    other = SingleStepper(spec, source, CPU, "never" if before == "always" else "always")
    other.restore(one.state())
    assert other.compiled == one.compiled
    calls.clear()
    other.step({0: source.training(1, 8)}, {0: 1e-2})
    assert bool(calls) == (before == "always")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, while it compiles
@pytest.mark.slow
def test_compiled_steps_are_those_written_within_rounding() -> None:
    spec = tiny()
    source = Source(spec.task, spec.seed)
    steppers = [SingleStepper(spec, source, CPU, wish) for wish in ("always", "never")]
    for stepper in steppers:
        for index in range(6):
            stepper.step({0: source.training(index, 8)}, {0: 1e-2})
    assert steppers[0].compiled
    one, other = (stepper.losses()[0] for stepper in steppers)
    assert np.allclose(one, other, rtol=1e-4)
