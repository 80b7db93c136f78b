"""Rows as data frames of pandas or polars; neither is needed by anything else."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from attnlab.errors import InvalidValueError

Rows = Sequence[Mapping[str, Any]]
"""Rows with the same columns throughout; values are numbers, texts, lists or None."""


def to_pandas(rows: Rows) -> Any:
    """Make a data frame of pandas.

    Args:
        rows: The rows.

    Returns:
        A ``pandas.DataFrame``.

    Raises:
        InvalidValueError: pandas is not installed.
    """
    return _package("pandas").DataFrame(columns(rows))


def to_polars(rows: Rows, types: Mapping[str, str] | None = None) -> Any:
    """Make a data frame of polars.

    Args:
        rows: The rows.
        types: Column -> ``text``, ``integer``, ``number``, or ``fields``, a list of names with their values as text;
            the default takes the types of the values.

    Returns:
        A ``polars.DataFrame``.

    Raises:
        InvalidValueError: polars is not installed.
    """
    polars = _package("polars")
    known = {"text": polars.String, "integer": polars.Int64, "number": polars.Float64}
    known["fields"] = polars.List(polars.Struct({"name": polars.String, "value": polars.String}))
    given = {name: known[kind] for name, kind in (types or {}).items()}
    filled = columns(rows) or {name: [] for name in given}
    return polars.DataFrame(filled, schema_overrides=given, strict=False)


def columns(rows: Rows) -> dict[str, list[Any]]:
    """Turn rows into columns, each of one type.

    >>> columns([{"level": 4, "lr": 1}, {"level": "easy", "lr": 0.5}])
    {'level': ['4', 'easy'], 'lr': [1.0, 0.5]}

    Args:
        rows: The rows.

    Returns:
        Column -> values. Integers among floats become floats; where types differ otherwise, all become text.
    """
    names = list(rows[0]) if rows else []
    return {name: _of_one_type([row[name] for row in rows]) for name in names}


def _of_one_type(values: list[Any]) -> list[Any]:
    """Values of one type: levels may be words on one ladder and numbers on another."""
    types = {type(value) for value in values if value is not None}
    if len(types) < 2:
        return values
    kind = float if types == {int, float} else str
    return [None if value is None else kind(value) for value in values]


def _package(name: str) -> Any:
    """Import a package that the user may not have."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        hint = f"Install it with: pip install {name}"
        raise InvalidValueError(
            f"A data frame needs {name}, which is not installed.", hint, where=f"to_{name}()"
        ) from None
