"""The runs of the HTML page: the table to sort and filter, and what the panel of each run shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from attnlab.analysis.failure_modes import failure_mode
from attnlab.analysis.reproduction import differing, yaml_word
from attnlab.formatting import duration, interval, number, option_text, percent, thousands
from attnlab.records import Record
from attnlab.rendering._exporters import json_data
from attnlab.rendering._run_rows import level_title, loss_unit
from attnlab.specs import Section

TIMES = ("seconds", "started", "ended")
"""Fields of an environment that differ between runs of one machine."""


class Head(NamedTuple):
    """A heading of the table of runs."""

    text: str
    kind: str
    """``number``, ``text`` or ``name``: how its column is aligned."""


class Cell(NamedTuple):
    """A cell of the table of runs."""

    text: str
    value: float | int | None = None
    """The number to sort by; None sorts by the text."""


class Line(NamedTuple):
    """A line of the table of runs."""

    id: str
    cells: list[Cell]


def run_table(
    records: Sequence[Record], fields: Sequence[str], values: Sequence[Sequence[str]]
) -> tuple[list[Head], list[Line]]:
    """List the runs.

    Args:
        records: The runs.
        fields: The fields that name a variant.
        values: For each run, the text of each of these.

    Returns:
        The headings, and a line for each run.
    """
    named = [
        Head("run", "name"),
        Head("task", "text"),
        Head("level", "number"),
        *(Head(name, "text") for name in fields),
    ]
    heads = [*named, Head("seed", "number"), Head("accuracy", "number"), Head("95 %", "number")]
    heads += [Head(text, "number") for text in ("exact match", "steps", "time")] + [Head("failure mode", "text")]
    return heads, [_line(record, own) for record, own in zip(records, values, strict=True)]


def _line(record: Record, values: Sequence[str]) -> Line:
    spec, level = record.spec, record.spec.task.level
    tested = record.status != "failed" and record.accuracy.total > 0
    seconds = record.environment.get("seconds")
    cells = [Cell(record.id), Cell(spec.task.name)]
    cells += [Cell(option_text(level) or "-", level if isinstance(level, int | float) else None)]
    cells += [Cell(text, _number(text)) for text in values]
    cells += [Cell(str(spec.seed), spec.seed)]
    cells += [Cell(percent(record.accuracy.mean), record.accuracy.mean) if tested else Cell("-")]
    cells += [Cell(interval(record.accuracy.interval), record.accuracy.interval[0]) if tested else Cell("-")]
    cells += [Cell(percent(record.exact_match.mean), record.exact_match.mean) if tested else Cell("-")]
    cells += [Cell(thousands(record.steps), record.steps)]
    cells += [Cell(duration(float(seconds)), float(seconds)) if seconds is not None else Cell("-")]
    return Line(record.id, [*cells, Cell(failure_mode(record).label)])


class Sections:
    """Parts of specs and environments, each stored once."""

    def __init__(self) -> None:
        self.stored: list[Any] = []
        self._known: dict[str, int] = {}

    def add(self, data: Any) -> int:
        """Store data, unless they are known.

        Args:
            data: Plain data.

        Returns:
            Their index.
        """
        key = json.dumps(data, sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = len(self.stored)
            self.stored.append(json.loads(key))
        return self._known[key]


def run_panels(
    records: Sequence[Record],
    titles: Sequence[str],
    lines: Sequence[Line],
    commands: Sequence[Sequence[tuple[str, str]]],
) -> tuple[list[dict[str, Any]], list[Any]]:
    """List what the panels of runs show.

    Args:
        records: The runs.
        titles: Their labels.
        lines: Their lines in the table, which are searched by the filter.
        commands: For each run, captions and commands.

    Returns:
        The panels as plain data, and the sections that they refer to by index.
    """
    sections = Sections()
    known: dict[int, int] = {}

    def section(part: Section) -> int:
        if id(part) not in known:
            known[id(part)] = sections.add(json_data(part.model_dump(mode="json")))
        return known[id(part)]

    panels = []
    for record, title, line, own in zip(records, titles, lines, commands, strict=True):
        spec = record.spec
        rest = {name: value for name, value in record.environment.items() if name not in TIMES}
        panels.append(
            {
                "id": record.id,
                "title": title,
                "search": " ".join([record.id, *(cell.text for cell in line.cells), record.status]),
                "facts": _facts(record),
                "unit": loss_unit([record]),
                "levels": [_evaluation(one) for one in record.evaluations],
                "diagnostics": _last_diagnostics(record),
                "differs": [[name, option_text(value) or yaml_word(value)] for name, value in differing(spec).items()],
                "commands": [list(pair) for pair in own],
                "spec": {
                    "task": section(spec.task),
                    "model": section(spec.model),
                    "train": section(spec.train),
                    "seed": spec.seed,
                },
                "environment": sections.add(json_data(rest)),
                "times": {name: record.environment[name] for name in TIMES if name in record.environment},
            }
        )
    return panels, sections.stored


def _facts(record: Record) -> list[list[str]]:
    """Task and level, result, size, time and failure mode."""
    mode = failure_mode(record)
    status = "solved" if record.solved else "not solved" if record.status == "done" else record.status
    facts = [["task", level_title(record)]]
    facts += [["status", f"{status}: {record.reason}" if record.reason else status]]
    if record.status != "failed":
        chance = f"chance {percent(record.accuracy.chance)}"
        accuracy = f"{percent(record.accuracy.mean)}, 95 % interval {interval(record.accuracy.interval)}, {chance}"
        facts += [["accuracy", accuracy], ["exact match", percent(record.exact_match.mean)]]
        loss, unit = ("test squared error", "") if record.squared_errors else ("test loss", " nats")
        facts += [[loss, f"{record.loss:.4g}{unit}"]] if record.loss is not None else []
    early = ", stopped early because it was solved" if record.early_stopped else ""
    facts += [["steps", f"{thousands(record.steps)} of {thousands(record.spec.train.max_steps)}{early}"]]
    facts += [["parameters", thousands(record.parameters)]] if record.parameters else []
    if "seconds" in record.environment:
        facts += [["time", duration(float(record.environment["seconds"]))]]
    if mode.name not in ("solved", "failed"):
        facts += [["failure mode", f"{mode.label}: {mode.evidence}"]]
    return facts


def _evaluation(one: Any) -> list[str]:
    """A score on another level: level or subtask, tokens, accuracy, exact match, loss."""
    place = " ".join(filter(None, [one.subtask, option_text(one.level)]))
    loss = "-" if one.loss is None else number(one.loss, "loss")
    return [place, str(one.length), percent(one.accuracy.mean), percent(one.exact_match.mean), loss]


def _last_diagnostics(record: Record) -> list[list[str]]:
    """The diagnostics that were logged last, one line each."""
    last = record.diagnostics_history[-1].values if record.diagnostics_history else {}
    return [[name, "  ".join(number(value, name) for value in layers)] for name, layers in last.items()]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
