"""Eight runs on this machine: a sweep over processes of one thread against a hand-written loop on all threads.

    python -m benchmarks.eight                 # 400 steps each
    python -m benchmarks.eight --rounds 5 --asked few

The shape is the textbook's (2 layers, width 64, 2 heads, T = 64, V = 64, batch 64), or that of recall as it ships (V =
128), where few positions are asked. The loop takes its eight runs one after the other on batches that are ready; the
sweep draws its own, tests and keeps every run. Both are whole processes (:mod:`benchmarks.timing.throughput`). On a
machine that does anything else the ratio says little.
"""

from __future__ import annotations

import argparse
import os

from benchmarks.timing.throughput import RUNS, STEPS, eight


def main() -> None:
    parser = argparse.ArgumentParser(description="Eight runs: a sweep against a hand-written loop.")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--asked", choices=["every", "few"], default="every")
    args = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    measured = eight(args.rounds, args.steps, args.processes, args.asked)
    print(
        f"{measured.name}: {measured.median:.2f} ({measured.low:.2f}..{measured.high:.2f}), {measured.note}, {RUNS} runs"
    )


if __name__ == "__main__":
    main()
