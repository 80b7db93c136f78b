"""How often the 95 % intervals over seeds cover the truth, and how often claims and ranks are wrong, by simulation.

    python -m benchmarks.coverage_over_seeds [--repetitions N] [--seeds 3,5,10,20]

The simulated runs are described in ``simulated_seeds.py``. Beside the coverage stand the intervals that end below the
truth and those that begin above it, each nominally 2.5 %, and the mean width of those that are finite.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.simulated_seeds import (
    LADDER,
    MEANS,
    PAIRS,
    SUMMARIES,
    of_claims,
    of_cliffs,
    of_differences,
    of_ladders,
    of_means,
    of_ranks,
    told_apart,
)

Measure = Callable[[int, int, np.random.Generator], object]
"""Maps seeds, repetitions and a generator to what is printed."""
TOGETHER = (0.0, 0.8)
VARIANTS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seeds", default="3,5,10,20")
    args = parser.parse_args()
    counts = [int(word) for word in args.seeds.split(",")]

    def table(heading: str, rows: Sequence[tuple[str, Measure]]) -> None:
        print(f"\n{heading}\n{'seeds':<42}" + "".join(f"{count:>24}" for count in counts))
        for index, (name, measure) in enumerate(rows):
            cells = [measure(count, args.repetitions, np.random.default_rng([index, count])) for count in counts]
            texts = [f"{100 * cell:.1f} %" if isinstance(cell, float) else str(cell) for cell in cells]
            print(f"{name:<42}" + "".join(f"{text:>24}" for text in texts), flush=True)

    table("mean of a cell: % covered (% below, % above), width", [(one.name, partial(of_means, one)) for one in MEANS])
    differences: list[tuple[str, Measure]] = [
        (f"{pair[0].name} - {pair[1].name}, together {together:g}", partial(of_differences, pair, together))
        for pair in PAIRS
        for together in TOGETHER
    ]
    table("difference of two cells", differences)
    summaries: list[tuple[str, Measure]] = [
        (f"{kind}, together {together:g}", partial(of_ladders, kind, together))
        for kind in SUMMARIES
        for together in TOGETHER
    ]
    table(f"summaries of a ladder of {len(LADDER)} levels", summaries)
    cliffs: list[tuple[str, Measure]] = [
        (f"C50 of a cliff, runs {spread:g} levels apart", partial(of_cliffs, spread)) for spread in (0.0, 0.25, 1.0)
    ]
    table("cliffs anywhere between two levels, solved up to them and guessed above", cliffs)
    print("\nclaims that are decided wrongly")
    for count in counts:
        for name, share in of_claims(count, args.repetitions, np.random.default_rng(count)).items():
            print(f"{count:3d} seeds  {name:<38} {100 * share:.1f} %", flush=True)
    identical: list[tuple[str, Measure]] = [
        (f"{ladders} ladders, together {together:g}", partial(of_ranks, VARIANTS, ladders, together))
        for ladders, together in ((1, 0.0), (1, 1.0), (3, 0.0))
    ]
    table(f"reports that rank some of {VARIANTS} identical variants apart", identical)
    table("reports that rank first a variant that solves two more levels", [("two variants", told_apart)])


if __name__ == "__main__":
    main()
