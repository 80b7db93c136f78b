"""How often 95 % intervals of a median time to solve cover it, by simulation, beside those of Greenwood.

    python -m benchmarks.coverage_of_medians [--repetitions N] [--seeds 3,5,6,10,20]

Times are multiples of 100 steps with a median of 800 and a budget of 2,000, or with a median of 1,600. ``two kinds``
are solved soon or, half of them, at any time much later. With ``several budgets`` each run is stopped at 800 to 3,200
steps. ``ours`` is :mod:`attnlab.analysis.time_to_solve`; ``Greenwood`` inverts the log-log interval of
``scipy.stats.ecdf`` everywhere, as R and lifelines do. Beside the coverage stands how many intervals are bounded.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf

from attnlab.analysis.time_to_solve import SolveTimes

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
EVERY = 100.0


def exponential(rng: np.random.Generator, seeds: int) -> Floats:
    return 800 * rng.exponential(1 / np.log(2), seeds)


def narrow(rng: np.random.Generator, seeds: int) -> Floats:
    return 800 * np.exp(0.25 * rng.standard_normal(seeds))


def two_kinds(rng: np.random.Generator, seeds: int) -> Floats:
    soon = 400 * np.exp(0.5 * rng.standard_normal(seeds))
    return np.where(rng.random(seeds) < 0.5, soon, 1000 + 4000 * rng.random(seeds))


SETTINGS: dict[str, tuple[Draw, float, bool]] = {
    "exponential": (exponential, 1.0, False),
    "exponential, late": (exponential, 2.0, False),
    "narrow": (narrow, 1.0, False),
    "narrow, late": (narrow, 2.0, False),
    "two kinds": (two_kinds, 1.0, False),
    "exponential, several budgets": (exponential, 1.0, True),
    "narrow, several budgets": (narrow, 1.0, True),
}
"""Name -> draw, factor of the times, whether budgets differ."""


def steps(draw: Draw, factor: float, rng: np.random.Generator, seeds: int) -> Floats:
    """The step of the validation at which each run is solved."""
    return EVERY * np.ceil(factor * draw(rng, seeds) / EVERY)


def greenwood(times: Floats, solved: NDArray[np.bool_]) -> tuple[float, float]:
    """The interval of the median that inverts Greenwood's interval of the survival, on the scale of log(-log S)."""
    if not solved.any():
        return 0.0, np.inf
    survival = ecdf(CensoredData(uncensored=times[solved], right=times[~solved])).sf
    ends: Any = survival.confidence_interval(method="log-log")
    low = survival.quantiles[ends.low.probabilities <= 0.5]
    high = survival.quantiles[ends.high.probabilities <= 0.5]
    return min(low, default=0.0), min(high, default=np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seeds", default="3,5,6,10,20")
    args = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # a survival of 0 or 1 has no interval
    counts = [int(word) for word in args.seeds.split(",")]
    print("| covered (bounded) in % | " + " | ".join(f"{count} seeds" for count in counts) + " |")
    print("|---|" + "---|" * len(counts))
    for name, (draw, factor, several) in SETTINGS.items():
        median = float(np.sort(steps(draw, factor, np.random.default_rng(1), 1_000_001))[500_000])
        cells: dict[str, list[str]] = {"ours": [], "Greenwood": []}
        for seeds in counts:
            rng, found = np.random.default_rng([0, seeds]), {kind: np.zeros(2) for kind in cells}
            for _ in range(args.repetitions):
                times = steps(draw, factor, rng, seeds)
                budgets = EVERY * rng.integers(8, 33, seeds) if several else np.full(seeds, 2000.0)
                times, solved = np.minimum(times, budgets), times <= budgets
                ours = SolveTimes(tuple(times.tolist()), tuple(solved.tolist())).interval
                for kind, (low, high) in (("ours", ours), ("Greenwood", greenwood(times, solved))):
                    found[kind] += low <= median <= high, high < np.inf
            for kind, sums in found.items():
                covered, bounded = 100 * sums / args.repetitions
                cells[kind].append(f"{covered:.1f} ({bounded:.0f})")
        for kind, texts in cells.items():
            print(f"| {name}: {kind} | " + " | ".join(texts) + " |", flush=True)


if __name__ == "__main__":
    main()
