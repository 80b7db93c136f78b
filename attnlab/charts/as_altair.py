"""A definition as a chart of altair, which a notebook shows."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from attnlab.errors import InvalidValueError


def altair_chart(definition: Mapping[str, Any]) -> Any:
    """Make a chart of altair.

    Args:
        definition: A Vega-Lite definition with its data.

    Returns:
        An ``altair.Chart``, or a concatenation of charts: it can be changed, saved, and shown by a notebook.

    Raises:
        InvalidValueError: altair is not installed.
    """
    try:
        altair = importlib.import_module("altair")
    except ImportError:
        hint = "Install it with: pip install 'attnlab[plots]'."
        raise InvalidValueError("A plot needs altair, which is not installed.", hint, where="plot()") from None
    return altair.Chart.from_dict(dict(definition))
