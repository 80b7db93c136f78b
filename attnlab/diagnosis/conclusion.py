"""What a diagnosis found, in one line for each variant, before its tables.

    softmax: residual 0.99 -> 0.98 over 12 layers: no collapse

The line compares the ends of one metric: the residual for rank collapse, the gradient of the value weights for
gradients, the entropy for attention; of other diagnoses, and where that one was not measured, the first of the tables.
A judgement is made of the residual and of gradients alone, by how many times they fall or rise between the first layer
and the last; it says what the numbers beside it say, and nothing about why.
"""

from __future__ import annotations

import math

from attnlab.choices import DiagnosisKind
from attnlab.diagnosis.result import Diagnosis, Panel, Series

MAIN: dict[DiagnosisKind, str] = {
    "rank-collapse": "residual",
    "gradients": "value-gradient",
    "attention": "entropy",
}
"""The metric that a diagnosis is told by."""
TIMES = 10.0
"""A residual that falls by this factor has collapsed, and a gradient that falls or rises by it vanishes or explodes."""
CLEAR = 2.0
"""A change by less than this factor is none."""


def conclusions(diagnosis: Diagnosis) -> list[str]:
    """Say what a diagnosis found.

    Args:
        diagnosis: Its result.

    Returns:
        One line for each variant; none where nothing was measured.
    """
    panel = main_panel(diagnosis)
    if panel is None:
        return []
    lines = []
    for series in panel.rows:
        ends = [(index, value) for index, value in enumerate(series.mean) if not math.isnan(value)]
        if not ends:
            continue
        (first, start), (last, end) = ends[0], ends[-1]
        depth = last - first + (panel.columns[0] != "0")
        layers = f"over {depth} layers" if depth > 1 else "in 1 layer"
        found = judgement(panel, series, start, end)
        shown = "below the float floor" if series.below[last] else f"{end:.3g}"
        lines.append(
            f"{series.variant}: {panel.name} {start:.3g} -> {shown} {layers}" + (f": {found}" if found else "")
        )
    return lines


def main_panel(diagnosis: Diagnosis) -> Panel | None:
    """Find the panel that a diagnosis is told by.

    Args:
        diagnosis: Its result.

    Returns:
        That of the kind's own metric, or the first; None where nothing was measured.
    """
    name = MAIN.get(diagnosis.kind)
    named = [panel for panel in diagnosis.panels if panel.name == name]
    return next(iter(named or diagnosis.panels), None)


def judgement(panel: Panel, series: Series, start: float, end: float) -> str:
    """Judge how a metric changes over the layers.

    Args:
        panel: The metric.
        series: The variant.
        start: Its value on the first layer that has one.
        end: Its value on the last.

    Returns:
        A few words; empty for metrics that are told without a judgement.
    """
    if panel.name == "residual":
        fall = math.inf if series.below[-1] or end <= 0 else start / end
        return "rank collapse" if fall >= TIMES else "a fall, no collapse yet" if fall >= CLEAR else "no collapse"
    if panel.name.endswith("-gradient") and start > 0 and end > 0:
        # From the last layer down, as the gradient flows.
        if start / end <= 1 / TIMES:
            return "it vanishes towards the first layer"
        if start / end >= TIMES:
            return "it explodes towards the first layer"
        return "of one size"
    return ""
