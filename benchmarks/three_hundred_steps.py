"""The accuracy of every attention on multi-query recall after 300 steps, at the default size of the model.

    python -m benchmarks.three_hundred_steps                     # prints a Markdown table
    python -m benchmarks.three_hundred_steps gla mgk:hard=true   # only these
    python -m benchmarks.three_hundred_steps --long gla          # 1,500 steps: does it learn later?

Four pairs in 32 tokens over 64 ids, which softmax attention learns in about that many steps. One seed, one learning
rate and the default position: this is no ranking. It shows that each variant trains, and how far each is from chance
(25 %) after a budget that is short on purpose. A variant that is at chance here may learn the task later: the longer
budget uses the cosine schedule of a default training and stops once the validation split is solved.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

SHORT: dict[str, Any] = {"max_steps": 300, "schedule": "constant", "early_stop_accuracy": None}
LONG: dict[str, Any] = {"max_steps": 1500, "schedule": "cosine", "early_stop_accuracy": 0.998}
OPTIONS = {"length": 32, "vocabulary": 64}


def train(name: str, settings: dict[str, Any], modifiers: dict[str, Any], seed: int) -> str:
    """Train one variant, and write its row."""
    import attnlab

    (record,) = attnlab.train(
        "recall",
        name,
        seed=seed,
        model={"modifiers": modifiers, "position": "learned"},
        train=settings,
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
    """Write a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    from attnlab.attention import ATTENTIONS

    parser = argparse.ArgumentParser(description="The accuracy of every attention on recall after 300 steps.")
    parser.add_argument("names", nargs="*", help="attentions with their options; all of them by default")
    parser.add_argument("--long", action="store_true", help="at most 1,500 steps with a cosine schedule")
    parser.add_argument("--short-conv", type=int, default=0, help="kernel size of a convolution before the attention")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--qk-norm", action="store_true", help="normalize queries and keys, with a learned gain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="number of processes of one thread each")
    args = parser.parse_args()

    names = args.names or [entry.name for entry in ATTENTIONS]
    settings = {**(LONG if args.long else SHORT), "lr": args.rate}
    modifiers = {"qk_norm": args.qk_norm, "short_conv": args.short_conv}
    train_one = partial(train, settings=settings, modifiers=modifiers, seed=args.seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    print(row(["attention", "accuracy", "95 %", "last loss", "steps", "status", "time", "weights"]))
    print("|" + "---|" * 8, flush=True)
    with ProcessPoolExecutor(max_workers=args.processes, mp_context=get_context("spawn")) as pool:
        for line in pool.map(train_one, names):
            print(line, flush=True)


if __name__ == "__main__":
    main()
