"""A report as files: CSV, JSON, Markdown and Parquet, from the same panels as the tables."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from attnlab.analysis.grid import Grid
from attnlab.errors import InvalidValueError
from attnlab.formatting import between, fitted, number, span, unit
from attnlab.rendering._tables import ranked
from attnlab.rendering.report import Report

Rows = list[dict[str, Any]]


def rows(panels: Sequence[Grid]) -> Rows:
    """Every cell of every panel as plain data, with the same columns throughout."""
    listed = [row for panel in panels for row in plain(panel)]
    heads = list(dict.fromkeys(name for row in listed for name in row))
    return [{name: row.get(name) for name in heads} for row in listed]


def plain(panel: Grid) -> Rows:
    """The cells of a panel that hold runs."""
    result = []
    for row in panel.rows:
        for column in panel.columns:
            cell = panel.cells.get((row, column))
            if cell is None:
                continue
            result.append(
                {
                    **place(panel),
                    **dict(zip(panel.row_fields, row, strict=True)),
                    panel.column_field: column,
                    "value": panel.metric,
                    "mean": cell.mean,
                    "low": cell.interval[0],
                    "high": cell.interval[1],
                    "n": len(cell.values),
                    "solved": sum(cell.solved),
                    "runs": len(cell.solved),
                    "chance": cell.chance,
                    "chosen": cell.chosen,
                    "tried": cell.tried,
                    "failed": cell.failed,
                    "diverged": cell.diverged,
                }
            )
    return result


def summaries(panel: Grid) -> Rows:
    """Reach and capacity of every variant."""
    result, ranks = [], ranked(panel)
    for row in panel.rows:
        (half, half_ends), (most, most_ends) = panel.capacities[row]
        result.append(
            {
                **place(panel),
                **dict(zip(panel.row_fields, row, strict=True)),
                "reach": panel.max_solved(row),
                "C50": half,
                "C50 interval": list(half_ends),
                "C90": most,
                "C90 interval": list(most_ends),
                "rank": ranks[row],
            }
        )
    return result


def as_csv(report: Report) -> bytes:
    """One line per cell."""
    return lined(rows(report.panels))


def as_json(report: Report) -> bytes:
    """Cells, summaries and claims: strict JSON."""
    fields = report.ladders[0].row_fields if report.ladders else ()
    data = {
        "question": report.question,
        "records": len(report.records),
        "failed": report.failed,
        "diverged": report.diverged,
        "cells": rows(report.panels),
        "summaries": [summary for panel in report.ladders for summary in summaries(panel)],
        "overall": [
            {
                **dict(zip(fields, one.row, strict=True)),
                "interquartile mean": one.middle[0],
                "interquartile mean interval": list(one.middle[1]),
                "beats first": one.better[0],
                "beats first interval": list(one.better[1]),
            }
            for one in report.overall
        ],
        "claims": [
            {
                "says": one.statement,
                "outcome": one.outcome,
                "evidence": one.evidence,
                "figure": one.figure,
                "interval": list(one.interval),
            }
            for one in report.claims
        ],
        "notes": report.footnotes(),
    }
    return json.dumps(tidy(data), indent=1, allow_nan=False).encode() + b"\n"


def as_markdown(report: Report) -> bytes:
    """One table per panel and one of its capacities, one over all, one of claims."""
    parts = [f"**{report.question}**"] if report.question else []
    ladders = report.ladders
    for panel in report.panels:
        body = [[*row, *(_said(cell, panel.metric) for cell in panel.across(row))] for row in panel.rows]
        table = piped(panel.row_fields, [str(column) for column in panel.columns], body)
        parts.append(f"{panel.title}: {panel.metric}{unit(panel.metric)} by {panel.by}\n\n{table}")
        if panel in ladders and len(panel.columns) > 1:
            parts.append(piped(panel.row_fields, ("reach", "C50", "C90", "rank"), _capacities(panel)))
    if report.claims:
        claims = [[outcome.statement, outcome.outcome, outcome.evidence] for outcome in report.claims]
        parts.append(piped(("claim", "outcome", "evidence"), (), claims))
    parts.append(" ".join(report.footnotes()))
    return ("\n\n".join(parts) + "\n").encode()


def as_parquet(report: Report) -> bytes:
    """One row per cell.

    Raises:
        InvalidValueError: the library that writes Parquet is not installed.
    """
    return columned(rows(report.panels))


def lined(listed: Rows) -> bytes:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(listed[0]) if listed else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if missing(value) else value for name, value in row.items()} for row in listed)
    return text.getvalue().encode()


def columned(listed: Rows) -> bytes:
    """Rows as Parquet.

    Raises:
        InvalidValueError: the library that writes it is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        hint = "Install it with: pip install 'attnlab[parquet]'."
        raise InvalidValueError("Parquet needs the library pyarrow.", hint, where="--parquet") from None
    heads = list(listed[0]) if listed else []
    columns = {name: _alike([row[name] for row in listed]) for name in heads}
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def tidy(data: Any) -> Any:
    """Data that strict JSON can hold: what is no number is null, what is infinite is a word."""
    if isinstance(data, dict):
        return {key: tidy(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [tidy(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None if math.isnan(data) else "inf" if data > 0 else "-inf"
    return data


def piped(names: Sequence[str], numbers: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table: columns of words, then columns of numbers."""
    lines = [[*names, *numbers], ["---"] * len(names) + ["---:"] * len(numbers), *body]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def missing(value: Any) -> bool:
    """Whether there is no value."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def place(panel: Grid) -> dict[str, Any]:
    """What a panel is of."""
    stored = panel.panel
    return {
        "task": stored.task,
        "subtask": stored.subtask,
        "complexity": stored.complexity,
        "trained on": stored.trained,
    }


def _said(cell: Any, value: str) -> str:
    if not cell.values:
        return "failed" if cell.failed else "-"
    ends = between(cell.interval, value)
    return f"{number(cell.mean, value)} ({f'{ends}; ' if ends else ''}n={len(cell.values)})"


def _capacities(panel: Grid) -> list[list[str]]:
    body, ranks = [], ranked(panel)
    for row in panel.rows:
        cells = ["none" if panel.max_solved(row) is None else str(panel.max_solved(row))]
        for middle, ends in panel.capacities[row]:
            said = span(ends, panel.columns)
            cells.append(fitted(middle, panel.columns) + (f" ({said})" if said else ""))
        body.append([*row, *cells, ranks[row]])
    return body


def _alike(values: Sequence[Any]) -> list[Any]:
    """A column of one type: levels may be words on one ladder and numbers on another."""
    kinds = {type(value) for value in values if value is not None}
    return list(values) if kinds <= {int, float} or len(kinds) < 2 else [None if v is None else str(v) for v in values]


FORMATS: dict[str, Callable[[Report], bytes]] = {
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
    "parquet": as_parquet,
}
