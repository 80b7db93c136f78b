"""A diagnosis, drawn: for each metric a table of variants by layers, a curve on one shared scale, and head maps."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from attnlab.diagnosis.result import Diagnosis, Panel, Series
from attnlab.rendering._attention_map import HeadMap
from attnlab.rendering._sparkline import bars
from attnlab.rendering.export import lined, tidy

CURVE = 14
"""Columns of a curve, and of the decay below it."""
LABEL = 14
"""Columns of a variant's name that always stand beside its numbers; longer ones do where every layer still fits."""
CELL = 7
"""Columns of a number with the gap before it."""
MOST = 8
"""Columns of the head in which a metric is greatest."""


@dataclass(frozen=True)
class Drawn:
    """A diagnosis on a screen."""

    diagnosis: Diagnosis

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Headline, panels, notes, maps."""
        diagnosis = self.diagnosis
        yield Text.assemble((diagnosis.kind, "bold"), (f"  {diagnosis.subject}", "dim"))
        for panel in diagnosis.panels:
            yield Text("")
            yield Text.assemble((panel.name, "bold cyan"), (f"  {panel.summary}", "dim"))
            yield from lines(panel, options.max_width)
        for one in diagnosis.maps:
            yield HeadMap(one)
        yield Text("")
        for line in footnotes(diagnosis):
            yield Text(line, style="dim")


@dataclass(frozen=True)
class MetricCard:
    """All that is known of a metric."""

    name: str
    diagnosis: str
    summary: str
    formula: str
    source: str
    point: str
    collapse: str
    mean: str

    def __rich__(self) -> RenderableType:
        """Headline, what it is, and the command that measures it."""
        grid = Table.grid(padding=(0, 2))
        for label, text in (
            ("Formula", self.formula),
            ("Measured", self.point),
            ("Collapse", self.collapse),
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


def lines(panel: Panel, width: int) -> Iterator[Text]:
    """Variants by layers, thinned to the width; below each number its spread over seeds.

    A name is never broken: where one is too long to stand beside its numbers, all stand above them.
    """
    ahead = any(series.greatest for series in panel.rows)
    free = width - 2 - CURVE - (MOST if ahead else 0)
    longest = max(len(series.variant) for series in panel.rows)
    beside = longest <= max(LABEL, free - CELL * len(panel.columns))
    label = max(len("layer"), longest if beside else 0)
    shown = places(len(panel.columns), max(2, (free - label) // CELL))
    heads = "".join(panel.columns[place].rjust(CELL) for place in shown)
    yield Text(
        f"{'layer'.ljust(label)}{heads}  {'curve'.ljust(CURVE)}{'top head' if ahead else ''}".rstrip(), style="dim"
    )
    ends = scale(panel)
    for series in panel.rows:
        if not beside:
            yield Text(series.variant, no_wrap=True, overflow="ignore")
        cells = [cell(series, place) for place in shown]
        curve = curve_of(series, panel, ends)
        most = series.greatest
        top = (brief(most.value), f"{most.layer}.{most.head}") if most else ("", "")
        for below, name in enumerate((series.variant if beside else "", "")):
            line = Text(name.ljust(label))
            for above, under, style in cells:
                line.append((above, under)[below].rjust(CELL), style="dim" if below else style)
            line.append(f"  {curve[below].ljust(CURVE)}", style="dim" if below else "green")
            line.append((top[below]).rjust(MOST) if ahead else "", style="dim" if below else "")
            line.rstrip()
            if line.plain:
                yield line


def places(count: int, most: int) -> list[int]:
    """Which of the columns are shown: all, or evenly spread ones with both ends.

    >>> places(13, 5)
    [0, 3, 6, 9, 12]
    """
    if count <= most:
        return list(range(count))
    return sorted({round(index * (count - 1) / (most - 1)) for index in range(most)})


def cell(series: Series, place: int) -> tuple[str, str, str]:
    """A number, its spread, its style; what lies below the floor is said, never printed as data."""
    value, spread = series.mean[place], series.spread[place]
    if series.below[place]:
        return (">1e12" if value > 1 else "<1e-12", "", "red")
    known = not (math.isnan(value) or math.isnan(spread))
    return brief(value), f"±{rough(spread)}" if known else "", ""


def curve_of(series: Series, panel: Panel, ends: tuple[float, float]) -> tuple[str, str]:
    """The curve over all layers on the panel's scale, and the decay below it."""
    heights = [height(value, below, panel.geometric) for value, below in zip(series.mean, series.below, strict=True)]
    (line,) = bars(heights, width=CURVE, height=1, low=ends[0], high=ends[1])
    decay = series.decay
    return line, f"×{decay.rate:.2f} R² {decay.fit:.2f}" if decay else ""


def scale(panel: Panel) -> tuple[float, float]:
    """The least and greatest height of all rows: one scale for all curves of a panel."""
    result = [
        height(value, below, panel.geometric)
        for series in panel.rows
        for value, below in zip(series.mean, series.below, strict=True)
    ]
    finite = [value for value in result if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 1.0)


def height(value: float, below: bool, geometric: bool) -> float:
    """How high a value stands in a curve: its logarithm where it spans decades, nowhere below the floor."""
    if below or not math.isfinite(value) or (geometric and value <= 0):
        return math.nan
    return math.log10(value) if geometric else value


def brief(value: float) -> str:
    """A number in six characters at most.

    >>> brief(0.98765), brief(31.98), brief(0.000123), brief(4321.0), brief(0.0), brief(-0.5), brief(2.5e7)
    ('0.988', '32.0', '1.2e-4', '4321', '0', '-0.500', '2.5e7')
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


def rough(value: float) -> str:
    """A spread, in one digit.

    >>> rough(0.0312), rough(0.00031), rough(2.6), rough(0.0)
    ('.03', '3e-4', '3', '0')
    """
    if value == 0 or value >= 0.95:
        return f"{value:.0f}"
    return f"{value:.0e}".replace("e-0", "e-") if value < 0.00095 else f"{value:.1g}".lstrip("0")


def footnotes(diagnosis: Diagnosis) -> Iterator[str]:
    """What the numbers are."""
    seeds = max((len(series.seeds) for panel in diagnosis.panels for series in panel.rows), default=0)
    words = []
    if seeds > 1:
        words.append(f"Means over {seeds} seeds ± their standard deviation; geometric where a metric spans decades.")
    if any(series.decay for panel in diagnosis.panels for series in panel.rows):
        words.append("× is what each layer multiplies a value by, R² the fit of that line in the logarithm.")
    if any(any(series.below) for panel in diagnosis.panels for series in panel.rows):
        words.append("<1e-12 is below the float floor: rounding, not drawn and not fitted.")
    if any(math.isnan(value) for panel in diagnosis.panels for series in panel.rows for value in series.mean):
        words.append("A dash: there is nothing to measure.")
    if diagnosis.panels:
        words.append("Curves of one table share one scale. Definitions: attnlab show metric:NAME.")
    yield " ".join(words)
    yield from diagnosis.notes


def as_json(diagnosis: Diagnosis) -> str:
    """All of it; what is no number is null."""
    return json.dumps(tidy(diagnosis.data())) + "\n"


def as_csv(diagnosis: Diagnosis) -> bytes:
    """One line for each metric, variant, layer and seed, and for each head."""
    return lined(diagnosis.rows())
