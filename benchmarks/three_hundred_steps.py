"""What every attention makes of multi-query recall in 300 steps at the default size of the model.

    python -m benchmarks.three_hundred_steps                     # prints a Markdown table
    python -m benchmarks.three_hundred_steps gla mgk:hard=true   # only these
    python -m benchmarks.three_hundred_steps --long gla          # 1,500 steps instead: slower, or not at all?

Four pairs in 32 tokens over 64 ids, where softmax attention gets through in about that many steps. One seed, one
learning rate, the default position: this ranks nothing. It shows that each variant trains, and how far each is from
chance (25 %) after a budget that is short on purpose. A variant that is at chance here may learn the task later: the
longer budget follows the cosine of a default training and stops once the validation stream is solved.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

SHORT: dict[str, Any] = {"steps": 300, "schedule": "constant", "stop_at": None}
LONG: dict[str, Any] = {"steps": 1500, "schedule": "cosine", "stop_at": 0.998}
OPTIONS = {"length": 32, "vocabulary": 64}


def train(name: str, wish: dict[str, Any], worn: dict[str, Any], seed: int) -> str:
    """The row of one variant."""
    import attnlab

    (record,) = attnlab.train(
        "recall",
        name,
        seed=seed,
        model={"modifiers": worn},
        train=wish,
        options=OPTIONS,
        store=None,
        device="cpu",
    )
    low, high = record.accuracy.interval
    cells = [
        f"`{name}`",
        f"{100 * record.accuracy.mean:.1f} %",
        f"{100 * low:.1f}-{100 * high:.1f}",
        f"{record.history[-1].loss:.2f}",
        f"{record.steps:,}",
        record.status,
        f"{record.environment['seconds']:.0f} s",
        f"{record.parameters:,}",
    ]
    return row(cells)


def row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    from attnlab.attention import ATTENTIONS

    parser = argparse.ArgumentParser(description="What every attention makes of recall in 300 steps.")
    parser.add_argument("names", nargs="*", help="attentions with their options; all of them if none is named")
    parser.add_argument("--long", action="store_true", help="at most 1,500 steps along a cosine")
    parser.add_argument("--short-conv", type=int, default=0, help="taps of a convolution before the attention")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--qk-norm", action="store_true", help="queries and keys of unit size, with a learned gain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="of one thread each")
    args = parser.parse_args()

    names = args.names or [entry.name for entry in ATTENTIONS]
    wish = {**(LONG if args.long else SHORT), "lr": args.rate}
    worn = {"qk_norm": args.qk_norm, "short_conv": args.short_conv}
    trained = partial(train, wish=wish, worn=worn, seed=args.seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    print(row(["attention", "accuracy", "95 %", "last loss", "steps", "status", "time", "weights"]))
    print("|" + "---|" * 8, flush=True)
    with ProcessPoolExecutor(max_workers=args.processes, mp_context=get_context("spawn")) as pool:
        for line in pool.map(trained, names):
            print(line, flush=True)


if __name__ == "__main__":
    main()
