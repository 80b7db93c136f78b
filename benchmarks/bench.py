"""Speed of attnlab as ratios against a hand-written loop, matrix products, recall as published, and other libraries.

    python -m benchmarks.bench                     # torch's number of threads, wall time, for an idle machine
    python -m benchmarks.bench --threads 1         # one thread, processor time, for a shared machine
    python -m benchmarks.bench --peers --rounds 9  # other libraries too, if they are installed
    python -m benchmarks.bench --long              # also a sweep of eight runs, and how costs grow: some twenty minutes

The result is written to a file, and the medians of the last result in it stand beside the new ones. Ratios are medians
over interleaved rounds, with quartiles. Where other programs run, seconds mean nothing and ratios little. For the
seconds of this machine see ``attnlab bench``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from attnlab.experiments.bench_result import last_medians  # before torch: attnlab sets how long its threads spin


def main() -> None:
    import torch
    from rich.console import Console

    from attnlab.training.environment import device
    from benchmarks.timing.bench import measure_all

    parser = argparse.ArgumentParser(description="Speed of attnlab, as ratios.")
    parser.add_argument("--peers", action="store_true", help="time other libraries that are installed")
    parser.add_argument("--long", action="store_true", help="also a sweep of eight runs, and how costs grow")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each comparison, at least 2")
    parser.add_argument("--threads", type=int, help="threads of torch; without it, torch's own choice")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks.json"), help="JSON file of the result")
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error("--rounds must be at least 2")
    if args.threads:
        torch.set_num_threads(args.threads)
    last = last_medians(args.out)
    measured = measure_all(device(args.device), args.rounds, args.peers, args.long)
    measured.save(args.out)
    Console(width=120).print(measured.table(last), *measured.left_out, f"Written to {args.out}.", sep="\n")


if __name__ == "__main__":
    main()
