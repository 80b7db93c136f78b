"""Shared by the tests of sweeps: a tiny experiment, a fake executor, and a driver in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from attnlab.config.experiment import Experiment
from attnlab.config.inline_experiment import inline_experiment
from attnlab.execution.jobs import Failed, Finished, Job, Send, WorkerSettings
from attnlab.experiments.expand import expand
from attnlab.records import HistoryPoint, Record, Score
from attnlab.specs import RunSpec
from attnlab.training.interruption import Interruption

ROOT = Path(__file__).resolve().parents[2]
TINY: dict[str, Any] = {
    "model": {"layers": 1, "width": 8, "mlp_ratio": 1.0},
    "train": {
        "max_steps": 6,
        "batch_size": 4,
        "eval_every": 3,
        "validation_examples": 4,
        "test_examples": 8,
        "early_stop_accuracy": None,
    },
    "task": {"alphabet": 3},
}


def tiny(*attentions: str, levels: Sequence[Any] = (1, 2), seeds: int = 2, **train: Any) -> Experiment:
    """Copying one or two symbols, six steps each."""
    settings = {**TINY, "train": {**TINY["train"], **train}}
    return inline_experiment(
        "copy", attention=attentions or ("softmax",), complexity=levels, seeds=seeds, settings=settings
    )


def planned(*attentions: str, **more: Any) -> list[RunSpec]:
    """The runs of the tiny experiment."""
    return expand(tiny(*attentions, **more))


def shown(spec: RunSpec, accuracy: float = 1.0, *, chance: float = 0.0, status: Any = "done") -> Record:
    """The record of a run with that accuracy."""
    score = Score(correct=round(1000 * accuracy), total=1000, chance=chance)
    history = (HistoryPoint(step=spec.train.max_steps, loss=0.1, accuracy=accuracy),)
    return Record(
        id=spec.id,
        spec=spec,
        status=status,
        steps=spec.train.max_steps,
        accuracy=score,
        exact_match=score,
        history=history,
    )


class Fake:
    """An executor that trains nothing.

    Args:
        show: Makes the record of a run; None where the run fails.
    """

    description, num_workers, settings, left_running = "fake", 1, WorkerSettings(), ""

    def __init__(self, show: Callable[[RunSpec], Record | None] = shown) -> None:
        self.show = show
        self.given: list[RunSpec] = []
        self.closed = False

    def run(self, jobs: Iterable[Job], post: Send, interruption: Interruption) -> None:
        """Send the records of the jobs."""
        for job in jobs:
            if interruption.requested:
                return
            self.given += job.specs
            records = [self.show(spec) for spec in job.specs]
            complete = tuple(record for record in records if record is not None)
            post(Finished(job.name, complete) if len(complete) == len(records) else Failed(job, "a planned failure"))

    def close(self) -> None:
        """Note that it is closed."""
        self.closed = True


def numbers(records: Iterable[Record]) -> dict[str, Any]:
    """The numbers that equal specs must reproduce, by run."""
    return {record.id: record.numbers() for record in records}


def drive(script: str, folder: Path, **more: Any) -> subprocess.Popen[str]:
    """Start Python in its own process and session, with one thread, in that folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **more,
    )
