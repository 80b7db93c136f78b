"""A report as files: CSV, JSON, Markdown and Parquet, from the same panels as the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attnlab.analysis.cell import Cell, Label
from attnlab.analysis.grid import Grid
from attnlab.formatting import fitted, metric_heading, span
from attnlab.rendering._cell_text import center_text, solved_text, spread_text
from attnlab.rendering._exporters import Rows, exporters, markdown_table
from attnlab.rendering._parquet import parquet_bytes
from attnlab.rendering._tables import CAPACITY_HEADS, chance_line, max_solved_text
from attnlab.rendering._tuned_tables import TITLE, has_tuned_table, tuned_lines, tuned_rows
from attnlab.rendering.answer import Answer
from attnlab.rendering.cells import CELL_SCHEMA, cell_rows, fixed_rows, row_location
from attnlab.rendering.published_values import published_data, published_markdown
from attnlab.rendering.report import Report


def _summaries(panel: Grid, ranks: Mapping[Label, str]) -> Rows:
    """Max solved level and capacity of every variant."""
    result = []
    for row in panel.rows:
        (c50, c50_ends), (c90, c90_ends) = panel.capacities[row]
        result.append(
            {
                **row_location(panel, row),
                "max_solved": panel.max_solved(row),
                "C50": c50,
                "C50_interval": list(c50_ends),
                "C90": c90,
                "C90_interval": list(c90_ends),
                "rank": ranks[row],
            }
        )
    return result


def _answer(one: Answer) -> dict[str, Any]:
    """What is known of a variant and the first."""
    found = one.comparison
    return {
        "task": found.task,
        "variant": found.variant,
        "reference": found.reference,
        "decided": one.decided,
        "text": one.text,
        "seeds": found.seeds,
        "solved_up_to": found.solved_up_to(found.ours),
        "reference_solved_up_to": found.solved_up_to(found.theirs),
    }


def _tuned(report: Report) -> Rows:
    """What was tried of fields whose values are told; nothing where none was tuned."""
    return [row for panel in report.panels if has_tuned_table(panel) for row in tuned_rows(panel)]


def report_data(report: Report) -> dict[str, Any]:
    """List cells, summaries, claims and published values as plain data.

    Args:
        report: The report.

    Returns:
        The data, with nan and infinite numbers.
    """
    fields = report.ladders[0].row_fields if report.ladders else ()
    return {
        "question": report.question,
        "opening": report.opening,
        "answers": [_answer(one) for one in report.answers],
        "records": len(report.records),
        "failed": report.failed,
        "diverged": report.diverged,
        "cells": cell_rows(report.panels),
        **({"tuned": tuned} if (tuned := _tuned(report)) else {}),
        "summaries": [summary for panel in report.ladders for summary in _summaries(panel, report.ranks_of(panel))],
        "overall": [
            {
                **dict(zip(fields, one.row, strict=True)),
                "interquartile_mean": one.mean[0],
                "interquartile_mean_interval": list(one.mean[1]),
                "beats_first": one.improvement[0],
                "beats_first_interval": list(one.improvement[1]),
            }
            for one in report.overall
        ],
        "claims": [
            {
                "says": one.statement,
                "outcome": one.outcome,
                "evidence": one.evidence,
                "estimate": one.estimate,
                "interval": list(one.interval),
            }
            for one in report.claims
        ],
        "published_values": [published_data(one) for one in report.published],
        "notes": report.footnotes(),
    }


def report_markdown(report: Report) -> str:
    """Write one table per panel and one of its capacities, one of the claims, and those of published values.

    Args:
        report: The report.

    Returns:
        Markdown.
    """
    parts = [f"**{report.question}**"] if report.question else []
    parts += report.opening
    ladders = report.ladders
    for panel in report.panels:
        body = [[*row, *(_cell_text(cell, panel.metric) for cell in panel.across(row))] for row in panel.rows]
        if chance := chance_line(panel):
            body.append([*chance[0], *chance[1]])
        table = markdown_table(panel.row_fields, [str(column) for column in panel.columns], body)
        parts.append(f"{panel.title}: {metric_heading(panel.metric)} by {panel.by}\n\n{table}")
        if has_tuned_table(panel):
            tuned = [[*label, *texts] for label, texts in tuned_lines(panel)]
            fields = (*panel.row_fields, *panel.tuned)
            parts.append(f"{TITLE}\n\n{markdown_table(fields, [str(column) for column in panel.columns], tuned)}")
        if panel in ladders and len(panel.columns) > 1:
            parts.append(markdown_table(panel.row_fields, CAPACITY_HEADS, _capacities(panel, report.ranks_of(panel))))
    if report.claims:
        claims = [[one.statement, one.outcome, one.evidence] for one in report.claims]
        parts.append(markdown_table(("claim", "outcome", "evidence"), (), claims))
    parts += [published_markdown(one) for one in report.published]
    parts.append(" ".join(report.footnotes()))
    return "\n\n".join(parts) + "\n"


def _cell_text(cell: Cell, metric: str) -> str:
    """The mean with its interval, the number of seeds, and the solved runs with the interval of P(solve)."""
    if not cell.values:
        return "failed" if cell.failed else "-"
    ends = spread_text(cell, metric)
    notes = [ends, f"n={len(cell.values)}", f"solved {solved}" if (solved := solved_text(cell)) else ""]
    return f"{center_text(cell, metric)} ({'; '.join(filter(None, notes))})"


def _capacities(panel: Grid, ranks: Mapping[Label, str]) -> list[list[str]]:
    """The lines of the capacity table."""
    body = []
    for row in panel.rows:
        cells = [max_solved_text(panel, row)]
        for value, ends in panel.capacities[row]:
            levels = panel.levels_run(row)
            interval = span(ends, levels)
            cells.append(fitted(value, levels) + (f" ({interval})" if interval else ""))
        body.append([*row, *cells, ranks[row]])
    return body


FORMATS: dict[str, Callable[[Report], bytes]] = exporters(
    lambda report: cell_rows(report.panels),
    report_data,
    report_markdown,
    lambda report: parquet_bytes(fixed_rows(report.panels), CELL_SCHEMA),
)
"""Exporters of a report, by format."""
as_markdown = FORMATS["markdown"]
