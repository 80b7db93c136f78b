"""Runs side by side: what differs, results, curves, paired differences of the accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from attnlab.analysis.run_comparison import PairedDifference, RunComparison
from attnlab.formatting import option_text
from attnlab.rendering._curves import learning_curves
from attnlab.rendering._exporters import json_data
from attnlab.rendering._text_table import TextTable, cell_text, fold_text
from attnlab.rendering.run_list import field_text
from attnlab.run_labels import RunLabels

NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LONGEST = 22
"""Characters of a value in one line."""


@dataclass(frozen=True)
class ComparisonTable:
    """A comparison of runs."""

    comparison: RunComparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The runs by letter, what differs, the results, the curves, the paired differences."""
        one = self.comparison
        names = [run_name(index) for index in range(len(one.rows))]
        labels = RunLabels(row.record.spec for row in one.rows)
        for name, row in zip(names, one.rows, strict=True):
            tags = "".join(f" #{tag}" for tag in row.tags)
            label = str(labels.of(row.record.spec))
            yield Text.assemble((name, "bold"), f"  {row.record.id}  {label}{tags}")
        yield Text("")
        yield _table("what differs", names, one.fields)
        yield _table("result", names, one.results)
        yield Text("Learning curves", style="bold")
        yield learning_curves([row.record for row in one.rows], names)
        yield Text("")
        yield from self._differences(names)

    def _differences(self, names: list[str]) -> Iterator[Text]:
        """A line for each paired difference."""
        yield Text("Accuracy, paired over the seeds that both variants have", style="bold")
        for name, pair in zip(names[1:], self.comparison.pairs, strict=True):
            yield Text.assemble((f"{name} - {names[0]}", "bold"), f"  {difference_text(pair)}")

    def data(self) -> dict[str, Any]:
        """The comparison as plain data; accuracies as shares of 1."""
        one = self.comparison
        pairs = [
            {
                "first": pair.first,
                "other": pair.other,
                "seeds": list(pair.seeds),
                "differences": list(pair.differences),
                "mean": pair.mean,
                "interval_95": None if math.isnan(pair.interval[0]) else list(pair.interval),
                "remark": pair.remark,
            }
            for pair in one.pairs
        ]
        history = {row.record.id: [point.model_dump(mode="json") for point in row.record.history] for row in one.rows}
        runs = [row.record.id for row in one.rows]
        return dict(
            json_data({"runs": runs, "differs": one.fields, "results": one.results, "history": history, "pairs": pairs})
        )


def run_name(index: int) -> str:
    """Name the runs of a comparison A, B, ..., Z, A1, B1, ...

    Args:
        index: Which run, from 0.

    Returns:
        The name.
    """
    return NAMES[index % len(NAMES)] + (str(index // len(NAMES)) if index >= len(NAMES) else "")


def difference_text(pair: PairedDifference) -> str:
    """Write a paired difference in percentage points.

    Args:
        pair: The difference.

    Returns:
        The mean; with three seeds or more the 95 % interval, with fewer the range.
    """
    if pair.remark:
        return f"no difference: {pair.remark}"
    count = len(pair.seeds)
    if count == 1:
        return f"{_points(pair.mean)} points, of one seed; three seeds or more give an interval"
    if math.isnan(pair.interval[0]):
        ends = f"range {_points(min(pair.differences))} to {_points(max(pair.differences))}"
        return f"{_points(pair.mean)} points, mean of {count} seeds; {ends}; three seeds or more give an interval"
    low, high = map(_points, pair.interval)
    return f"{_points(pair.mean)} points, mean of {count} seeds; 95 % over seeds {low} to {high}"


def _points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def _table(heading: str, names: list[str], values: Mapping[str, tuple[Any, ...]]) -> TextTable | Text:
    """Fields by runs."""
    if not values:
        return Text(f"{heading}: nothing\n", style="dim")
    rows = [
        ((name,), [cell_text(*fold_text(_cell(name, value), LONGEST), below="") for value in own])
        for name, own in values.items()
    ]
    return TextTable((heading,), names, rows)


def _cell(name: str, value: Any) -> str:
    return field_text(name, value) if isinstance(value, int | float) or value is None else option_text(value) or "none"
