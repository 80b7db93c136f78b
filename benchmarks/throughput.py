"""Eight runs on this machine: a sweep over processes of one thread against a hand-written loop on all threads.

    python -m benchmarks.throughput                            # 400 steps each
    python -m benchmarks.throughput --rounds 5 --targets few

The shape is the textbook shape (2 layers, width 64, 2 heads, T = 64, V = 64, batch 64), or that of recall as it ships
(V = 128), where few positions have targets. The loop takes its eight runs one after the other on batches that are drawn
before. The sweep draws its own batches, tests, and writes every run. Both are whole processes
(:mod:`benchmarks.timing.throughput`). On a machine that runs anything else the ratio means little.
"""

from __future__ import annotations

import argparse
import os

from benchmarks.timing.throughput import RUNS, STEPS, eight_runs


def main() -> None:
    parser = argparse.ArgumentParser(description="Eight runs: a sweep against a hand-written loop.")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int, help="workers of the sweep; without it, one per core")
    parser.add_argument("--targets", choices=["every", "few"], default="every", help="positions with targets")
    args = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    measured = eight_runs(args.rounds, args.steps, args.processes, args.targets)
    quartiles = f"{measured.low:.2f}..{measured.high:.2f}"
    print(f"{measured.name}: {measured.median:.2f} ({quartiles}), {measured.note}, {RUNS} runs")


if __name__ == "__main__":
    main()
