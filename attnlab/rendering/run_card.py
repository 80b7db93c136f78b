"""A run on one screen: what it is, what it learned, why it failed, and the command that reproduces it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.analysis.failure_modes import FailureMode, failure_mode
from attnlab.analysis.reproduction import Reproduction, differing, reproduction, yaml_word
from attnlab.analysis.run_rows import RunRow
from attnlab.formatting import duration, interval, metric_heading, number, option_text, percent, thousands
from attnlab.records import Record, SequenceMean
from attnlab.rendering._curves import learning_curves
from attnlab.rendering.record_table import status_text


@dataclass(frozen=True)
class RunCard:
    """A finished run."""

    row: RunRow

    @property
    def record(self) -> Record:
        """The record of the run."""
        return self.row.record

    @cached_property
    def failure_mode(self) -> FailureMode:
        """Why it solved its level, or did not."""
        return failure_mode(self.record)

    @cached_property
    def reproduction(self) -> Reproduction:
        """What reproduces it."""
        return reproduction(self.record, self.row.store)

    @cached_property
    def differing(self) -> dict[str, Any]:
        """The fields that differ from the defaults."""
        return differing(self.record.spec)

    def __rich__(self) -> RenderableType:
        """The sections, each below its heading."""
        record = self.record
        head = Text.assemble((record.id, "bold cyan"), "  ", (record.spec.summary, "bold"), "  ", status_text(record))
        stale = ", stale: a part has another version or other code by now" if self.row.stale else ""
        tags = f"; tags: {', '.join(self.row.tags)}" if self.row.tags else ""
        parts: list[RenderableType] = [head, Text(f"in {self.row.store}/{stale}{tags}", style="dim"), *self._result()]
        parts += _section("Differs from the defaults", _pairs(self._differences()))
        parts += _section("Learning curves", learning_curves([record]))
        if record.evaluations:
            parts += _section("Evaluations", _evaluations(record))
        if values := list(_diagnostics(record)):
            parts += _section("Diagnostics", _pairs(values))
        mode = str(self.failure_mode)
        parts += _section("Failure mode", Text(mode))
        parts += _section("Environment", _pairs(list(_environment(record))))
        notes = [Text(note, style="yellow") for note in self.reproduction.notes]
        parts += _section("Reproduce", Group(*notes))
        return Group(*parts)

    @property
    def script(self) -> str:
        """What stands below the last heading: a command, which must not be wrapped."""
        return self.reproduction.script

    def _result(self) -> list[RenderableType]:
        """The scores of the test."""
        record = self.record
        if record.status != "done":
            result: list[RenderableType] = [Text(f"{record.status}: {record.reason}", style="red")]
        else:
            result = []
        if record.status != "failed":
            chance = f"chance {percent(record.accuracy.chance)}"
            ends = f"95 % over {record.accuracy.interval_over} {interval(record.accuracy.interval)}"
            text = f"accuracy {percent(record.accuracy.mean)} ({ends}; {chance}), "
            text += f"exact match {percent(record.exact_match.mean)}"
            text += "".join(f", {score_text(name, score)}" for name, score in record.scores.items())
            text += "" if record.loss is None or math.isnan(record.loss) else f", loss {record.loss:.4g}"
            result.append(Text(text))
        early = ", stopped early" if record.early_stopped else ""
        steps = f"{thousands(record.steps)} of {thousands(record.spec.train.max_steps)} steps{early}"
        seconds = duration(float(record.environment.get("seconds", 0.0)))
        return [*result, Text(f"{steps}; {seconds}; {thousands(record.parameters)} weights")]

    def _differences(self) -> list[tuple[str, str]]:
        """The fields that differ from the defaults, as text."""
        return [(name, option_text(value) or yaml_word(value)) for name, value in self.differing.items()]

    def data(self) -> dict[str, Any]:
        """The card as plain data."""
        mode = self.failure_mode
        return {
            "id": self.record.id,
            "kind": "run",
            "label": self.record.spec.summary,
            "store": str(self.row.store),
            "tags": list(self.row.tags),
            "stale": self.row.stale,
            "differs": json.loads(json.dumps(self.differing)),
            "failure_mode": {
                "name": mode.name,
                "alternative": mode.alternative,
                "evidence": mode.evidence,
                "missing_diagnostics": list(mode.missing_diagnostics),
            },
            "command": self.reproduction.command,
            "ladder_file": {self.reproduction.file: self.reproduction.content} if self.reproduction.file else {},
            "notes": list(self.reproduction.notes),
            "record": self.record.model_dump(mode="json"),
        }


def score_text(name: str, score: SequenceMean) -> str:
    """Write the mean of a scorer with its interval.

    Args:
        name: The name of the scorer.
        score: Its mean over sequences.

    Returns:
        One phrase.
    """
    low, high = score.interval
    ends = "" if math.isnan(low) else f" (95 % {number(low, name)} to {number(high, name)})"
    return f"{metric_heading(name)} {number(score.mean, name)}{ends}"


def _section(heading: str, body: RenderableType) -> list[RenderableType]:
    return [Text(""), Text(heading, style="bold"), body]


def _pairs(pairs: list[tuple[str, str]]) -> RenderableType:
    """Names and values in two columns."""
    if not pairs:
        return Text("nothing", style="dim")
    grid = Table.grid(padding=(0, 2))
    for name, value in pairs:
        grid.add_row(Text(name, style="cyan"), Text(value, overflow="fold"))
    return grid


def _evaluations(record: Record) -> Table:
    """The scores on other levels and on subtasks."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    scorers = list(dict.fromkeys(name for one in record.evaluations for name in one.scores))
    heads = (
        "subtask",
        "level",
        "tokens",
        "accuracy",
        "95 %",
        "exact match",
        *(name.replace("_", " ") for name in scorers),
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "subtask" else "right", no_wrap=head != "subtask")
    for one in record.evaluations:
        level = "-" if one.level is None else str(one.level)
        scores = percent(one.accuracy.mean), interval(one.accuracy.interval), percent(one.exact_match.mean)
        means = [number(one.scores[name].mean, name) if name in one.scores else "-" for name in scorers]
        table.add_row(Text(one.subtask or "-"), level, str(one.length), *scores, *means)
    return table


def _diagnostics(record: Record) -> Iterator[tuple[str, str]]:
    """The diagnostics of the trained model, and those that were logged last, layer by layer."""
    yield from ((name, f"{value:.4g}") for name, value in record.diagnostics.items())
    if record.diagnostics_history:
        last = record.diagnostics_history[-1]
        for name, layers in last.values.items():
            yield f"{name} at step {last.step}", "  ".join(f"{value:.3g}" for value in layers)


def _environment(record: Record) -> Iterator[tuple[str, str]]:
    for name, value in record.environment.items():
        if name == "code":
            yield from ((f"code of {part['name']}", str(part.get("path") or "the session")) for part in value)
        else:
            yield name, f"{value:.4g}" if isinstance(value, float) else option_text(value) or str(value)
