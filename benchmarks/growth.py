"""How the cost of a step grows with length, width, vocabulary and vmapped runs: exponents, on one thread or a GPU.

    python -m benchmarks.growth [--budget SECONDS] [--device cuda] [--axes length width] [NAME ...]

Time and memory of a step, per sequence, every size in a process of its own. The first size at which a step takes more
than the budget is the last.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def listed(values: Sequence[float]) -> str:
    """Format numbers with two digits, with a space between them."""
    return " ".join(f"{value:.2g}" if value < 10 else f"{value:,.0f}" for value in values)


def main() -> None:
    from attnlab.training.environment import device
    from benchmarks.timing.growth import AXES, NAMES, isolated, measure_growth

    parser = argparse.ArgumentParser(description="Exponents of the cost of a step.")
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--budget", type=float, default=10.0, help="seconds of one step")
    parser.add_argument("--axes", nargs="*", default=list(AXES), choices=list(AXES))
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    print("| attention | grows with | sizes | ms per sequence | exponent | MB per sequence | exponent |")
    print("|---|---|---|---|---|---|---|")
    for axis in args.axes:
        for name in args.names:
            measured = measure_growth(name, axis, AXES[axis], isolated(device(args.device)), args.budget)
            span = f"{measured.sizes[0]}..{measured.sizes[-1]}"
            milliseconds, megabytes = (
                [1e3 * one.seconds for one in measured.costs],
                [one.bytes / 2**20 for one in measured.costs],
            )
            cells = [
                listed(milliseconds),
                f"{measured.exponent('seconds'):.2f}",
                listed(megabytes),
                f"{measured.exponent('bytes'):.2f}",
            ]
            print(f"| `{name}` | {axis} | {span} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
