"""What campaigns damage: a small store as attnlab writes it, and the checkpoint of an interrupted run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnlab.errors import InterruptedTraining
from attnlab.experiments.request import parse_request
from attnlab.experiments.run_train import run_train
from attnlab.records import Record
from tests.fuzzing.running import Runner
from tests.training.runs import interrupt_at

EXPERIMENT = """\
name: tiny
question: Does softmax copy a letter?
source: none
ladders:
  - {ladder: copy, levels: [1, 2], options: {alphabet: 3}}
grid: {attention: [softmax, linear], train.lr: [1e-3]}
seeds: 1
model: {layers: 1, width: 8, heads: 2, mlp_ratio: 1.0}
train: {max_steps: 2, eval_every: 1, batch_size: 2, validation_examples: 2, test_examples: 4}
claims:
  - {says: It does., of: {attention: softmax, level: 1}, expect: at least, bound: 0.5}
  - {says: Like linear., of: {attention: softmax}, than: {attention: linear}, expect: equal, bound: 0.9, metric: loss}
report: {index: [attention], columns: level, metric: accuracy}
presets:
  smoke: {seeds: 1, train: {max_steps: 1}, claims: false}
notes: nothing
"""
TASK = ("--task", "copy", "--complexity", "2", "--set", "task.alphabet=3", "--attn", "softmax", "--pos", "rotary")
SIZES = ("--width", "8", "--layers", "1", "--heads", "2", "--steps", "4", "--batch", "2", "--device", "cpu")
FEW = ("--set", "train.eval_every=2", "--set", "train.validation_examples=2", "--set", "train.test_examples=4")
TRAIN = ("train", *TASK, *SIZES, *FEW, "--quiet", "--json")
"""The run whose checkpoint and weights are damaged."""
STEP = 2
"""At which it was interrupted."""


@dataclass(frozen=True, repr=False)
class Golden:
    """Files as attnlab writes them, and what is read from them."""

    store: dict[str, bytes]
    """A store in ``results`` with four runs of an experiment, their weights, tags."""
    runs: tuple[str, ...]
    """Ids of these."""
    interrupted: dict[str, bytes]
    """A store in ``results`` with the checkpoint of a run."""
    finished: dict[str, bytes]
    """The store of the same run once it is done."""
    run: str
    """Its id."""
    numbers: Any
    """Its numbers."""
    evaluated: Any
    """What ``evaluate`` says of it, with :data:`EVALUATE`."""

    @property
    def checkpoint(self) -> str:
        """The path of the checkpoint."""
        return f"results/checkpoints/{self.run}.safetensors"


def evaluate_words(run: str) -> tuple[str, ...]:
    """The words of the evaluation of a run."""
    return ("evaluate", run, "--complexity", "2,3", "--sequences", "4", "--device", "cpu", "--json", "--quiet")


def numbers_of(out: str) -> Any:
    """The numbers of the run that ``train --json`` prints."""
    return Record.from_line(out).numbers()


def golden(runner: Runner) -> Golden:
    """Make the files.

    Args:
        runner: Runs the commands.

    Returns:
        The files.
    """
    sweep = runner.run(
        ("sweep", "tiny.yaml", "--executor", "inline", "--device", "cpu", "--store", "results", "--quiet"),
        {"tiny.yaml": EXPERIMENT.encode()},
    )
    assert sweep.status in (0, 1), sweep
    store = {name: content for name, content in sweep.files.items() if name.startswith("results/")}
    runs = tuple(json.loads(line)["id"] for line in store["results/records.jsonl"].splitlines())
    tagged = runner.run(("tag", runs[0], "good", "--store", "results"), store)
    assert tagged.status == 0, tagged
    done = runner.run(TRAIN, {})
    assert done.status == 0, done
    run = Record.from_line(done.out).id
    evaluated = runner.run(evaluate_words(run), done.files)
    assert evaluated.status == 0, evaluated
    interrupted = _interrupted(runner.folder / "interrupted")
    assert f"results/checkpoints/{run}.safetensors" in interrupted
    resumed = runner.run((*TRAIN, "--resume"), interrupted)
    assert numbers_of(resumed.out) == numbers_of(done.out)
    return Golden(tagged.files, runs, interrupted, done.files, run, numbers_of(done.out), json.loads(evaluated.out))


def _interrupted(folder: Path) -> dict[str, bytes]:
    """The files of the same run, ended by Ctrl-C at its first validation."""
    settings = {
        "model": {"width": 8, "layers": 1, "heads": 2},
        "train": {"max_steps": 4, "batch_size": 2, "eval_every": 2, "validation_examples": 2, "test_examples": 4},
        "task": {"alphabet": 3},
    }
    request = parse_request("copy", "softmax", "rotary", complexity="2", seeds=range(1), settings=settings)

    with pytest.raises(InterruptedTraining):
        run_train(request, store=folder / "results", device_name="cpu", progress=interrupt_at(STEP))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
