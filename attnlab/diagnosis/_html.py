"""A diagnosis as HTML for a notebook: for each metric a table of variants by layers."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from attnlab.formatting import printable

if TYPE_CHECKING:
    from attnlab.diagnosis.result import Diagnosis, Panel


def diagnosis_html(diagnosis: Diagnosis) -> str:
    """Write the panels and notes of a diagnosis.

    Args:
        diagnosis: The diagnosis.

    Returns:
        HTML without scripts; texts are escaped.
    """
    parts = [f"<p><b>{_text(diagnosis.kind)}</b> {_text(diagnosis.subject)}</p>", *map(_table, diagnosis.panels)]
    return "".join([*parts, *(f"<p><small>{_text(note)}</small></p>" for note in diagnosis.notes)])


def _table(panel: Panel) -> str:
    """One metric: the mean over seeds of each variant at each layer."""
    matrix = f" of {_text(panel.matrix)}" if panel.matrix else ""
    heads = "".join(f"<th>{_text(name)}</th>" for name in ("", *panel.columns))
    rows = "".join(
        f"<tr><th>{_text(series.variant)}</th>{''.join(f'<td>{_number(value)}</td>' for value in series.mean)}</tr>"
        for series in panel.rows
    )
    caption = f"<caption><b>{_text(panel.name)}</b>{matrix}: {_text(panel.summary)}</caption>"
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _number(value: float) -> str:
    """Four digits; a dash where nothing was measured."""
    return "-" if math.isnan(value) else f"{value:.4g}"


def _text(text: str) -> str:
    """Text without markup and control characters."""
    return escape(printable(text))
