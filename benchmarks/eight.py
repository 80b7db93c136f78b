"""Eight runs on this machine: a sweep over processes of one thread against a hand-written loop on all threads.

    python benchmarks/eight.py                 # 400 steps each
    python benchmarks/eight.py --rounds 5

The shape is the textbook's (2 layers, width 64, 2 heads, T = 64, V = 64, batch 64). The loop takes its eight runs one
after the other on batches that are ready; the sweep draws its own, tests and keeps every run, and pays for its workers'
start. On a machine that does anything else the ratio says little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from attnlab.config.inline import inline
from attnlab.sweeping.expand import expand
from attnlab.sweeping.jobs import Setting
from attnlab.sweeping.processes import Processes
from attnlab.sweeping.sweep import sweep
from attnlab.timing.textbook import Shape, by_hand

RUNS = 8


def ours(steps: int, processes: int) -> float:
    """Seconds of a sweep, its workers' start included."""
    train = {"steps": steps, "stop_at": None, "validate_every": steps, "validation": 64, "test": 256}
    settings = {"train": train, "task": {"symbols": 63, "alphabet": 64}}
    experiment = inline("copy-delay", complexity=[1], seeds=RUNS, settings=settings)
    began = time.perf_counter()
    staff = Processes(processes, Setting(weights=False))
    try:
        with tempfile.TemporaryDirectory() as store:
            sweep(experiment, expand(experiment), Path(store), staff)
    finally:
        staff.close()
    return time.perf_counter() - began


def hand(steps: int) -> float:
    """Seconds of the hand-written loop, one run after the other."""
    began = time.perf_counter()
    for _ in range(RUNS):
        step = by_hand(Shape(), torch.device("cpu"))
        for _ in range(steps):
            step()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Eight runs: a sweep against a hand-written loop.")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {torch.get_num_threads()} threads by hand")
    ratios = []
    for _ in range(asked.rounds):
        here, there = ours(asked.steps, asked.processes), hand(asked.steps)
        ratios.append(there / here)
        pace = f"{3600 * RUNS / here:,.0f} runs per hour against {3600 * RUNS / there:,.0f}"
        print(f"processes:{asked.processes}  {pace}  {ratios[-1]:.2f}x", flush=True)
    print(f"median {statistics.median(ratios):.2f}x of {asked.rounds}")


if __name__ == "__main__":
    main()
