"""Published values beside ours: the mean over seeds with its interval, and the best and the worst seed.

Sources often print the best of several seeds. A mean over seeds is below it, so that both are given. There is no
outcome: what was measured differs, and each table says how.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attnlab.analysis._observations import Observation, observations
from attnlab.analysis.fields import canonical_part
from attnlab.analysis.metric_names import higher_is_better
from attnlab.analysis.planned_levels import Plan
from attnlab.analysis.statistics import UNKNOWN, Interval, average, mean
from attnlab.analysis.strata import Strata, strata
from attnlab.config.published_values import PublishedTable, PublishedValue
from attnlab.errors import UnknownNameError
from attnlab.formatting import option_text
from attnlab.records import Record
from attnlab.run_fields import PARTS, short_name

WHERE = "published"
"""The key of the experiment, for messages."""


@dataclass(frozen=True)
class PublishedRow:
    """A published value, and the same of our runs."""

    label: str
    """The fields in which the rows of a table differ, with the name in the source."""
    published: float | str
    """What the source has: a number, or words."""
    mean: float = math.nan
    """Over seeds, and over levels if there are several; nan where no finished run matches yet."""
    interval: Interval = UNKNOWN
    """The 95 % interval of the mean over seeds; nan where there are too few."""
    best: float = math.nan
    """Of the best seed, over all levels; nan of a diagnostic, of which no end is better."""
    worst: float = math.nan
    seeds: int = 0
    """On the level that has the fewest."""
    of: Mapping[str, Any] = field(default_factory=dict)
    """Which runs these are: field -> value."""
    name: str = ""
    """What the source calls the variant."""


@dataclass(frozen=True)
class PublishedComparison:
    """A table of the source, and ours beside it."""

    table: str
    source: str
    quantity: str
    """What the source measured."""
    metric: str
    """What is measured here."""
    common: str
    """The fields that all rows name alike; empty where there are none."""
    rows: tuple[PublishedRow, ...]
    differs: str
    """Why the values differ."""


def compare_published(
    tables: Iterable[PublishedTable],
    records: Sequence[Record],
    source: str = "",
    tuned: Sequence[str] = (),
    plan: Plan = (),
    *,
    half_done: bool = False,
) -> list[PublishedComparison]:
    """Compare published values with those of records.

    Args:
        tables: The tables of an experiment.
        records: Finished runs.
        source: The source of tables that name none.
        tuned: Fields of which each cell takes the value with the best validation accuracy.
        plan: The levels of the experiment; on those that runs will be trained on, no others are taken meanwhile.
        half_done: Whether there may be no run yet with a field or a metric; then no finished run matches yet.

    Returns:
        One comparison for each table.

    Raises:
        UnknownNameError: A value names a field or a metric that the runs do not have, and it is not half done.
        InvalidValueError: A value matches more than one variant.
    """
    wanted = list(tables)
    observed = observations(records) if wanted else []
    return [_compared(table, observed, source, tuned, plan, half_done) for table in wanted]


def _compared(
    table: PublishedTable,
    observed: Sequence[Observation],
    source: str,
    tuned: Sequence[str],
    plan: Plan,
    half_done: bool,
) -> PublishedComparison:
    named = [{short_name(name): value for name, value in one.of.items()} for one in table.values]
    common = {
        name: value
        for name, value in named[0].items()
        if len(named) > 1 and all(name in other and other[name] == value for other in named)
    }
    scores = ((one.evaluation or one.record).scores for one in observed)
    rising = higher_is_better(table.metric, scores)
    rows = []
    for one, fields in zip(table.values, named, strict=True):
        own = {name: value for name, value in fields.items() if name not in common}
        try:
            ours = strata(observed, one.of, table.metric, tuned, WHERE, plan)
        except UnknownNameError:
            if not half_done:
                raise
            ours = {}
        rows.append(_row(one, own, ours, rising))
    about = table.table, table.source or source, table.quantity, table.metric
    return PublishedComparison(*about, _text(common), tuple(rows), table.differs)


def _row(one: PublishedValue, own: Mapping[str, Any], ours: Strata, rising: bool | None) -> PublishedRow:
    text = _text(own)
    known: dict[str, Any] = {
        "label": f"{text} ({one.name})" if text and one.name else text or one.name or "all runs",
        "published": one.value,
        "of": one.of,
        "name": one.name,
    }
    samples = list(ours.values())
    if not samples:
        return PublishedRow(**known)
    center, ends = mean(samples)
    best, worst = _extremes(ours, rising)
    fewest = min(len(sample.values) for sample in samples)
    return PublishedRow(**known, mean=center, interval=ends, best=best, worst=worst, seeds=fewest)


def _extremes(ours: Strata, rising: bool | None) -> tuple[float, float]:
    """The means over levels of the best and the worst seed, of those seeds that all levels have."""
    by_seed = [dict(zip(sample.seed_list, sample.values, strict=True)) for sample in ours.values()]
    complete = set.intersection(*(set(one) for one in by_seed))
    if rising is None or not complete:
        return math.nan, math.nan
    means = [average([one[seed] for one in by_seed]) for seed in complete]
    return (max(means), min(means)) if rising else (min(means), max(means))


def _text(fields: Mapping[str, Any]) -> str:
    """Fields in words: parts by their names alone."""
    return ", ".join(
        _value_text(value) if name in PARTS else f"{name} {_value_text(value)}" for name, value in fields.items()
    )


def _value_text(value: Any) -> str:
    """A value as it is written; several, of which any is meant, by commas."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_value_text, value))
    return canonical_part(value) if isinstance(value, Mapping) else option_text(value)
