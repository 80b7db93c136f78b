"""A diagnosis as text: for each metric a table of variants by layers, with curves on one scale, and attention maps."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from attnlab.diagnosis.conclusion import conclusions
from attnlab.diagnosis.result import Diagnosis, Panel, Series
from attnlab.rendering._attention_map import HeadMap
from attnlab.rendering._exporters import csv_bytes, json_data
from attnlab.rendering._sparkline import bars

CURVE = 14
"""Columns of a curve, and of the decay below it."""
LABEL = 14
"""Names of up to this many columns are beside their numbers; longer ones are where every layer still fits."""
CELL = 7
"""Columns of a number with the gap before it."""
FEW_LAYERS = 6
"""Up to this many layers fit a screen of 80 columns."""
TOP_HEAD, TOP_HEAD_LONG = 8, 17
"""Columns of the head with the largest value of a metric: as ``L2 H1``, or in words where every layer still fits."""


@dataclass(frozen=True)
class DiagnosisView:
    """A diagnosis on a screen."""

    diagnosis: Diagnosis
    all_layers: bool = False
    """Whether every layer has its column, in several blocks where they do not fit side by side."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Heading, conclusion, panels, maps, footnotes."""
        diagnosis = self.diagnosis
        yield Text.assemble((diagnosis.kind, "bold"), (f"  {diagnosis.subject}", "dim"))
        found = Table.grid(padding=(0, 2))
        for index, line in enumerate(conclusions(diagnosis)):
            found.add_row(Text("" if index else "in short", style="bold green"), Text(line))
        if found.row_count:
            yield found
        for panel in diagnosis.panels:
            yield Text("")
            # Effective matrices are what a metric is defined on; every other kind is named.
            label = f" of {panel.matrix}" if panel.matrix not in ("", "effective matrix") else ""
            yield Text.assemble((panel.name, "bold cyan"), (label, "bold"), (f"  {panel.summary}", "dim"))
            yield from _panel_lines(panel, options.max_width, self.all_layers)
        for one in diagnosis.maps:
            yield HeadMap(one)
        yield Text("")
        for line in _footnotes(diagnosis, self.all_layers):
            yield Text(line, style="dim")


@dataclass(frozen=True)
class MetricCard:
    """The documentation of a metric."""

    name: str
    diagnosis: str
    summary: str
    formula: str
    source: str
    point: str
    collapse: str
    mean: str

    def __rich__(self) -> RenderableType:
        """Heading, definition, and the command that measures the metric."""
        grid = Table.grid(padding=(0, 2))
        for label, text in (
            ("Formula", self.formula),
            ("Measured", self.point),
            ("Under rank collapse", self.collapse),
            ("Mean", f"{self.mean}, over the sequences of a batch, then over seeds"),
            ("Source", self.source),
        ):
            grid.add_row(Text(label, style="bold"), Text(text))
        head = Text.assemble((self.name, "bold"), ("  metric", "dim"))
        command = Text(f"attnlab diagnose {self.diagnosis} --only {self.name}", style="dim")
        return Group(head, Text(self.summary), Text(""), grid, Text(""), command)

    def data(self) -> dict[str, str]:
        """The card as plain data."""
        return dataclasses.asdict(self) | {"kind": "metric"}


def _panel_lines(panel: Panel, width: int, all_layers: bool) -> Iterator[Text]:
    """Variants by layers, with as many layers as fit the width, or all in blocks; below each number its spread.

    A name is never broken: where one is too long to be beside its numbers, all names are above them.
    """
    has_heads = any(series.top_head for series in panel.rows)
    longest = max(len(series.variant) for series in panel.rows)
    needed = max(len("layer"), longest) + CELL * len(panel.columns) + 2 + CURVE + TOP_HEAD_LONG
    in_words = needed <= width
    top_width = (TOP_HEAD_LONG if in_words else TOP_HEAD) if has_heads else 0
    free = width - 2 - CURVE - top_width
    beside = longest <= max(LABEL, free - CELL * len(panel.columns))
    label = max(len("layer"), longest if beside else 0)
    fit = max(2, (free - label) // CELL)
    blocks = [shown_columns(len(panel.columns), fit)]
    if all_layers:
        blocks = [list(range(len(panel.columns)))[start : start + fit] for start in range(0, len(panel.columns), fit)]
    for shown in blocks:
        yield from _block_lines(panel, shown, label, beside=beside, in_words=in_words, top_width=top_width)


def _block_lines(
    panel: Panel, shown: list[int], label: int, *, beside: bool, in_words: bool, top_width: int
) -> Iterator[Text]:
    """Variants by some of the layers."""
    heads = "".join(panel.columns[column].rjust(CELL) for column in shown)
    top_heading = "top head".rjust(top_width) if top_width else ""
    yield Text(f"{'layer'.ljust(label)}{heads}  {'curve'.ljust(CURVE)}{top_heading}".rstrip(), style="dim")
    ends = curve_range(panel)
    for series in panel.rows:
        if not beside:
            yield Text(series.variant, no_wrap=True, overflow="ignore")
        cells = [_cell(series, column) for column in shown]
        curve = _curve(series, panel, ends)
        head = series.top_head
        name_of_head = "layer {0.layer} head {0.head}" if in_words else "L{0.layer} H{0.head}"
        top = (short_number(head.value), name_of_head.format(head)) if head else ("", "")
        for below, name in enumerate((series.variant if beside else "", "")):
            line = Text(name.ljust(label))
            for upper, lower, style in cells:
                line.append((upper, lower)[below].rjust(CELL), style="dim" if below else style)
            line.append(f"  {curve[below].ljust(CURVE)}", style="dim" if below else "green")
            line.append(top[below].rjust(top_width), style="dim" if below else "")
            line.rstrip()
            if line.plain:
                yield line


def shown_columns(count: int, fit: int) -> list[int]:
    """Choose the columns that are shown: all, or evenly spaced ones with both ends.

    >>> shown_columns(13, 5)
    [0, 3, 6, 9, 12]

    Args:
        count: How many columns there are.
        fit: How many columns fit.

    Returns:
        The indices of the columns.
    """
    if count <= fit:
        return list(range(count))
    return sorted({round(index * (count - 1) / (fit - 1)) for index in range(fit)})


def _cell(series: Series, column: int) -> tuple[str, str, str]:
    """A number, its spread, its style; a value below the float floor is marked and not printed."""
    value, spread = series.mean[column], series.spread[column]
    if series.below[column]:
        return (">1e12" if value > 1 else "<1e-12", "", "red")
    known = not (math.isnan(value) or math.isnan(spread))
    return short_number(value), f"±{short_spread(spread)}" if known else "", ""


def _curve(series: Series, panel: Panel, ends: tuple[float, float]) -> tuple[str, str]:
    """The curve over all layers on the scale of the panel, and the decay below it."""
    heights = [_height(value, below, panel.geometric) for value, below in zip(series.mean, series.below, strict=True)]
    (line,) = bars(heights, width=CURVE, height=1, low=ends[0], high=ends[1])
    decay = series.decay
    return line, f"×{decay.rate:.2f} R² {decay.fit:.2f}" if decay else ""


def curve_range(panel: Panel) -> tuple[float, float]:
    """Find the range of the heights of all rows: one scale for all curves of a panel.

    Args:
        panel: One metric of all variants.

    Returns:
        The smallest and the largest height; logarithms where the metric is geometric.
    """
    heights = [
        _height(value, below, panel.geometric)
        for series in panel.rows
        for value, below in zip(series.mean, series.below, strict=True)
    ]
    finite = [value for value in heights if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 1.0)


def _height(value: float, below: bool, geometric: bool) -> float:
    """The height of a value in a curve: its logarithm where the metric is geometric; nan below the float floor."""
    if below or not math.isfinite(value) or (geometric and value <= 0):
        return math.nan
    return math.log10(value) if geometric else value


def short_number(value: float) -> str:
    """Format a number in at most six characters.

    >>> short_number(0.98765), short_number(31.98), short_number(0.000123), short_number(4321.0), short_number(2.5e7)
    ('0.988', '32.0', '1.2e-4', '4321', '2.5e7')
    >>> short_number(0.0), short_number(-0.5)
    ('0', '-0.500')

    Args:
        value: The number; nan is a dash.

    Returns:
        The number as text.
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.001 or size >= 99_999.5:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits}e{int(power)}" if len(f"{digits}e{int(power)}") <= 6 else f"{value:.0e}".replace("e-0", "e-")
    return f"{value:.3f}" if size < 9.9995 else f"{value:.1f}" if size < 99.95 else f"{value:.0f}"


def short_spread(value: float) -> str:
    """Format a spread in one digit.

    >>> short_spread(0.0312), short_spread(0.00031), short_spread(2.6), short_spread(0.0)
    ('.03', '3e-4', '3', '0')

    Args:
        value: The spread, not negative.

    Returns:
        The spread as text.
    """
    if value == 0 or value >= 0.95:
        return f"{value:.0f}"
    return f"{value:.0e}".replace("e-0", "e-") if value < 0.00095 else f"{value:.1g}".lstrip("0")


def _footnotes(diagnosis: Diagnosis, all_layers: bool) -> Iterator[str]:
    """How the numbers were computed, and the notes of the diagnosis."""
    rows = [series for panel in diagnosis.panels for series in panel.rows]
    seeds = max((len(series.seeds) for series in rows), default=0)
    notes = []
    if seeds > 1:
        notes.append(f"Means over {seeds} seeds ± their standard deviation; geometric where a metric spans decades.")
    if any(series.decay for series in rows):
        notes.append("× is the factor per layer, R² that of a straight line through the logarithms.")
    if not all_layers and any(len(panel.columns) > FEW_LAYERS for panel in diagnosis.panels):
        notes.append("Every layer: --all-layers, --csv or --json.")
    if any(series.top_head for series in rows):
        notes.append("Top head: the largest value of a single head.")
    if any(any(series.below) for series in rows):
        notes.append("<1e-12 is below the float floor: rounding error, not drawn and not fitted.")
    if any(math.isnan(value) for series in rows for value in series.mean):
        notes.append("A dash: there is nothing to measure.")
    if diagnosis.panels:
        notes.append("The curves of one table have one scale. Definitions: attnlab show metric:NAME.")
    yield " ".join(notes)
    yield from diagnosis.notes


def as_json(diagnosis: Diagnosis) -> str:
    """Write a diagnosis as strict JSON.

    Args:
        diagnosis: The diagnosis.

    Returns:
        All of its data; nan is null.
    """
    return json.dumps(json_data({**diagnosis.data(), "conclusions": conclusions(diagnosis)})) + "\n"


def as_csv(diagnosis: Diagnosis) -> bytes:
    """Write a diagnosis as CSV.

    Args:
        diagnosis: The diagnosis.

    Returns:
        One line for each metric, variant, layer and seed, and for each head.
    """
    return csv_bytes(diagnosis.rows())
