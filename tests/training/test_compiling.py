"""Compilation: when it is done, what happens when it fails, and that a resumed run is compiled as before."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attnlab.choices import Compile
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.training.compiling import MIN_STEPS, should_compile
from attnlab.training.run import train_runs
from attnlab.training.stepper import SingleStepper
from tests.training.runs import tiny

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("compile", "device", "steps", "random", "expected"),
    [
        ("auto", CPU, 10**6, False, False),
        ("auto", GPU, MIN_STEPS, False, True),
        ("auto", GPU, MIN_STEPS - 1, False, False),
        ("auto", GPU, MIN_STEPS, True, False),
        ("always", CPU, 1, False, True),
        ("always", CPU, 1, True, False),
        ("never", GPU, 10**6, False, False),
    ],
)
def test_the_choice_depends_on_the_run_and_the_device(
    compile: Compile, device: torch.device, steps: int, random: bool, expected: bool
) -> None:
    assert should_compile(compile, tiny(max_steps=steps), device, random) is expected


def count_calls(monkeypatch: pytest.MonkeyPatch, fault: Exception | None = None) -> list[int]:
    """Replace the compiler by one whose programs run eagerly or raise; return the list of their calls."""
    calls: list[int] = []

    def fake_compile(function: Callable[..., Any]) -> Callable[..., Any]:
        def program(*args: Any) -> Any:
            calls.append(1)
            if fault:
                raise fault
            return function(*args)

        return program

    monkeypatch.setattr(torch, "compile", fake_compile)
    return calls


def test_every_step_is_compiled_and_recorded_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch)
    (record,) = train_runs([tiny()], compile="always")
    assert len(calls) == 24
    assert record.environment["compiled"] is True
    (eager,) = train_runs([tiny()])
    assert len(calls) == 24
    assert eager.environment["compiled"] is False
    assert eager.id == record.id
    assert eager.history == record.history


def test_a_failing_compiler_warns_once_and_steps_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch, RuntimeError("no compiler was found\nand a long story"))
    with pytest.warns(
        RuntimeWarning, match="Compilation failed; steps run eagerly, which is slower: no compiler was found$"
    ) as warned:
        (record,) = train_runs([tiny()], compile="always")
    assert len(warned) == 1
    assert len(calls) == 1
    assert record.environment["compiled"] is False
    assert record.history == train_runs([tiny()])[0].history


def test_out_of_memory_is_raised_and_not_taken_for_a_compiler_error(monkeypatch: pytest.MonkeyPatch) -> None:
    count_calls(monkeypatch, torch.OutOfMemoryError("full"))
    spec = tiny()
    source = Source(spec.task, spec.seed)
    stepper = SingleStepper(spec, source, CPU, "always")
    with pytest.raises(torch.OutOfMemoryError):
        stepper.step({0: source.training(0, 8)}, {0: 1e-2})


@pytest.mark.parametrize("before", ["always", "never"])
def test_a_resumed_run_is_compiled_as_before(before: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch)
    spec = tiny()
    source = Source(spec.task, spec.seed)
    one = SingleStepper(spec, source, CPU, before)
    one.step({0: source.training(0, 8)}, {0: 1e-2})
    other = SingleStepper(spec, source, CPU, "never" if before == "always" else "always")
    other.restore(0, one.state(0))
    assert other.compiled == one.compiled
    calls.clear()
    other.step({0: source.training(1, 8)}, {0: 1e-2})
    assert bool(calls) == (before == "always")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised by torch itself while it compiles
@pytest.mark.slow
def test_compiled_steps_equal_eager_ones_within_rounding() -> None:
    spec = tiny()
    source = Source(spec.task, spec.seed)
    steppers = [SingleStepper(spec, source, CPU, choice) for choice in ("always", "never")]
    for stepper in steppers:
        for index in range(6):
            stepper.step({0: source.training(index, 8)}, {0: 1e-2})
    assert steppers[0].compiled
    one, other = (stepper.losses()[0] for stepper in steppers)
    assert np.allclose(one, other, rtol=1e-4)


def test_rows_of_several_lengths_are_compiled_a_few_times_and_not_once_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    rows = [random.integers(1, 9, int(2 ** random.uniform(1, 7))).tolist() for _ in range(300)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"inputs": row, "targets": row}) + "\n" for row in rows))
    task = task_spec(find_ladder("file"), {"path": str(path), "shift": False}, None)
    compiled: list[int] = []

    def count(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        compiled.append(1)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=count))
    spec, source = tiny(task=task), Source(task, 0)
    stepper = SingleStepper(spec, source, CPU, "always")
    batches = [source.training(step, 8) for step in range(30)]
    assert len({len(batch.query_positions()) for batch in batches}) >= 4
    for batch in batches:
        stepper.step({0: batch}, {0: 1e-3})
    assert stepper.compiled
    assert 1 <= len(compiled) <= 4
