"""Runs as rows of a list: every field and metric by name, to filter and to sort by.

fields of the run       width, lr, attention, level, task.length, ...       as :mod:`attnlab.run_fields` names them
the option of the level ``pairs`` for a run on a ladder of pairs
metrics                 accuracy, loss, steps, seconds, ...                 shares from 0 to 1
scorers, diagnostics    under their own names
others                  id, status, failure_mode, tag, store, stale
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from attnlab.analysis._observations import METRICS, Observation
from attnlab.analysis.failure_modes import failure_mode
from attnlab.analysis.metric_names import higher_is_better
from attnlab.errors import unknown
from attnlab.formatting import SHARES, option_text
from attnlab.records import Record
from attnlab.run_fields import Cache, Fields, run_fields, short_name, trained_on
from attnlab.storage.status import StoreStatus
from attnlab.storage.tags import read_tags

SHARE_FIELDS = SHARES
"""Fields that are shares of 1."""
OTHERS = ("id", "status", "failure_mode", "tag", "store", "stale", "seed", "level", "trained", "reason")


@dataclass(frozen=True)
class RunRow:
    """A finished run of a store."""

    record: Record
    store: Path
    tags: tuple[str, ...]
    stale: bool
    settings: Fields
    """The fields of the run; runs that differ in their seed alone share them."""

    def get(self, name: str) -> Any:
        """Read a field.

        Args:
            name: Its name, without the section of the model or the training.

        Returns:
            The value; None where the run has no such field, nan where it has no such metric.
        """
        if name in METRICS:
            return Observation(self.record, self.settings, "", self._level, self._level).metric(name)
        if name in self._own:
            return self._own[name]
        if name == "failure_mode":
            return failure_mode(self.record).name
        if score := self.record.scores.get(name):
            return score.mean
        return self.settings.get(name, self.record.diagnostics.get(name))

    @property
    def _level(self) -> Any:
        return self.record.spec.task.level

    @cached_property
    def _own(self) -> Mapping[str, Any]:
        """What the fields of a run do not have."""
        spec = self.record.spec
        level = {spec.task.complexity: self._level, f"task.{spec.task.complexity}": self._level}
        return {
            **(level if spec.task.complexity else {}),
            "id": self.record.id,
            "status": self.record.status,
            "reason": self.record.reason,
            "tag": self.tags,
            "store": str(self.store),
            "stale": self.stale,
            "seed": spec.seed,
            "level": self._level,
            "trained": trained_on(spec),
        }


def run_rows(statuses: Iterable[StoreStatus]) -> list[RunRow]:
    """List the finished runs of some stores.

    Args:
        statuses: The stores.

    Returns:
        Their runs, in the order in which they were finished.

    Raises:
        StoreError: The tags of a store are damaged.
    """
    cache: Cache = {}
    shared: dict[tuple[int, ...], Fields] = {}
    rows = []
    for status in statuses:
        tags = read_tags(status.path)
        for record in status.records:
            spec = record.spec
            key = (id(spec.task), id(spec.model), id(spec.train), int(bool(spec.continue_from)))
            if key not in shared:
                shared[key] = run_fields(spec, cache)
            stale = record.id in status.stale
            rows.append(RunRow(record, status.path, tags.get(record.id, ()), stale, shared[key]))
    return rows


def check_run_field(name: str, rows: Sequence[RunRow], where: str) -> str:
    """Check that some run has a field.

    Args:
        name: The field, with or without the section of the model or the training.
        rows: The runs.
        where: The location, for messages.

    Returns:
        The name without the section.

    Raises:
        UnknownNameError: No run has it.
    """
    short = short_name(name)
    if short in METRICS or short in OTHERS:
        return short
    known = {*METRICS, *OTHERS}
    for row in rows:
        spec = row.record.spec.task
        known |= {
            *row.settings,
            *row.record.diagnostics,
            *row.record.scores,
            *([spec.complexity] if spec.complexity else []),
        }
    if short not in known and not any(short == f"task.{row.record.spec.task.complexity}" for row in rows):
        raise unknown("field", name, known, where=where)
    return short


def sort_rows(rows: Sequence[RunRow], field: str) -> list[RunRow]:
    """Sort runs by a field: the best metric first, everything else rising.

    Args:
        rows: The runs.
        field: The field, checked; a minus before it reverses the order.

    Returns:
        The runs; those that do not have the field come last.
    """
    name = field.removeprefix("-")
    falling = bool(higher_is_better(name, (row.record.scores for row in rows))) != field.startswith("-")
    having = [row for row in rows if not _is_missing(row.get(name))]
    numbers = [row for row in having if isinstance(row.get(name), int | float)]
    words = [row for row in having if not isinstance(row.get(name), int | float)]
    numbers.sort(key=lambda row: row.get(name), reverse=falling)
    words.sort(key=lambda row: option_text(row.get(name)), reverse=falling)
    return [*numbers, *words, *(row for row in rows if _is_missing(row.get(name)))]


def _is_missing(value: Any) -> bool:
    return value is None or value == () or (isinstance(value, float) and math.isnan(value))
