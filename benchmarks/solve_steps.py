"""The steps that finished runs took, as ``experiments/solve_steps.json`` has them.

    attnlab sweep quickstart                                   # and other experiments
    python -m benchmarks.solve_steps results/*                 # writes the file anew
    python -m benchmarks.solve_steps --add results/quickstart  # adds to it what it does not have

Only runs that could stop early are kept. A dry run expects from them how many steps like runs take.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from attnlab import resources
from attnlab.experiments.known_steps import FILE, as_json, known_runs, shipped_runs
from attnlab.storage import Store


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the steps of finished runs into the shipped file.")
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--add", action="store_true", help="keep what the file has")
    args = parser.parse_args()
    runs = list(shipped_runs()) if args.add else []
    for store in args.stores:
        runs += known_runs(Store(store).records())
    path = resources.folder("experiments") / FILE
    path.write_text(as_json(runs))
    print(f"{len(runs)} runs: {path}")


if __name__ == "__main__":
    main()
