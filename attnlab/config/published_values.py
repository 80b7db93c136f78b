"""Published values: what the source of an experiment printed, beside which a report shows its own numbers.

They are compared and not judged: sizes, steps and levels differ, and each table says how. The published *records* of
an experiment are our own runs; see :mod:`attnlab.storage.published`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, Strict

from attnlab.errors import InvalidValueError
from attnlab.formatting import SHARES
from attnlab.specs import Value


def _not_blank(text: str) -> str:
    """Refuse text without a word; the lines of a block of YAML are one paragraph."""
    if not text.strip():
        raise ValueError("Write some words here")
    return re.sub(r"\s+", " ", text.strip())


Words = Annotated[str, AfterValidator(_not_blank)]
"""Text that is not empty, in one line."""


class PublishedValue(Value):
    """One value of a table of the source, and which runs are compared with it."""

    model_config = ConfigDict(serialize_by_alias=True)

    of: dict[str, Any]
    """Which runs: field -> value, as in a claim; several levels are averaged."""
    value: Annotated[float, Field(allow_inf_nan=False)] | Words
    """The number, in the unit of the metric: a share is written from 0 to 1. Words, where the source has no number."""
    name: str = Field(default="", alias="as")
    """What the source calls the variant."""


class PublishedTable(Value):
    """Values of one table of the source."""

    table: Words
    """Which table or figure of the source."""
    source: str = ""
    """Left out, the experiment's."""
    quantity: Words
    """What the source measured, in its own words."""
    metric: str = "accuracy"
    """The metric of the report that comes closest."""
    values: Annotated[tuple[PublishedValue, ...], Strict(False), Field(min_length=1)]
    """The values, one row each."""
    differs: Words
    """Why these and ours differ: sizes, steps, levels."""


def check_published_values(tables: Sequence[PublishedTable], source: str, where: Callable[..., str]) -> None:
    """Check what the types of the fields do not tell.

    Args:
        tables: The tables.
        source: The source of the experiment.
        where: Names the location of a field for a message, as :meth:`attnlab.config.experiment.Experiment.where`.

    Raises:
        InvalidValueError: A table has no source, or a share is not within 0 and 1.
    """
    for index, table in enumerate(tables):
        if not (table.source or source).strip():
            hint = "Add a line source: arXiv:..., to the table or to the experiment."
            raise InvalidValueError(
                "Nothing says where these values were published.", hint, where=where("published", index)
            )
        for row, one in enumerate(table.values):
            if isinstance(one.value, float) and table.metric in SHARES and not 0 <= one.value <= 1:
                hint = "Shares are written from 0 to 1: 0.022 for 2.2 %."
                if 1 < one.value <= 100:
                    hint = f"Shares are written from 0 to 1: {one.value / 100:.6g} for {one.value:g} %."
                problem = f"A published value of '{table.metric}' cannot be {one.value:g}."
                at = where("published", index, "values", row, "value")
                raise InvalidValueError(problem, hint, where=at)
