"""The charts of a report as Vega-Lite definitions: one definition for the HTML page, SVG, PNG and PDF.

A definition is plain data and needs no library. On the page it is interactive: two signals hide variants and bring one
to the front. The data are named ``points``; each function lists the columns that it reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
"""The palette of Okabe and Ito, which color-blind readers can distinguish."""
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")
STEP, SPREAD = 0.05, 0.3
"""Shares of the smallest gap between two levels: between two variants at one level, and between the first and last."""
PADDING = 14
"""Pixels before the first and after the last level."""
FADED = 0.1
"""Opacity of a variant while another one is brought to the front."""
CURVES = (
    ("accuracy", "validation accuracy", True),
    ("loss", "training loss", False),
    ("validation_loss", "validation loss", False),
)
"""Columns of learning curves, what they are but for the unit of a loss, and whether they are shares of 1."""
Definition = dict[str, Any]


@dataclass(frozen=True)
class Variants:
    """The variants of a report with their colors and shapes, the same in every chart."""

    names: tuple[str, ...]
    colors: tuple[str, ...] = COLORS
    columns: int = 4
    """Columns of the legend of a chart that is not interactive."""
    interactive: bool = False
    """Whether the chart has the signals ``hidden`` (names) and ``focus`` (a name, or empty)."""

    def color(self) -> Definition:
        """The channel of the color."""
        return self._channel(self.colors)

    def shape(self) -> Definition:
        """The channel of the shape; with the color it tells more variants apart than there are colors."""
        return self._channel(SHAPES)

    def opacity(self, value: float) -> Definition:
        """The channel of the opacity.

        Args:
            value: The opacity of a variant that is not faded.

        Returns:
            The channel.
        """
        if not self.interactive:
            return {"value": value}
        return {"condition": {"test": "focus === '' || datum.variant === focus", "value": value}, "value": FADED}

    def channels(self, opacity: float = 1.0) -> Definition:
        """Color and opacity.

        Args:
            opacity: The opacity of a variant that is not faded.

        Returns:
            The two channels by name.
        """
        return {"color": self.color(), "opacity": self.opacity(opacity)}

    def offset(self, levels: Sequence[Any], *, beside: bool = True) -> Definition:
        """The channel that puts the variants of one level beside one another where levels are words.

        Args:
            levels: The levels.
            beside: Whether a level has several variants.

        Returns:
            A channel by its name; none where levels are numbers, which :func:`spread` moves.
        """
        if not beside or _are_numbers(levels):
            return {}
        return {"xOffset": {"field": "variant", "type": "nominal", "sort": list(self.names)}}

    def chart(self, layers: Sequence[Definition], description: str) -> Definition:
        """A chart of layers.

        Args:
            layers: Marks with their channels.
            description: What is shown, for readers who do not see it.

        Returns:
            A Vega-Lite definition without data.
        """
        chart: Definition = {"description": description, "data": {"name": "points"}, "layer": list(layers)}
        if self.interactive:
            signals = [{"name": "hidden", "value": []}, {"name": "focus", "value": ""}]
            hidden = [{"filter": "indexof(hidden, datum.variant) < 0"}]
            chart |= {"params": signals, "transform": hidden, "width": "container"}
        return chart

    def _channel(self, values: Sequence[str]) -> Definition:
        chosen = [values[index % len(values)] for index in range(len(self.names))]
        look = {"symbolOpacity": 1, "orient": "bottom", "columns": self.columns, "labelLimit": 0}
        legend = None if self.interactive else look
        scale = {"domain": list(self.names), "range": chosen}
        return {"field": "variant", "type": "nominal", "scale": scale, "title": None, "legend": legend}


def tooltip(**fields: str) -> list[Definition]:
    """The channel of a tooltip.

    Args:
        **fields: Field -> its heading.

    Returns:
        A channel for each column.
    """
    return [{"field": field, "title": title} for field, title in fields.items()]


def quantity(field: str, title: str | None, *, share: bool = False, **scale: Any) -> Definition:
    """A channel of numbers.

    Args:
        field: The column.
        title: The title of its axis; None has none.
        share: Whether the numbers are shares of 1, shown in percent from 0 to 100.
        **scale: Properties of the scale.

    Returns:
        The channel of a number.
    """
    limits = {"domain": [0, 1], **scale} if share else {"zero": False, **scale}
    axis = {"format": "%", "values": [0, 0.25, 0.5, 0.75, 1]} if share else {"tickCount": 5}
    return {"field": field, "type": "quantitative", "title": title, "scale": limits, "axis": axis}


def levels_axis(levels: Sequence[Any], title: str) -> Definition:
    """The axis of the levels: logarithmic for positive numbers whose range is wide, ordinal for words.

    Args:
        levels: The levels, rising.
        title: What they count.

    Returns:
        The channel of the x axis.
    """
    if not _are_numbers(levels):
        scale = {"paddingInner": 0.8, "paddingOuter": 0.4}
        words = all(isinstance(level, str) for level in levels)  # a sorted mixture is no Vega-Lite; data keep the order
        return {
            "field": "level",
            "type": "ordinal",
            "sort": list(levels) if words else None,
            "title": title,
            "scale": scale,
            "axis": {"labelAngle": 0},
        }
    kind: dict[str, Any] = {"type": "log", "base": 2} if is_logarithmic(levels) else {"zero": False}
    scale = {**kind, "nice": False, "padding": PADDING}
    whole = all(float(level).is_integer() for level in levels)
    axis = {"values": list(levels), "format": "d" if whole else ".4~g", "labelOverlap": "greedy"}
    return {"field": "at", "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def is_logarithmic(levels: Sequence[Any]) -> bool:
    """Tell whether levels are drawn on a logarithmic axis.

    Args:
        levels: The levels, rising.

    Returns:
        Whether they are positive numbers, and the last is more than twice the first.
    """
    return _are_numbers(levels) and len(levels) > 1 and levels[0] > 0 and levels[-1] > 2 * levels[0]


def spread(levels: Sequence[Any], level: Any, index: int, count: int) -> Any:
    """Move a level a little to the side, so that the intervals of several variants do not cover one another.

    Args:
        levels: The levels, rising.
        level: One of them.
        index: Which of the variants it is drawn for, from 0.
        count: The number of variants.

    Returns:
        The number to draw it at; a word stays itself.
    """
    if not _are_numbers(levels) or count < 2:
        return level
    side = min(SPREAD, STEP * (count - 1)) * (index / (count - 1) - 0.5)
    pairs = list(itertools.pairwise(levels))
    if is_logarithmic(levels):
        return level * min(high / low for low, high in pairs) ** side
    return level + side * min((high - low for low, high in pairs), default=1)


def accuracy_by_level(
    variants: Variants,
    levels: Sequence[Any],
    by: str,
    metric: str,
    *,
    share: bool,
    beside: bool = True,
    lowest: float = 0.0,
) -> Definition:
    """The means of every variant by level, with bars for their intervals.

    Columns: variant, level, at, mean, low, high, seeds, solved, chance, value, interval.

    Args:
        variants: The variants.
        levels: The levels, rising.
        by: What the levels count.
        metric: What is averaged.
        share: Whether it is a share of 1.
        beside: Whether a level has several variants.
        lowest: Where the axis of a share begins; below 0 for normalized accuracies below chance.

    Returns:
        A Vega-Lite definition without data.
    """
    scale = {"domain": [lowest, 1]} if share and lowest < 0 else {}
    title = None if variants.interactive else f"{metric} (dashed: chance)" if metric == "accuracy" else metric
    x, y = levels_axis(levels, by), quantity("mean", title, share=share, **scale)
    at = {"x": x, **variants.offset(levels, beside=beside)}
    ends = {"y": {**quantity("low", title, share=share, **scale)}, "y2": {"field": "high"}}
    head = tooltip(variant="variant", level=by, value=metric, interval="95 % interval", seeds="seeds", solved="solved")
    bar = {"type": "rule", "strokeWidth": 1.5, "aria": False}
    line = {"type": "line", "strokeWidth": 2, "aria": False}
    dot = {"type": "point", "filled": True, "size": 70}
    channels = {"shape": variants.shape(), "tooltip": head, **variants.channels()}
    layers = [
        {"mark": bar, "encoding": {**at, **ends, **variants.channels(0.55)}},
        {"mark": line, "encoding": {**at, "y": y, **variants.channels()}},
        {"mark": dot, "encoding": {**at, "y": y, **channels}},
    ]
    if metric == "accuracy":
        dashed = {"type": "line", "strokeDash": [4, 4], "color": "#888888", "strokeWidth": 1, "aria": False}
        level = {**x, "field": "level"}
        chance = {**quantity("chance", title, share=share), "aggregate": "mean"}
        layers.insert(0, {"mark": dashed, "encoding": {"x": level, "y": chance}})
    return variants.chart(layers, f"{metric} by {by}, one line for each variant")


def accuracy_of_seeds(variants: Variants, levels: Sequence[Any], by: str, *, beside: bool = True) -> Definition:
    """The accuracy of each run by level, with a line at the mean over seeds.

    Columns: variant, level, at, accuracy, run, seed, value.

    Args:
        variants: The variants.
        levels: The levels, rising.
        by: What the levels count.
        beside: Whether a level has several variants.

    Returns:
        A Vega-Lite definition without data.
    """
    x, y = levels_axis(levels, by), quantity("accuracy", None, share=True)
    at = {"x": x, **variants.offset(levels, beside=beside)}
    head = tooltip(variant="variant", level=by, value="accuracy", seed="seed", run="run")
    mean = {"mark": {"type": "tick", "orient": "horizontal", "thickness": 2, "size": 14, "aria": False}}
    dot = {"type": "point", "filled": True, "size": 55, "cursor": "pointer"}
    channels = {"shape": variants.shape(), "tooltip": head, **variants.channels(0.75)}
    layers: list[Definition] = [
        {**mean, "encoding": {**at, "y": {**y, "aggregate": "mean"}, **variants.channels()}},
        {"mark": dot, "encoding": {**at, "y": y, **channels}},
    ]
    return variants.chart(layers, f"accuracy of each run by {by}")


def curves_of_runs(variants: Variants, field: str, heading: str, *, share: bool) -> Definition:
    """A number of every run by training step, one line for each run.

    Columns: variant, run, seed, step, and the field.

    Args:
        variants: The variants.
        field: The column of the numbers.
        heading: What they are.
        share: Whether they are shares of 1.

    Returns:
        A Vega-Lite definition without data.
    """
    x = quantity("step", "training step", nice=False)
    x["axis"] = {"format": "~s", "tickCount": 4}
    y = quantity(field, None if variants.interactive else heading, share=share)
    shown = {"x": x, "y": y, "detail": {"field": "run"}}
    value = {"field": field, "title": heading, "format": ".1%" if share else ".4~g"}
    head = [*tooltip(variant="variant", seed="seed", step="step", run="run"), value]
    dots = {"size": 12, "filled": True}  # a run that was validated once has no line
    line = {"type": "line", "strokeWidth": 1.5, "point": dots, "aria": False}
    near = {"type": "point", "filled": True, "size": 90, "opacity": 0, "cursor": "pointer", "aria": False}
    layers: list[Definition] = [
        {"mark": line, "encoding": {**shown, **variants.channels(0.85)}},
        {"mark": near, "encoding": {**shown, "tooltip": head, "color": variants.color()}},
    ]
    return variants.chart(layers, f"{heading} by training step, one line for each run")


def _are_numbers(levels: Sequence[Any]) -> bool:
    return all(isinstance(level, int | float) for level in levels)
