"""Whether a dry run tells how long the shipped experiments take: expected time, its range, and the actual time.

    python -m benchmarks.dry_run                         # the smoke presets of all
    python -m benchmarks.dry_run --whole quickstart      # as shipped
    python -m benchmarks.dry_run --whole --seeds 1       # with fewer seeds
    python -m benchmarks.dry_run --whole --seeds 1 --steps 30   # and fewer steps: one step and the tests weigh most
    python -m benchmarks.dry_run --wall                  # wall time with all workers, on an idle machine

By default one worker runs everything, and processor time is compared: that of the driver and its worker together, which
other programs on the machine hardly lengthen. Every command is a process of its own. The actual time follows the dry
run at once, in an empty store; steps come from the shipped results, which may hold the same runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from attnlab import resources
from attnlab.formatting import duration

FACTOR = 1.5
"""Expected and actual time are to differ by this factor at most."""
RUN = "from attnlab.cli import main; main()"


def spent(words: list[str], wall: bool) -> tuple[float, str]:
    """Run a command: its seconds, and what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    result = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, env=variables)
    if result.returncode not in (0, 1):  # 1: a claim does not hold
        raise SystemExit(result.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (time.perf_counter() - start if wall else processor), result.stdout


def row(name: str, options: list[str], wall: bool) -> tuple[str, bool]:
    """Estimate and run one experiment: its row of the table, and whether the estimate is close."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["sweep", name, "--store", folder, "--json", *options]
        words += [] if wall else ["--executor", "processes:1"]
        planned, output = spent([*words, "--dry-run"], wall)
        estimate = json.loads(output)
        actual, output = spent([*words, "--quiet"], wall)
    statuses = [json.loads(line)["status"] for line in output.splitlines()]
    if len(statuses) != estimate["missing"] or "failed" in statuses:
        raise SystemExit(f"{name}: {statuses.count('failed')} runs failed; {len(statuses)} have a record.")
    expected, (low, high) = estimate["expected"], estimate["range"]
    ratio = actual / expected
    close = 1 / FACTOR <= ratio <= FACTOR
    cells = [f"`{name}`", str(estimate["missing"]), duration(expected), f"{duration(low)} to {duration(high)}"]
    cells += [duration(actual), f"{ratio:.2f}", "yes" if low <= actual <= high else "**no**", duration(planned)]
    return f"| {' | '.join(cells)} |", close


def main() -> None:
    parser = argparse.ArgumentParser(description="Expected and actual time of the shipped experiments.")
    parser.add_argument("names", nargs="*", help="left out, all")
    parser.add_argument("--whole", action="store_true", help="as shipped, not the smoke presets")
    parser.add_argument("--seeds", type=int, help="seeds of each")
    parser.add_argument("--steps", type=int, help="steps of each run")
    parser.add_argument("--wall", action="store_true", help="wall time with all workers")
    args = parser.parse_args()
    options = [] if args.whole else ["--preset", "smoke"]
    options += ["--seeds", str(args.seeds)] if args.seeds else []
    options += ["--steps", str(args.steps)] if args.steps else []
    print("| experiment | runs | expected | range | actual | actual / expected | within the range | dry run |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    close = []
    for name in args.names or resources.names("experiments"):
        line, is_close = row(name, options, args.wall)
        close.append(is_close)
        print(line, flush=True)
    clock = "wall" if args.wall else "processor"
    print(f"\n{sum(close)} of {len(close)} within a factor of {FACTOR}, {clock} time.")


if __name__ == "__main__":
    main()
