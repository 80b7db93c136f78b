"""The results of the built-in experiments, as the sections of experiments/README.md.

    attnlab sweep NAME                              # for each experiment of: attnlab ls experiments
    python -m benchmarks.experiments > sections.md

The sections report what the stores below ``results/`` hold. They name experiments that were not run, and runs that are
missing.
"""

from __future__ import annotations

import sys
from pathlib import Path


def section(name: str, results: Path) -> str:
    """Write the section of one experiment: question, command, date and versions, tables, claims."""
    from attnlab.config.experiment import experiment
    from attnlab.rendering.export import as_markdown
    from attnlab.rendering.report import report
    from attnlab.storage.status import read_plan, store_status

    spec = experiment(name)
    head = f"## {name}\n\n**{spec.question}**"
    store = results / name
    if not (store / "store.json").exists():
        return f"{head}\n\nNot run yet."
    status = store_status(store)
    ids = {run.id for run in read_plan(store)}
    records = [record for record in status.records if record.id in ids]
    if not records:
        return f"{head}\n\nNot run yet."
    environment = records[-1].environment
    hours = sum(float(record.environment.get("seconds", 0.0)) for record in records) / 3600
    summary = (
        f"`attnlab sweep {name}`, ended {str(environment.get('ended', ''))[:10]}, "
        f"attnlab {environment.get('attnlab')}, torch {environment.get('torch')}, {environment.get('device')}, "
        f"one thread for each run; {len(records)} runs, {hours:.2f} hours of runs, other programs ran at the same time."
    )
    missing = f" **{len(status.missing)} runs are missing.**" if status.missing else ""
    tables = as_markdown(report(records, spec)).decode().split("\n", 2)[2].strip()
    return f"{head}\n\n{summary}{missing}\n\n{tables}"


def main() -> None:
    from attnlab import resources

    results = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
    print("\n\n".join(section(name, results) for name in resources.names("experiments")))


if __name__ == "__main__":
    main()
