"""How the cost of one step grows with length, width, vocabulary and lanes: fitted exponents, on one thread or a GPU.

    python -m benchmarks.growth [--budget SECONDS] [--device cuda] [--axes length width] [NAME ...]

Time and memory of a step, per sequence, every size in a process of its own. The first size at which a step takes more
than the budget is the last.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def told(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2g}" if value < 10 else f"{value:,.0f}" for value in values)


def main() -> None:
    from attnlab.training.environment import device
    from benchmarks.timing.growth import AXES, NAMES, grown, isolated

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
            measured = grown(name, axis, AXES[axis], isolated(device(args.device)), args.budget)
            span = f"{measured.sizes[0]}..{measured.sizes[-1]}"
            times, sizes = [1e3 * one.seconds for one in measured.costs], [one.bytes / 2**20 for one in measured.costs]
            cells = [
                told(times),
                f"{measured.exponent('seconds'):.2f}",
                told(sizes),
                f"{measured.exponent('bytes'):.2f}",
            ]
            print(f"| `{name}` | {axis} | {span} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
