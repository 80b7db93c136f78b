"""What a diagnosis found: numbers per variant and layer, and nothing that computes or draws.

Layers are counted from 1; the stream has a layer 0 as well, what the first block reads.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Values = tuple[float, ...]
"""One number per layer; nan where there is nothing to measure."""


class Decay(NamedTuple):
    """The fit of ``value = start * rate ^ layer`` to the layers above the floor."""

    rate: float
    """What each layer multiplies the value by."""
    fit: float
    """R^2 of the line through the logarithms."""
    order: float
    """How the next value follows the last as a power: 1 for a steady decay; nan where there are too few values."""
    layers: int
    """How many values it went through."""


class Head(NamedTuple):
    """The head in which a metric is greatest."""

    layer: int
    head: int
    value: float


@dataclass(frozen=True)
class Series:
    """One metric of one variant."""

    variant: str
    seeds: tuple[Values, ...]
    """For each seed, the average over sequences (and heads) per layer."""
    mean: Values
    """Over seeds, of the kind that suits the metric."""
    below: tuple[bool, ...]
    """Layers at which some seed lies below the float floor: what is there is rounding."""
    decay: Decay | None = None
    heads: tuple[Values, ...] = ()
    """For each layer the mean over seeds of every head; empty where a metric knows no heads."""

    @property
    def spread(self) -> Values:
        """Standard deviation over seeds per layer; nan with fewer than two."""
        columns = [[value for value in column if not math.isnan(value)] for column in zip(*self.seeds, strict=True)]
        return tuple(statistics.stdev(column) if len(column) > 1 else math.nan for column in columns)

    @property
    def greatest(self) -> Head | None:
        """The head of the greatest value; none where all are equal."""
        result = [
            Head(layer, head, value)
            for layer, values in enumerate(self.heads, 1)
            for head, value in enumerate(values, 1)
            if not math.isnan(value)
        ]
        if len({one.value for one in result}) < 2:
            return None
        return max(result, key=lambda one: one.value)


@dataclass(frozen=True)
class Panel:
    """One metric of all variants."""

    name: str
    summary: str
    point: str
    """Where it is measured."""
    geometric: bool
    """Whether it spans decades: averaged and drawn by its logarithm."""
    columns: tuple[str, ...]
    """Layers, or what else stands along the row."""
    rows: tuple[Series, ...]


@dataclass(frozen=True)
class Map:
    """The effective matrix of one head on one sequence."""

    variant: str
    layer: int
    head: int
    weights: tuple[Values, ...]
    """One row per query."""


@dataclass(frozen=True)
class Diagnosis:
    """Everything that one diagnosis found."""

    kind: str
    subject: str
    """What was built or loaded, and what it was shown."""
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""
    maps: tuple[Map, ...] = ()

    def panel(self, name: str) -> Panel:
        """The panel of one metric."""
        return next(panel for panel in self.panels if panel.name == name)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each metric, variant, layer and seed, and for each head over seeds: for files and notebooks."""
        listed = []
        for panel in self.panels:
            for series in panel.rows:
                named = {"metric": panel.name, "point": panel.point, "variant": series.variant}
                for place, layer in enumerate(panel.columns):
                    at = {**named, "layer": layer}
                    for seed, values in enumerate(series.seeds):
                        known = {"value": values[place], "below_floor": series.below[place]}
                        listed.append({**at, "head": None, "seed": seed, **known})
                    for head, value in enumerate(_heads(series.heads, place), 1):
                        known = {"value": value, "below_floor": series.below[place]}
                        listed.append({**at, "head": head, "seed": None, **known})
        return listed

    def data(self) -> dict[str, Any]:
        """All of it as plain data."""
        panels = [
            {
                "metric": panel.name,
                "summary": panel.summary,
                "point": panel.point,
                "mean": "geometric" if panel.geometric else "arithmetic",
                "columns": list(panel.columns),
                "variants": [_plain(series) for series in panel.rows],
            }
            for panel in self.panels
        ]
        maps = [
            {
                "variant": one.variant,
                "layer": one.layer,
                "head": one.head,
                "weights": [list(row) for row in one.weights],
            }
            for one in self.maps
        ]
        return {
            "kind": self.kind,
            "subject": self.subject,
            "panels": panels,
            "notes": list(self.notes),
            "maps": maps,
        }


def _heads(heads: Sequence[Values], place: int) -> Values:
    return heads[place] if heads else ()


def _plain(series: Series) -> dict[str, Any]:
    return {
        "variant": series.variant,
        "mean": list(series.mean),
        "spread": list(series.spread),
        "below_floor": list(series.below),
        "seeds": [list(values) for values in series.seeds],
        "decay": series.decay._asdict() if series.decay else None,
        "heads": [list(values) for values in series.heads],
    }
