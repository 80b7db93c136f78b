"""Sweeps that are killed at random moments and resumed until they are done lose nothing and leave nothing.

    python -m tests.fuzzing.kills --kills 300 --seed 0

A tiny sweep is started, ended by SIGKILL, SIGTERM, SIGINT or SIGHUP at a moment drawn from a seeded generator, and
started again, a few times; then it runs to its end. Afterwards it must have every record once, the numbers and weights
of a sweep that nobody disturbed, no checkpoint, no temporary file and no living worker.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from attnlab.storage import Store
from tests.experiments.sweeps import ROOT, numbers

SWEEP = ["sweep", "--task", "copy", "--attn", "softmax", "--complexity", "1,2", "--seeds", "2", "--device", "cpu"]
SIZES = ["model.layers=1", "model.width=8", "train.max_steps=30", "train.eval_every=15", "train.batch_size=4"]
SIZES += ["train.validation_examples=4", "train.test_examples=8", "train.early_stop_accuracy=null"]
SWEEP += [word for size in SIZES for word in ("--set", size)]
RUNS = 4
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
KILLS_PER_SWEEP = 4
LONGEST = 300.0
"""Seconds after which a command counts as hanging."""


@dataclass
class Figures:
    """What a campaign has seen."""

    kills: Counter[str] = field(default_factory=Counter)
    """Signal -> commands that it ended; those that ended before it are not counted."""
    sweeps: int = 0
    resumed: int = 0
    """Commands that found records or checkpoints of a killed one."""
    late: float = 0.0
    """The longest time that a worker outlived its driver, in seconds."""
    ray_late: float = 0.0
    """The same of the processes of Ray's own cluster: head, scheduler and their like."""
    leftovers: int = 0
    """Temporary files that a killed command left, each of which the next one removed."""

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        ray = f", and Ray's own processes {self.ray_late:.2f} s" if self.ray_late else ""
        return (
            f"{sum(self.kills.values())} kills ({kills}) in {self.sweeps} sweeps; {self.resumed} resumed; nothing "
            f"lost, doubled or changed; {self.leftovers} temporary files, all removed; workers lived at most "
            f"{self.late:.2f} s longer{ray}"
        )


@dataclass
class Command:
    """A started command."""

    process: int
    output: Path
    token: str
    answers: Any

    def wait(self) -> int:
        """The exit status, negative for a signal."""
        return int(self.answers.readline())

    def workers(self) -> list[psutil.Process]:
        """The processes that it has started by exec and that live."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get("ATTNLAB_KILLS") == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


class Nursery:
    """Starts commands from a process that has imported everything; see :mod:`tests.fuzzing.nursery`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzzing.nursery"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, words: Sequence[str]) -> Command:
        """Start ``attnlab WORDS``."""
        self.count += 1
        token, output = f"{os.getpid()}-{self.process.pid}-{self.count}", self.folder / f"output-{self.count}"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"words": list(words), "output": str(output), "token": token}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return Command(int(self.process.stdout.readline()), output, token, self.process.stdout)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """A nursery that is closed at the end."""
    made = Nursery(folder)
    try:
        yield made
    finally:
        made.close()


def campaign(
    folder: Path, kills: int, seed: int, executors: Sequence[str], *, kills_per_sweep: int = KILLS_PER_SWEEP
) -> Figures:
    """Kill sweeps at random moments.

    Args:
        folder: An empty folder.
        kills: Number of kills.
        seed: Of the generator of signals and moments.
        executors: Are taken in turn.
        kills_per_sweep: After so many signals a sweep runs to its end.

    Returns:
        The figures.

    Raises:
        AssertionError: Something was lost, doubled, changed or left.
    """
    generator, figures = random.Random(seed), Figures()
    with nursery(folder) as commands:
        started = time.monotonic()
        whole = folder / "whole"
        first = commands.start([*SWEEP, "--executor", "inline", "--store", str(whole)])
        assert first.wait() == 0, first.output.read_text()
        span = time.monotonic() - started
        while (left := kills - sum(figures.kills.values())) > 0:
            executor, store = executors[figures.sweeps % len(executors)], folder / f"store-{figures.sweeps}"
            words = [*SWEEP, "--executor", executor, "--store", str(store)]
            for _ in range(min(left, kills_per_sweep)):
                if not kill(commands.start(words), generator, executor, store, span, figures):
                    break
            last = commands.start(words)
            assert last.wait() == 0, last.output.read_text()
            check_whole(store, whole)
            check_workers(last, figures)
            figures.sweeps += 1
    return figures


def kill(command: Command, generator: random.Random, executor: str, store: Path, span: float, figures: Figures) -> bool:
    """Send a signal at a random moment, check how the command ends and what it leaves; tell whether it was ended."""
    number = generator.choice(SIGNALS)
    before = progress_of(store)
    if generator.random() < 0.8:  # while it works, otherwise while it starts
        deadline = time.monotonic() + LONGEST
        while progress_of(store) == before and psutil.pid_exists(command.process) and not ended(command):
            assert time.monotonic() < deadline, f"{executor} hangs: {command.output.read_text()}"
            time.sleep(0.002)
    time.sleep(generator.uniform(0.005, span / 6))
    with suppress(ProcessLookupError):
        os.kill(command.process, number)
    status = command.wait()
    said = command.output.read_text()
    assert "Traceback" not in said, said
    assert status in (0, -number, 128 + number), f"{number.name} gave {status}: {said}"
    if status:
        figures.kills[number.name] += 1
        if number is not signal.SIGKILL:
            assert status == 128 + number, f"{number.name} gave {status}: {said}"
            assert said.splitlines()[-1].startswith(
                ("attnlab: Interrupted", "attnlab: Stopped", "  Nothing is lost")
            ), said
    check_workers(command, figures)
    figures.resumed += bool(before)
    figures.leftovers += len(temporaries(store))
    records = [record.id for record in Store(store).records()] if store.exists() else []
    lines = (store / "records.jsonl").read_bytes().splitlines() if records else []
    assert len(records) == len(set(records)) == len(lines) - (bool(lines) and torn(store)), "a record is doubled"
    return status != 0


def torn(store: Path) -> bool:
    """Whether the last line of a journal is not complete."""
    return not (store / "records.jsonl").read_bytes().endswith(b"\n")


def ended(command: Command) -> bool:
    """Whether a command has ended and waits to be asked for its status."""
    try:
        return psutil.Process(command.process).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def progress_of(store: Path) -> tuple[tuple[str, int], ...]:
    """Names and times of everything that shows progress."""
    found = []
    for path in [store / "records.jsonl", *sorted((store / "checkpoints").glob("*.safetensors"))]:
        with suppress(OSError):
            found.append((path.name, path.stat().st_mtime_ns))
    return tuple(found)


def temporaries(store: Path) -> list[Path]:
    """Every hidden file of a store."""
    return [path for path in store.rglob(".*") if path.is_file()]


def check_workers(command: Command, figures: Figures) -> None:
    """Every worker ends after its driver; how much later, the figures tell."""
    start = time.monotonic()
    while workers := command.workers():
        late = time.monotonic() - start
        assert late < LONGEST, f"{workers} outlived the driver by {late:.1f} s"
        if all(map(is_of_ray, workers)):
            figures.ray_late = max(figures.ray_late, late)
        else:
            figures.late = max(figures.late, late)
        time.sleep(0.05)


def is_of_ray(process: psutil.Process) -> bool:
    """Whether a process is part of Ray, which ends its cluster itself, rather than a worker that runs our code."""
    try:
        words = process.cmdline() or [process.name()]
    except psutil.Error:  # it has ended
        return True
    return not words[0].startswith("ray::RayWorker") and any("ray" in word for word in words)


def check_whole(store: Path, whole: Path) -> None:
    """A store has what the undisturbed one has, once, and nothing else."""
    records, undisturbed = Store(store).records(), Store(whole).records()
    lines = (store / "records.jsonl").read_bytes().splitlines()
    assert len(lines) == len(records) == RUNS, f"{len(lines)} lines, {len(records)} records"
    assert numbers(records) == numbers(undisturbed), "the numbers differ"
    for record in records:
        name = f"weights/{record.id}.safetensors"
        assert (store / name).read_bytes() == (whole / name).read_bytes(), f"{name} differs"
    assert {path.name for path in store.iterdir()} <= {path.name for path in whole.iterdir()} | {"checkpoints"}
    assert not list((store / "checkpoints").glob("*")), "checkpoints of finished runs are left"
    assert not temporaries(store), "temporary files are left"


def main() -> None:
    """Run a campaign and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--executors", default="inline,inline,processes:2")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(f"{campaign(Path(folder), words.kills, words.seed, words.executors.split(','))}\n")


if __name__ == "__main__":
    main()
