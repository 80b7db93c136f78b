"""Runs side by side: the fields in which they differ, and paired differences of their accuracies.

Each run stands for its variant: all finished runs of its store that differ from it in their seed alone. Runs of one
seed share data and initial weights, so the accuracies of two variants are paired by seed, and seeds that only one of
them has are left out. From three seeds on the interval is that of :func:`attnlab.analysis.statistics.difference`;
with fewer, no interval is claimed, and the range of the differences is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from attnlab.analysis._observations import METRICS, Observation, metric_bounds
from attnlab.analysis.run_rows import RunRow, run_rows
from attnlab.analysis.statistics import UNKNOWN, Interval, Sample, difference
from attnlab.errors import InvalidValueError
from attnlab.specs import Part, RunSpec, TaskSpec
from attnlab.storage.find_run import find_records, in_store
from attnlab.storage.status import store_status

MIN_SEEDS = 3
"""Shared seeds from which on an interval is claimed."""
RESULTS = ("status", "accuracy", "exact_match", "loss", "steps", "seconds", "parameters", "failure_mode")
"""Results that are compared."""


@dataclass(frozen=True)
class PairedDifference:
    """The accuracy of one variant minus that of the first, over the seeds that both have."""

    first: str
    """Id of the run that stands for the first variant."""
    other: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    """One for each seed, as shares of 1."""
    interval: Interval
    """The 95 % interval over seeds; nan with fewer than three."""
    remark: str = ""
    """Why there is no difference."""

    @property
    def mean(self) -> float:
        """The mean over the seeds; nan without any."""
        return fmean(self.differences) if self.differences else math.nan


@dataclass(frozen=True)
class RunComparison:
    """Several runs."""

    rows: tuple[RunRow, ...]
    fields: dict[str, tuple[Any, ...]]
    """The fields in which they differ: one value for each run; None where a run has no such field."""
    results: dict[str, tuple[Any, ...]]
    pairs: tuple[PairedDifference, ...]
    """Every other run against the first."""


def compare_stored(runs: Sequence[str], store: Path) -> RunComparison:
    """Compare runs of a folder of results.

    Args:
        runs: Their ids, or the beginnings of these.
        store: A store, or a folder of stores.

    Returns:
        The comparison.

    Raises:
        InvalidValueError: Fewer than two runs are named, several begin with a word, or several stores hold a run.
        UnknownNameError: No run begins with a word.
        StoreError: There are no records, or a store cannot be read.
    """
    found = find_records(runs, store)
    if len(found) < 2:
        hint = f"Name another one: attnlab ls results{in_store(store)}"
        raise InvalidValueError("A comparison needs two runs or more.", hint, where="compare")
    every = run_rows(map(store_status, dict.fromkeys(folder for _, folder in found)))
    by_place = {(row.record.id, row.store): row for row in every}
    return compare_runs([by_place[record.id, folder] for record, folder in found], every)


def compare_runs(rows: Sequence[RunRow], all_rows: Sequence[RunRow]) -> RunComparison:
    """Compare runs.

    Args:
        rows: The runs, at least two.
        all_rows: The runs of their stores, among which are those of other seeds.

    Returns:
        The comparison.
    """
    names = dict.fromkeys(name for row in rows for name in row.settings)
    names |= dict.fromkeys(("seed", "level", "trained"))
    values = {name: tuple(row.get(name) for row in rows) for name in names}
    fields = {name: own for name, own in values.items() if len(set(map(repr, own))) > 1}
    fields |= {name: own for name, own in _parts(rows).items() if len(set(own)) > 1 and not fields.keys() & {name[5:]}}
    results = {name: tuple(row.get(name) for row in rows) for name in RESULTS}
    variants = [_variant(row, all_rows) for row in rows]
    pairs = tuple(
        _paired(variants[0], rows[0], variant, row) for variant, row in zip(variants[1:], rows[1:], strict=True)
    )
    return RunComparison(tuple(rows), fields, results, pairs)


def _parts(rows: Sequence[RunRow]) -> dict[str, tuple[str, ...]]:
    """The version and the code of the parts of each run, by field."""
    parts: dict[str, Callable[[RunSpec], Sequence[Part | TaskSpec]]] = {
        "attention": lambda spec: spec.model.attention,
        "position": lambda spec: spec.model.position.alternating,
        "module": lambda spec: (spec.model.module,) if spec.model.module else (),
        "task": lambda spec: (spec.task,),
    }
    return {
        f"code.{name}": tuple(
            "+".join(
                f"version {one.version}{' ' + one.code_digest[:12] if one.code_digest else ''}"
                for one in get(row.record.spec)
            )
            for row in rows
        )
        for name, get in parts.items()
    }


def _variant(row: RunRow, all_rows: Sequence[RunRow]) -> dict[int, Observation]:
    """The finished runs of a store that differ from a run in their seed alone, by seed."""
    spec = row.record.spec
    like = [
        one
        for one in all_rows
        if one.store == row.store and one.record.status != "failed" and _differs_in_seed(one.record.spec, spec)
    ]
    return {one.record.spec.seed: Observation(one.record, one.settings, "", None, None) for one in like}


def _differs_in_seed(one: RunSpec, other: RunSpec) -> bool:
    same = (one.task, one.model, one.train) == (other.task, other.model, other.train)
    return same and bool(one.continue_from) == bool(other.continue_from)


def _paired(
    first: dict[int, Observation], first_row: RunRow, other: dict[int, Observation], other_row: RunRow
) -> PairedDifference:
    ids = first_row.record.id, other_row.record.id
    one, two = first_row.record.spec, other_row.record.spec
    if _differs_in_seed(one, two):
        return PairedDifference(*ids, (), (), UNKNOWN, "they differ in the seed alone")
    if one.task.name != two.task.name:
        return PairedDifference(*ids, (), (), UNKNOWN, "accuracies of different tasks are not comparable")
    seeds = sorted(first.keys() & other.keys())
    if not seeds:
        return PairedDifference(*ids, (), (), UNKNOWN, "they have no seed in common")
    accuracy = METRICS["accuracy"]
    ours, theirs = ([accuracy(variant[seed]) for seed in seeds] for variant in (other, first))
    differences = tuple(own - base for own, base in zip(ours, theirs, strict=True))
    if len(seeds) < MIN_SEEDS or any(map(math.isnan, differences)):
        return PairedDifference(*ids, tuple(seeds), differences, UNKNOWN)
    samples = [
        Sample(values, metric_bounds("accuracy", [variant[seed] for seed in seeds]), seeds)
        for values, variant in ((ours, other), (theirs, first))
    ]
    _, ends = difference([samples[0]], [samples[1]])
    return PairedDifference(*ids, tuple(seeds), differences, ends)
