"""Tables as Parquet, with one schema for all tables of a kind, whatever they hold.

A file has every column of its schema, each with its type, also where no row has a value. Two files of a kind can
therefore be read together. Fields that only some tables have, such as ``lr``, are no columns of their own: each row
lists them with their values as text.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Literal, get_args

from attnlab.errors import InvalidValueError
from attnlab.rendering._exporters import Rows, is_missing
from attnlab.run_fields import PARTS

Type = Literal["text", "integer", "number", "fields"]
Schema = Mapping[str, Type]
"""Column -> type: text, integer (64 bits), number (64 bits), fields (a list of names with their values as text)."""

LOCATION_COLUMNS: Schema = {
    **dict.fromkeys(("task", "subtask", "complexity", "trained", *PARTS, "level"), "text"),
    "level_number": "number",
    "column_field": "text",
    "fields": "fields",
}
"""Where a cell stands. ``level`` is text, because some ladders have words; ``level_number`` is it as a number.
``column_field`` names the field across, ``fields`` has that one and those of the rows, parts and level included."""
ALWAYS = ("task", "subtask", "complexity", "trained")
"""Columns that say what was trained and tested, and distinguish no two rows of one panel."""


def located(location: Mapping[str, Any], column_field: str, column: Any) -> dict[str, Any]:
    """Place a cell in the columns of :data:`LOCATION_COLUMNS`.

    Args:
        location: Field -> value of the row, with those of :data:`ALWAYS`.
        column_field: The field across.
        column: Its value.

    Returns:
        Column -> value.
    """
    fields = {name: value for name, value in location.items() if name not in ALWAYS} | {column_field: column}
    columns = {name: location[name] for name in ALWAYS} | {name: fields.get(name) for name in (*PARTS, "level")}
    listed = [{"name": name, "value": str(value)} for name, value in fields.items()]
    number = _number(fields.get("level"))
    return {**columns, "level_number": number, "column_field": column_field, "fields": listed}


def _number(value: Any) -> float | None:
    """A level as a number; None where it is a word, or there is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def typed_rows(rows: Rows, schema: Schema) -> Rows:
    """Give every row the columns of a schema, with values of their types.

    Args:
        rows: Rows, each with some of the columns.
        schema: The columns.

    Returns:
        As many rows; what is missing or nan is None.
    """
    return [{name: _typed(row.get(name), kind) for name, kind in schema.items()} for row in rows]


def _typed(value: Any, kind: Type) -> Any:
    """A value as its type."""
    if is_missing(value):
        return None
    return {"text": str, "integer": int, "number": float, "fields": list}[kind](value)


def parquet_bytes(rows: Rows, schema: Schema) -> bytes:
    """Rows as Parquet.

    Args:
        rows: Rows, each with some of the columns.
        schema: The columns.

    Returns:
        The file.

    Raises:
        InvalidValueError: The library pyarrow is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        hint = "Install it with: pip install 'attnlab[parquet]'."
        raise InvalidValueError("Parquet needs the library pyarrow.", hint, where="--parquet") from None
    named = pyarrow.struct([("name", pyarrow.string()), ("value", pyarrow.string())])
    listed = pyarrow.list_(named)
    types = dict(zip(get_args(Type), (pyarrow.string(), pyarrow.int64(), pyarrow.float64(), listed), strict=True))
    arrow_schema = pyarrow.schema([(name, types[kind]) for name, kind in schema.items()])
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(typed_rows(rows, schema), schema=arrow_schema), sink)
    return sink.getvalue()
