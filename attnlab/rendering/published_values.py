"""Published values beside ours, as tables on a screen, in Markdown and on a page, and as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from attnlab.analysis.published_values import PublishedComparison, PublishedRow
from attnlab.formatting import between, metric_heading, number
from attnlab.rendering._exporters import markdown_table
from attnlab.rendering._text_table import TextTable, cell_text

HEADS = ("published", "ours (mean)", "95 %", "best seed", "seeds")
"""Headings beside the variants."""


def published_title(one: PublishedComparison) -> str:
    """Name the source, its table, and what it measured.

    Args:
        one: The comparison.

    Returns:
        One line.
    """
    return f"{one.source}, {one.table}: {one.quantity}"


def about_ours(one: PublishedComparison) -> str:
    """Name what is measured here, and of which runs.

    Args:
        one: The comparison.

    Returns:
        One line.
    """
    return f"ours: {metric_heading(one.metric)}{f', {one.common}' if one.common else ''}"


def why_they_differ(one: PublishedComparison) -> str:
    """Tell why published and own values differ.

    Args:
        one: The comparison.

    Returns:
        What the experiment says, after a heading.
    """
    return f"Why they differ: {one.differs}"


def published_cells(row: PublishedRow, metric: str) -> list[str]:
    """Write one row as text.

    Args:
        row: The row.
        metric: The metric of its numbers.

    Returns:
        A cell for each of :data:`HEADS`.
    """
    ours = [number(row.mean, metric), between(row.interval, metric) or "-", number(row.best, metric)]
    published = row.published if isinstance(row.published, str) else number(row.published, metric)
    return [published, *ours, str(row.seeds) if row.seeds else "-"]


def published_tables(comparisons: tuple[PublishedComparison, ...]) -> Iterator[RenderableType]:
    """Make the tables for a screen.

    Args:
        comparisons: The comparisons of a report.

    Yields:
        Each table, and below it why the values differ.
    """
    for one in comparisons:
        title = Text.assemble(("published values", "bold"), f"  {published_title(one)}\n", (about_ours(one), "dim"))
        rows = [([row.label], [cell_text(text) for text in published_cells(row, one.metric)]) for row in one.rows]
        yield TextTable(["variant"], HEADS, rows, title)
        yield Text(f"{why_they_differ(one)}\n")


def published_markdown(one: PublishedComparison) -> str:
    """Write a comparison as Markdown.

    Args:
        one: The comparison.

    Returns:
        A line above the table, the table, and why the values differ.
    """
    body = [[row.label, *published_cells(row, one.metric)] for row in one.rows]
    table = markdown_table(["variant"], HEADS, body)
    return f"Published values, {published_title(one)}; {about_ours(one)}\n\n{table}\n\n{why_they_differ(one)}"


def published_data(one: PublishedComparison) -> dict[str, Any]:
    """List a comparison as plain data.

    Args:
        one: The comparison.

    Returns:
        ``table``, ``source``, ``quantity``, ``metric``, ``differs``, and ``values``: for each row ``of``, ``as``,
        ``published``, ``mean``, ``interval``, ``best``, ``worst`` and ``seeds``; nan where there is none.
    """
    return {
        "table": one.table,
        "source": one.source,
        "quantity": one.quantity,
        "metric": one.metric,
        "differs": one.differs,
        "values": [
            {
                "of": dict(row.of),
                "as": row.name,
                "published": row.published,
                "mean": row.mean,
                "interval": list(row.interval),
                "best": row.best,
                "worst": row.worst,
                "seeds": row.seeds,
            }
            for row in one.rows
        ],
    }
