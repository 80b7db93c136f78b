"""Public packages of causal attentions and mixers: which leak, which differ on a prefix, which refuse which lengths.

    python -m benchmarks.foreign --json foreign.json            # install and measure all; done packages are kept
    python -m benchmarks.foreign --only mamba --only performer  # names that contain one of the words
    python -m benchmarks.foreign --json foreign.json --table    # print the table of what is done, measure nothing

Each package of ``benchmarks/packages/packages.yaml`` is installed from the package index by pip, in exactly the version
that is listed and without its dependencies, so that torch stays that of attnlab. It is measured in a process of its own
that has the package and its light requirements on its path, through the adapter that ``--attn package.module:Class``
uses, at width 32 with 4 heads; ``benchmarks/packages/measure.py`` says what is measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.packages.case import LIST, Package, Packages, read_packages
from benchmarks.packages.child import measure_all
from benchmarks.packages.environment import environment, installed
from benchmarks.packages.table import table

SECONDS = 180.0
"""The limit of a case."""

Results = dict[str, Any]


def measure_package(packages: Packages, package: Package, folder: Path, seconds: float) -> Results:
    """Install a package and measure its cases.

    Args:
        packages: The list that has the versions of its requirements.
        package: The package.
        folder: Where packages are kept.
        seconds: The limit of each case.

    Returns:
        The results of the cases by name, or why it could not be installed.
    """
    places, reason = installed(packages.requirements(package) if package.cases else [], folder)
    if reason:
        return {"note": package.note, "not_installed": reason, "cases": {}}
    cases = {}
    for case, result in measure_all(package.cases, environment(places), seconds):
        print(f"  {package.package}  {case.name}: {line(result)}", flush=True)
        cases[case.name] = result | ({"note": case.note} if case.note else {})
    return {"note": package.note, "cases": cases}


def line(result: Results) -> str:
    """A result in a line."""
    stopped = result.get("refused") or result.get("error")
    if stopped:
        return str(stopped)
    worst = max((result[mode].get("size", 0.0) for mode in ("evaluation", "training")), default=0.0)
    return f"later tokens {worst:.1e}, prefix {result['prefix'].get('size', 0.0):.1e}, vmap {result['vmap'] or 'yes'}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What public packages of attentions do in causal mode.")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="names that contain this word")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep results here; a package in it is done")
    parser.add_argument("--list", type=Path, default=LIST, metavar="FILE", help="another list of packages")
    parser.add_argument("--folder", type=Path, help="keep installed packages here; by default they are removed")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the limit of a case")
    parser.add_argument("--table", action="store_true", help="print the table of what is done, measure nothing")
    args = parser.parse_args()
    packages = read_packages(args.list)
    done: Results = json.loads(args.json.read_text())["packages"] if args.json and args.json.exists() else {}
    wanted = [one for one in packages.packages if _is_wanted(one, args.only)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for number, package in enumerate(wanted, 1):
            if args.table or package.package in done:
                continue
            print(f"{number} of {len(wanted)}: {package.package}", flush=True)
            done[package.package] = measure_package(packages, package, folder.resolve(), args.seconds)
            if args.json:
                _keep(args.json, done)
    print(table({one.package: done[one.package] for one in wanted if one.package in done}))


def _is_wanted(package: Package, words: list[str]) -> bool:
    """Whether a package is asked for."""
    return not words or any(word.lower() in package.package.lower() for word in words)


def _keep(path: Path, done: Results) -> None:
    """Write the results, whole or not at all."""
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"about": about, "packages": done}, indent=1) + "\n")
    part.replace(path)


if __name__ == "__main__":
    main()
