"""How the cost of a step grows with length, width, vocabulary and vmapped runs: exponents, on one thread or a GPU.

    python -m benchmarks.growth [--budget SECONDS] [--device cuda] [--axes length width] [NAME ...]
    python -m benchmarks.growth --axes long [NAME ...]

The second form measures every attention that forms scores, over long sequences, and compares its exponents with the
goals. Time and memory of a step, per sequence, every size in a process of its own. The first size at which a step
takes more than the budget is the last.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def listed(values: Sequence[float]) -> str:
    """Format numbers with two digits, with a space between them."""
    return " ".join(f"{value:.2g}" if value < 10 else f"{value:,.0f}" for value in values)


def with_goal(exponent: float, cost: str, axis: str) -> str:
    """Format an exponent; over long sequences with its goal."""
    from benchmarks.timing.growth import LONG, MOST_EXPONENTS

    return f"{exponent:.2f}" + (f" (goal <= {MOST_EXPONENTS[cost]})" if axis == LONG else "")


def main() -> None:
    from attnlab.training.environment import device
    from benchmarks.timing.growth import (
        AXES,
        LENGTHS,
        LONG,
        MOST_EXPONENTS,
        NAMES,
        isolated,
        measure_growth,
        scoring,
    )

    parser = argparse.ArgumentParser(description="Exponents of the cost of a step.")
    parser.add_argument("names", nargs="*", help="attentions; all that form scores for the axis long")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of one step")
    parser.add_argument("--axes", nargs="*", default=list(AXES), choices=[*AXES, LONG])
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    print("| attention | grows with | sizes | ms per sequence | exponent | MB per sequence | exponent |")
    print("|---|---|---|---|---|---|---|")
    for axis in args.axes:
        for name in args.names or (scoring() if axis == LONG else NAMES):
            sizes = LENGTHS if axis == LONG else AXES[axis]
            measured = measure_growth(name, axis, sizes, isolated(device(args.device)), args.budget)
            span = f"{measured.sizes[0]}..{measured.sizes[-1]}"
            milliseconds, megabytes = (
                [1e3 * one.seconds for one in measured.costs],
                [one.bytes / 2**20 for one in measured.costs],
            )
            exponents = (with_goal(measured.exponent(cost), cost, axis) for cost in MOST_EXPONENTS)
            cells = [
                cell for pair in zip(map(listed, (milliseconds, megabytes)), exponents, strict=True) for cell in pair
            ]
            print(f"| `{name}` | {axis} | {span} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
