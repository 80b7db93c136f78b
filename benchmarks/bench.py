"""The textbook shape against a hand-written loop and x-transformers, the matmul floor, recall, memory and start-up.

    python -m benchmarks.textbook                  # two threads, by the clock, for an idle machine
    python -m benchmarks.textbook --threads 1      # one thread, by the time of the processor, for a shared one

Keeps what it found in benchmarks/textbook.json and shows the last medians beside the new ones. Ratios of interleaved
rounds, with quartiles: where other work runs, seconds mean nothing and ratios little.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.timing.saved import last  # before torch: attnlab settles how long the threads of torch spin

KEPT = Path(__file__).with_suffix(".json")


def main() -> None:
    import torch
    from rich.console import Console

    from attnlab.training.environment import device
    from benchmarks.timing.bench import bench

    parser = argparse.ArgumentParser(description="Speed, as ratios.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    before = last(KEPT)
    measured = bench(device(args.device), args.rounds, peers=True)
    measured.save(KEPT)
    Console(width=120).print(measured.table(before), *measured.left_out, sep="\n")


if __name__ == "__main__":
    main()
