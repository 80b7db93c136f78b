"""The learning curves of runs as a plot: validation accuracy and training loss by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnlab.errors import InvalidValueError
from attnlab.records import Record
from attnlab.rendering.plot import COLORS, ENDINGS, HEIGHT, WIDTH, WRITERS


def draw_curves(records: Sequence[Record], labels: Sequence[str], path: Path) -> bytes:
    """Draw the learning curves in the format that the ending of a path names.

    Args:
        records: The runs.
        labels: Their labels.
        path: The file, of which only the ending is used: ``.html``, ``.svg`` or ``.png``.

    Returns:
        The content of the file.

    Raises:
        InvalidValueError: The path has another ending, no run has a validation, or the plotting libraries are not
            installed.
    """
    if path.suffix not in WRITERS:
        hint = f"Give a file name that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}."
        raise InvalidValueError(f"'{path}' is not a plot format.", hint, where="--plot")
    try:
        import altair
        import vl_convert  # noqa: F401  altair needs it for every format but JSON
    except ImportError:
        hint = "Install them with: pip install 'attnlab[plots]'."
        raise InvalidValueError("Plots need the libraries altair and vl-convert.", hint, where="--plot") from None
    points = [
        {"run": f"{record.id} {label}", "step": point.step, "accuracy": point.accuracy, "loss": _finite(point.loss)}
        for record, label in zip(records, labels, strict=True)
        for point in record.history
    ]
    if not points:
        raise InvalidValueError("No validation was recorded.", "Plot a run that has one.", where="--plot")
    return WRITERS[path.suffix](_chart(altair, points))


def _chart(altair: Any, points: Sequence[Mapping[str, Any]]) -> Any:
    """Accuracy and loss side by side."""
    names = list(dict.fromkeys(str(point["run"]) for point in points))
    colors = altair.Scale(domain=names, range=[COLORS[index % len(COLORS)] for index in range(len(names))])
    legend = altair.Legend(orient="bottom", direction="vertical", labelLimit=0)
    color = altair.Color("run:N", scale=colors, title=None, legend=legend)
    base = altair.Chart(altair.Data(values=points)).mark_line(point=True)
    axes: list[tuple[str, Any, str, str]] = [
        ("accuracy", altair.Scale(domain=[0, 1]), "%", "validation accuracy"),
        ("loss", altair.Scale(zero=True), "~g", "training loss in nats per question"),
    ]
    panels = [
        base.encode(
            x=altair.X("step:Q", title="step"),
            y=altair.Y(f"{name}:Q", scale=scale, axis=altair.Axis(format=form), title=title),
            color=color,
            tooltip=["run:N", "step:Q", f"{name}:Q"],
        ).properties(width=WIDTH, height=HEIGHT)
        for name, scale, form, title in axes
    ]
    return altair.hconcat(*panels).configure_view(stroke=None)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
