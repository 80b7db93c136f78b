"""Tables as files: CSV, strict JSON and Markdown; Parquet is written by :mod:`attnlab.rendering._parquet`."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from attnlab.formatting import printable

T = TypeVar("T")
Rows = list[dict[str, Any]]


def exporters(
    cells: Callable[[T], Rows],
    data: Callable[[T], dict[str, Any]],
    markdown: Callable[[T], str],
    parquet: Callable[[T], bytes],
) -> dict[str, Callable[[T], bytes]]:
    """The exporters of a value, by format.

    Args:
        cells: Lists its cells, for CSV.
        data: Gives all of it, for JSON.
        markdown: Writes its tables.
        parquet: Writes its cells as Parquet.
    """
    return {
        "csv": lambda value: csv_bytes(cells(value)),
        "json": lambda value: json_bytes(data(value)),
        "markdown": lambda value: markdown(value).encode(),
        "parquet": parquet,
    }


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula begins with in spreadsheets."""


def aligned_rows(rows: Iterable[dict[str, Any]]) -> Rows:
    """Rows with the same columns throughout; a value that a row does not have is None."""
    listed = list(rows)
    heads = list(dict.fromkeys(name for row in listed for name in row))
    return [{name: row.get(name) for name in heads} for row in listed]


def csv_bytes(rows: Rows) -> bytes:
    """Rows as CSV; None and nan are empty, and no text is a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if is_missing(value) else _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A cell of CSV; a spreadsheet would compute a text that begins like a formula, such as a name from elsewhere."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def json_bytes(data: Any) -> bytes:
    """Data as strict JSON, indented."""
    return json.dumps(json_data(data), indent=1, allow_nan=False).encode() + b"\n"


def json_data(data: Any) -> Any:
    """Data that strict JSON can hold: nan is null, infinity is a string."""
    if isinstance(data, dict):
        return {key: json_data(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [json_data(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None if math.isnan(data) else "inf" if data > 0 else "-inf"
    return data


def printable_data(data: Any) -> Any:
    """Data without control characters in its texts, keys included."""
    if isinstance(data, dict):
        return {printable_data(key): printable_data(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [printable_data(value) for value in data]
    return printable(data) if isinstance(data, str) else data


def markdown_table(names: Sequence[str], numbers: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table: columns of names, then columns of numbers."""
    lines = [[*names, *numbers], ["---"] * len(names) + ["---:"] * len(numbers), *body]
    return "\n".join(f"| {' | '.join(_markdown_cell(cell) for cell in line)} |" for line in lines)


def _markdown_cell(text: str) -> str:
    """A cell of Markdown; many of its readers show HTML in it."""
    return re.sub(r"<(?=[A-Za-z!/?])", "&lt;", printable(text).replace("|", "/").replace("\n", " "))


def is_missing(value: Any) -> bool:
    """Whether a value is None or nan."""
    return value is None or (isinstance(value, float) and math.isnan(value))
