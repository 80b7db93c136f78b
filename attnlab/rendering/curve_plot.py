"""The learning curves of runs as a plot: validation accuracy and losses by training step, one line for each run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attnlab.charts.runs import CURVES, Definition, Variants, curves_of_runs
from attnlab.errors import InvalidValueError
from attnlab.records import Record
from attnlab.rendering import _run_rows as run_rows
from attnlab.rendering.plot import HEIGHT, WIDTH, combined, write


def draw_curves(records: Sequence[Record], labels: Sequence[str], path: Path) -> bytes:
    """Draw the learning curves in the format that the ending of a path names.

    Args:
        records: The runs.
        labels: Their labels.
        path: The file, of which only the ending is used: ``.html``, ``.svg``, ``.png`` or ``.pdf``.

    Returns:
        The content of the file.

    Raises:
        InvalidValueError: The path has another ending, no run has a validation, or the plotting library is not
            installed.
    """
    return write(lambda: definition(records, labels), path)


def definition(records: Sequence[Record], labels: Sequence[str]) -> Definition:
    """Define the chart of the curves.

    Args:
        records: The runs.
        labels: Their labels.

    Returns:
        A Vega-Lite definition with its data: a panel for each measure that was recorded.

    Raises:
        InvalidValueError: No run has a validation.
    """
    names = [f"{record.id} {label}" for record, label in zip(records, labels, strict=True)]
    rows = run_rows.curve_rows(records, names)
    if not rows:
        raise InvalidValueError("No validation was recorded.", "Plot a run that has one.", where="--plot")
    parts = []
    unit = run_rows.loss_unit(records)
    for column, what, share in CURVES:
        heading = what if share else f"{what}{unit}"
        if own := [row for row in rows if row[column] is not None]:
            one = curves_of_runs(Variants(tuple(names), columns=1), column, heading, share=share)
            parts.append({**one, "data": {"values": own}, "width": WIDTH, "height": HEIGHT})
    return combined(parts)
