"""What the shipped experiments came to, as the sections of experiments/README.md.

    attnlab sweep NAME                              # each of: attnlab ls experiments
    python -m benchmarks.experiments > sections.md

Only what stands in the stores below ``results/`` is told; experiments that were not run, or not to their end, are
named.
"""

from __future__ import annotations

import sys
from pathlib import Path


def section(name: str, results: Path) -> str:
    """One experiment: question, command, when and with what it ran, tables, claims."""
    from attnlab.config.experiment import experiment
    from attnlab.rendering.export import as_markdown
    from attnlab.rendering.report import report
    from attnlab.storage.status import read_plan, store_status

    asked = experiment(name)
    head = f"## {name}\n\n**{asked.question}**"
    store = results / name
    if not (store / "store.json").exists():
        return f"{head}\n\nNot run yet."
    stands = store_status(store)
    wanted = {planned.id for planned in read_plan(store)}
    records = [record for record in stands.records if record.id in wanted]
    if not records:
        return f"{head}\n\nNot run yet."
    environment = records[-1].environment
    hours = sum(float(record.environment.get("seconds", 0.0)) for record in records) / 3600
    said = (
        f"`attnlab sweep {name}`, ended {str(environment.get('ended', ''))[:10]}, "
        f"attnlab {environment.get('attnlab')}, torch {environment.get('torch')}, {environment.get('device')}, "
        f"one thread for each run; {len(records)} runs, {hours:.2f} hours of runs, other work beside them."
    )
    missing = f" **{len(stands.missing)} runs are missing.**" if stands.missing else ""
    tables = as_markdown(report(records, asked)).decode().split("\n", 2)[2].strip()
    return f"{head}\n\n{said}{missing}\n\n{tables}"


def main() -> None:
    from attnlab import resources

    results = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
    print("\n\n".join(section(name, results) for name in resources.names("experiments")))


if __name__ == "__main__":
    main()
