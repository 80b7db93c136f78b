"""Public packages beside our own mechanisms that compute the same: how many times as long theirs take.

    python -m benchmarks.foreign_speed                        # every case that has an equal of ours; installs packages
    python -m benchmarks.foreign_speed --only local-attention

The cases are those of ``benchmarks/packages/packages.yaml`` with ``equal``, installed as ``benchmarks.foreign`` does;
``benchmarks/packages/speed.py`` says what is timed. Goal: none is faster than ours.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.packages.case import LIST, read_packages
from benchmarks.packages.child import measure_all
from benchmarks.packages.environment import environment, installed
from benchmarks.packages.speed import LENGTHS

SECONDS = 300.0
"""The limit of a case."""
EVEN = 0.95
"""Theirs are called faster below this share of our time, which is more than the noise of a quiet machine."""


def row(package: str, name: str, ours: str, result: Mapping[str, Any]) -> str:
    """Write a row of the table.

    Args:
        package: The package and its version.
        name: The case.
        ours: Our mechanism.
        result: What :func:`benchmarks.packages.speed.times` gives, or ``error``.

    Returns:
        Markdown; times are theirs over ours, with quartiles, in bold where theirs are faster.
    """
    if reason := result.get("error"):
        cells = [reason, *[""] * (len(LENGTHS) - 1)]
    else:
        cells = []
        for length in LENGTHS:
            median, low, high = result[str(length)]
            text = f"{median:.2f} ({low:.2f}-{high:.2f})"
            cells.append(f"**{text}**" if median < EVEN else text)
    return f"| {package} | {name} | `{ours}` | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="How many times as long packages take as our equal mechanisms.")
    parser.add_argument("--only", action="append", default=[], help="packages whose names contain it")
    parser.add_argument("--folder", type=Path, help="where packages are kept; a temporary folder by default")
    args = parser.parse_args()
    packages = read_packages(LIST)
    print(f"| package | what | ours | {' | '.join(f'T {length}' for length in LENGTHS)} |")
    print(f"|---|---|---|{'---|' * len(LENGTHS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for package in packages.packages:
            cases = [case for case in package.cases if case.equal]
            if not cases or not any(word in package.package for word in args.only or [""]):
                continue
            places, reason = installed(packages.requirements(package), folder)
            if reason:
                print(f"| {package.package} | not installed: {reason} | | |", flush=True)
                continue
            program = "benchmarks.packages.speed"
            for case, result in measure_all(cases, environment(places), SECONDS, program=program):
                assert case.equal is not None
                print(row(package.package.replace("==", " "), case.name, case.equal.ours, result), flush=True)


if __name__ == "__main__":
    main()
