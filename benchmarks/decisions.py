"""How often a sweep until decided is wrong, and how many runs it takes, on seeds resampled from the records of a store.

    python -m benchmarks.decisions STORE [--experiments N] [--seeds N]

    null    both sides draw their seeds from the runs of one variant: "ahead", "behind" and "crossing" are wrong
    mixed   the same, from the runs of all variants together: seeds differ as much as they can
    pair    the sides draw from the runs of two variants: the other direction than that of the means is wrong

Each simulated experiment has every level of the store and draws each seed with replacement, for each side and level by
itself. A store should have a dozen seeds or more for each cell.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attnlab.analysis.comparisons import Question
from attnlab.analysis.records import records
from attnlab.analysis.statistics import clopper_pearson
from attnlab.experiments.decision_search import search_decisions
from attnlab.records import Record
from attnlab.specs import RunSpec

Cells = dict[object, list[Record]]
"""Level -> the runs of one variant."""


MIXED = "all variants"
"""The runs of all variants as those of one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=30)
    args = parser.parse_args()
    variants: dict[str, Cells] = {}
    for record in records(args.store):
        if record.status != "failed":
            variants.setdefault(record.spec.variant, {}).setdefault(record.spec.task.level, []).append(record)
    print("mean accuracy in % (seeds)")
    for name, cells in variants.items():
        means = [f"{level}: {100 * mean(runs):.1f} ({len(runs)})" for level, runs in cells.items()]
        print(f"  {name:<24}{'   '.join(means)}")
    print(
        f"\n{args.experiments} experiments each{'wrong':>26}{'95 %':>14}{'decided':>10}{'alike':>8}{'median runs':>13}"
    )
    rng = np.random.default_rng(0)
    rows = [*((name, name) for name in variants), *itertools.combinations(variants, 2)]
    if len(variants) > 1:
        rows.append((MIXED, MIXED))
        first, *others = variants.values()
        shared = [level for level in first if all(level in cells for cells in others)]
        variants[MIXED] = {level: [run for cells in (first, *others) for run in cells[level]] for level in shared}
    for ours, theirs in rows:
        own = np.random.default_rng(0) if ours == MIXED else rng
        counts, sizes = simulated(variants[ours], variants[theirs], args.experiments, args.seeds, own)
        wrong = sum(counts[outcome] for outcome in wrong_outcomes(variants[ours], variants[theirs], ours == theirs))
        low, high = clopper_pearson(wrong, args.experiments)
        decided = sum(counts.values()) - counts["undecided"]
        label = (
            "mixed  all variants"
            if ours == MIXED
            else f"null   {ours}"
            if ours == theirs
            else f"pair   {ours} and {theirs}"
        )
        shares = [100 * count / args.experiments for count in (wrong, decided, counts["alike"])]
        print(
            f"{label:<38}{shares[0]:>7.1f} %{f'{100 * low:.1f}-{100 * high:.1f}':>14}{shares[1]:>8.1f} %"
            f"{shares[2]:>6.1f} %{np.median(sizes):>13.0f}",
            flush=True,
        )


def mean(runs: Sequence[Record]) -> float:
    return float(np.mean([record.accuracy.mean for record in runs]))


def wrong_outcomes(ours: Cells, theirs: Cells, null: bool) -> tuple[str, ...]:
    """What must not come out: of a null, any difference; of a pair, a direction that no level has."""
    if null:
        return ("ahead", "behind", "crossing")
    gaps = [mean(theirs[level]) - mean(ours[level]) for level in ours.keys() & theirs.keys()]
    words = [("ahead", any(gap > 0 for gap in gaps)), ("behind", any(gap < 0 for gap in gaps))]
    return (*(word for word, true in words if not true), *(() if all(true for _, true in words) else ("crossing",)))


def simulated(
    ours: Cells, theirs: Cells, experiments: int, seeds: int, rng: np.random.Generator
) -> tuple[Counter[str], list[int]]:
    """The outcomes of some experiments, and how many runs each took."""
    specs, drawn_from = grid(ours, theirs, seeds)
    counts: Counter[str] = Counter()
    sizes = []
    for _ in range(experiments):

        def run(wanted: Sequence[RunSpec]) -> list[Record]:
            found = []
            for spec in wanted:
                pool = drawn_from[spec.id]
                drawn = pool[int(rng.integers(len(pool)))]
                found.append(drawn.model_copy(update={"id": spec.id, "spec": spec}))
            return found

        search = search_decisions(specs, run, lambda _: Question())
        counts[search.comparisons[0].outcome] += 1
        sizes.append(len(search.records))
    return counts, sizes


def grid(ours: Cells, theirs: Cells, seeds: int) -> tuple[list[RunSpec], dict[str, list[Record]]]:
    """Runs of two variants that differ in an attention by name alone, and the records that each is drawn from."""
    specs, drawn_from = [], {}
    for number, cells in enumerate((ours, theirs)):
        for level in [level for level in ours if level in theirs]:
            first = cells[level][0].spec
            model = first.model.model_copy(update={"init_scale": 1.0 + number})
            for seed in range(seeds):
                spec = first.model_copy(update={"model": model, "seed": seed})
                specs.append(spec)
                drawn_from[spec.id] = cells[level]
    return specs, drawn_from


if __name__ == "__main__":
    main()
