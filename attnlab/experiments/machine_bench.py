"""The speed of attnlab on this machine: training steps per second by attention, memory of a run, start-up seconds.

    steps/s    on batches that are drawn before the clock starts; forward, backward and optimizer, without compilation
    memory     the peak of a whole process that trains the default model, torch included
    start-up   wall time of whole processes

Seconds depend on the machine and on its other load; ``python -m benchmarks.bench`` measures ratios instead.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

import torch

from attnlab.experiments.bench_result import BenchResult, Measurement, measurement, turns
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec, TrainSpec
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source
from attnlab.training.environment import environment
from attnlab.training.stepper import SingleStepper

ATTENTIONS = ("softmax", "expressive", "dape", "linear", "delta")
ROUNDS, STEPS = 5, 2
"""Rounds in which the attentions take turns, and steps of one turn."""
BATCHES = 4
"""Batches that are drawn in advance and used in turn."""
LEARNING_RATE = 1e-3
START_ROUNDS = 3
MEMORY_STEPS = 30
"""Steps of the training whose memory is measured."""
RUN = "from attnlab.cli import main; main()"
RUN_AND_REPORT_PEAK = """
import resource, sys
from attnlab.cli import main
try:
    main()
finally:
    from attnlab.training.memory import status_field
    # On Linux ru_maxrss starts at the peak of the parent process; VmHWM is that of this process alone.
    peak = status_field("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch = sys.modules["torch"]
    sys.stderr.write(f"\\n{peak} {torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0}")
"""


def measure_machine(device: torch.device) -> BenchResult:
    """Measure steps per second, memory and start-up. Takes about half a minute on two idle cores.

    Args:
        device: Where the steps are taken.

    Returns:
        The measurements; those of steps are medians over interleaved rounds.
    """
    measurements = [
        *step_rates("textbook shape", textbook_task(), device),
        *step_rates("recall", task_spec(find_ladder("recall"), {}, None), device),
        *memory(device),
        *start_up(),
    ]
    return BenchResult(measurements, environment(device))


def textbook_task() -> TaskSpec:
    """Make the task of the textbook shape: 64 tokens over 64 ids, a target at every position but the first.

    Returns:
        Copying with a delay of one token.
    """
    return task_spec(find_ladder("copy-delay"), {"symbols": 63, "alphabet": 64}, 1)


def step_rates(name: str, task: TaskSpec, device: torch.device) -> Iterator[Measurement]:
    """Measure training steps per second of the default model on a task, by attention.

    Args:
        name: What the task is called in the result.
        task: The task.
        device: Where the steps are taken.

    Yields:
        One measurement per attention, in the order of :data:`ATTENTIONS`.
    """
    programs = {attention: _steps(attention, task, device) for attention in ATTENTIONS}
    seconds: dict[str, list[float]] = {attention: [] for attention in ATTENTIONS}
    for attention, counted in turns(ATTENTIONS, ROUNDS):
        start = time.perf_counter()
        programs[attention]()
        if counted:
            seconds[attention].append(time.perf_counter() - start)
    train, model, source = TrainSpec(), ModelSpec(), Source(task, 0)
    note = f"{name}: batch {train.batch_size}, T {source.length}, V {source.vocabulary}"
    note += f", {model.layers} layers, width {model.width}, {model.heads} heads"
    for attention, spent in seconds.items():
        yield measurement(f"{attention}, {name}", [STEPS / one for one in spent], "steps/s", note)


def _steps(attention: str, task: TaskSpec, device: torch.device) -> Callable[[], None]:
    """Make a function that takes some training steps and waits for the device."""
    spec = RunSpec(task=task, model=ModelSpec(attention=(Part(name=attention),)))
    source = Source(task, spec.seed)
    stepper = SingleStepper(spec, source, device, "never")
    batches = itertools.cycle([source.training(step, spec.train.batch_size) for step in range(BATCHES)])

    def run() -> None:
        for _ in range(STEPS):
            stepper.step({0: next(batches)}, {0: LEARNING_RATE})
        stepper.losses()  # waits for the device

    return run


def memory(device: torch.device) -> Iterator[Measurement]:
    """Measure the peak memory of a default training run of recall, in a process of its own.

    Args:
        device: Where it trains.

    Yields:
        Megabytes of the process; on CUDA the megabytes allocated on the device as well.
    """
    settings = {"--steps": str(MEMORY_STEPS), "--device": str(device)}
    host, gpu = map(int, _train(RUN_AND_REPORT_PEAK, settings).splitlines()[-1].split())
    yield measurement("memory of a default run, torch included", [host / 2**20], "MB")
    if device.type == "cuda":
        yield measurement("GPU memory of a default run", [gpu / 2**20], "MB")


def start_up() -> Iterator[Measurement]:
    """Measure the wall time of whole processes: the help, the list of tasks, a training of one step on the CPU.

    Yields:
        Seconds of each command. A first round, which compiles the Python sources, does not count.
    """
    one_step = {"--steps": "1", "--device": "cpu"}
    commands: dict[str, Callable[[], object]] = {
        "attnlab --help": lambda: _python(RUN, "--help"),
        "attnlab ls tasks": lambda: _python(RUN, "ls", "tasks"),
        "attnlab train, one step": lambda: _train(RUN, one_step),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for name, counted in turns(list(commands), START_ROUNDS):
        start = time.perf_counter()
        commands[name]()
        if counted:
            seconds[name].append(time.perf_counter() - start)
    for name, spent in seconds.items():
        yield measurement(name, spent, "s")


def _train(code: str, options: Mapping[str, str]) -> str:
    """Run ``attnlab train --task recall`` in a temporary store; return its standard error."""
    words = ["train", "--task", "recall", "--quiet", *itertools.chain.from_iterable(options.items())]
    with tempfile.TemporaryDirectory() as store:
        return _python(code, *words, "--store", store)


def _python(code: str, *words: str) -> str:
    """Run Python code in a new process with torch's number of threads; return its standard error."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    variables = {**os.environ, "COLUMNS": "100", "PYTHONSAFEPATH": "1", **threads}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=variables).stderr
