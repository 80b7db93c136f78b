"""The result of a diagnosis: numbers per variant and layer, and nothing that computes or draws.

Layers are counted from 1. The residual stream has a layer 0 as well, the input of the first block.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from attnlab.charts.as_altair import altair_chart
from attnlab.choices import DiagnosisKind
from attnlab.data_frames import to_pandas, to_polars
from attnlab.diagnosis._html import diagnosis_html
from attnlab.diagnosis._plot import diagnosis_chart

Values = tuple[float, ...]
"""One number per layer; nan where there is nothing to measure."""


class DecayFit(NamedTuple):
    """The fit of ``value = start * rate ^ layer`` to the layers above the floor."""

    rate: float
    """The factor per layer."""
    fit: float
    """R^2 of the line through the logarithms."""
    order: float
    """The next value as a power of the last: 1 for a steady decay; nan where there are too few values."""
    layers: int
    """The number of values that were fitted."""


class TopHead(NamedTuple):
    """The head with the largest value of a metric."""

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
    """The average over seeds, by the mean of the metric."""
    below: tuple[bool, ...]
    """Per layer, whether a seed is below the float floor, where a value is rounding error."""
    decay: DecayFit | None = None
    heads: tuple[Values, ...] = ()
    """For each layer the mean over seeds of every head; empty where a metric is not per head."""

    @property
    def spread(self) -> Values:
        """Standard deviation over seeds per layer; nan with fewer than two."""
        columns = [[value for value in column if not math.isnan(value)] for column in zip(*self.seeds, strict=True)]
        return tuple(statistics.stdev(column) if len(column) > 1 else math.nan for column in columns)

    @property
    def top_head(self) -> TopHead | None:
        """The head with the largest value; None where all are equal."""
        heads = [
            TopHead(layer, head, value)
            for layer, values in enumerate(self.heads, 1)
            for head, value in enumerate(values, 1)
            if not math.isnan(value)
        ]
        if len({head.value for head in heads}) < 2:
            return None
        return max(heads, key=lambda head: head.value)


@dataclass(frozen=True)
class Panel:
    """One metric of all variants."""

    name: str
    summary: str
    point: str
    """Where it is measured."""
    geometric: bool
    """Whether it is averaged and drawn by its logarithm."""
    columns: tuple[str, ...]
    """The names of the layers."""
    rows: tuple[Series, ...]
    matrix: str = ""
    """The kind of matrix that it is measured on: ``effective matrix``, ``returned weights``, ``Jacobian row norms``
    or ``Jacobian row norms of the block``; empty where it is not measured on a matrix. Kinds are never shown in one
    panel."""


@dataclass(frozen=True)
class AttentionMap:
    """The matrix of one head on one sequence."""

    variant: str
    layer: int
    head: int
    weights: tuple[Values, ...]
    """One row per query."""
    matrix: str = "effective matrix"
    """The kind of the matrix, as that of a panel."""
    is_share: bool = False
    """Whether every row is a distribution over the keys, as that of a softmax: drawn on a scale from 0 to 1."""


@dataclass(frozen=True)
class Diagnosis:
    """The result of one diagnosis."""

    kind: DiagnosisKind
    subject: str
    """The models that were measured, and the sequences."""
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()
    """Metrics that could not be measured, and receptive fields."""
    maps: tuple[AttentionMap, ...] = ()

    def panel(self, name: str, matrix: str = "") -> Panel:
        """Get the panel of one metric.

        Args:
            name: The metric.
            matrix: The kind of matrix; empty takes the first panel of the metric.

        Returns:
            Its panel.
        """
        return next(panel for panel in self.panels if panel.name == name and matrix in ("", panel.matrix))

    def rows(self) -> list[dict[str, Any]]:
        """List one row for each metric, variant, layer and seed, and for each head over seeds."""
        listed = []
        for panel in self.panels:
            for series in panel.rows:
                named = {"metric": panel.name, "point": panel.point, "matrix": panel.matrix, "variant": series.variant}
                for index, layer in enumerate(panel.columns):
                    at_layer = {**named, "layer": layer}
                    for seed, values in enumerate(series.seeds):
                        measured = {"value": values[index], "below_floor": series.below[index]}
                        listed.append({**at_layer, "head": None, "seed": seed, **measured})
                    for head, value in enumerate(_heads(series.heads, index), 1):
                        measured = {"value": value, "below_floor": series.below[index]}
                        listed.append({**at_layer, "head": head, "seed": None, **measured})
        return listed

    def to_pandas(self) -> Any:
        """Make a data frame of pandas of :meth:`rows`.

        Returns:
            A ``pandas.DataFrame``.

        Raises:
            attnlab.errors.AttnlabError: pandas is not installed.
        """
        return to_pandas(self.rows())

    def to_polars(self) -> Any:
        """Make a data frame of polars of :meth:`rows`.

        Returns:
            A ``polars.DataFrame``.

        Raises:
            attnlab.errors.AttnlabError: polars is not installed.
        """
        return to_polars(self.rows())

    def plot(self) -> Any:
        """Draw every metric by layers, one line for each variant with a band over its seeds, and the attention maps.

        Returns:
            A chart of altair, which a notebook shows; ``chart.save("file.svg")`` writes it.

        Raises:
            attnlab.errors.AttnlabError: altair is not installed, or nothing was measured.
        """
        return altair_chart(diagnosis_chart(self))

    def _repr_html_(self) -> str:
        """The means of every metric by layers, for a notebook."""
        return diagnosis_html(self)

    def __str__(self) -> str:
        """The kind, what was measured and the metrics, in one line."""
        return f"{self.kind} of {self.subject}: {', '.join(panel.name for panel in self.panels)}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The same for IPython."""
        printer.text(str(self))

    def data(self) -> dict[str, Any]:
        """Convert the diagnosis to plain data."""
        panels = [
            {
                "metric": panel.name,
                "summary": panel.summary,
                "point": panel.point,
                "matrix": panel.matrix,
                "mean": "geometric" if panel.geometric else "arithmetic",
                "columns": list(panel.columns),
                "variants": [_series_data(series) for series in panel.rows],
            }
            for panel in self.panels
        ]
        maps = [
            {
                "variant": attention_map.variant,
                "layer": attention_map.layer,
                "head": attention_map.head,
                "matrix": attention_map.matrix,
                "weights": [list(row) for row in attention_map.weights],
            }
            for attention_map in self.maps
        ]
        return {
            "kind": self.kind,
            "subject": self.subject,
            "panels": panels,
            "notes": list(self.notes),
            "maps": maps,
        }


def _heads(heads: Sequence[Values], index: int) -> Values:
    """Get the values of the heads of one layer; empty where a metric is not per head."""
    return heads[index] if heads else ()


def _series_data(series: Series) -> dict[str, Any]:
    """Convert one series to plain data."""
    return {
        "variant": series.variant,
        "mean": list(series.mean),
        "spread": list(series.spread),
        "below_floor": list(series.below),
        "seeds": [list(values) for values in series.seeds],
        "decay": series.decay._asdict() if series.decay else None,
        "heads": [list(values) for values in series.heads],
    }
