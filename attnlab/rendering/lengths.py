"""Accuracy against length: one line per length or rung that a run's model was tested on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.formatting import interval, percent, thousands
from attnlab.records import SOLVED, Record, Score

BAR = 12
"""Columns of a bar from chance to 1."""


class Extent(Protocol):
    """What was answered at one length."""

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""

    @property
    def complexity(self) -> Any:
        """The rung."""

    @property
    def trained(self) -> int:
        """Tokens up to which the model was trained."""

    @property
    def accuracy(self) -> Score:
        """Tokens."""

    @property
    def answers(self) -> Score:
        """Whole answers."""

    @property
    def loss(self) -> float | None:
        """Nats per question."""

    @property
    def ceiling(self) -> float:
        """The best that can be done; nan where nobody knows it."""


@dataclass(frozen=True)
class LengthTable:
    """A run beyond its own rung."""

    record: Record
    extents: Sequence[Extent]
    mode: str = "trained"

    def __rich__(self) -> RenderableType:
        """The table, and what it says."""
        task = self.record.spec.task
        words = f"as {'trained' if self.mode == 'trained' else self.mode}"
        title = Text.assemble((self.record.spec.words, "bold"), (f"  {words}", "dim"))
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        table.collapse_padding = True
        known = any(one.loss is not None for one in self.extents)
        heads = ["tokens", *([task.knob] if task.knob not in ("", "length") else []), "accuracy", "95 %", "whole"]
        for head in [*heads, *(["perplexity"] if known else [])]:
            table.add_column(head, justify="right")
        table.add_column("chance to 1", no_wrap=True)
        for one in self.extents:
            table.add_row(*self._line(one, known), style="" if one.length <= one.trained else "yellow")
        return Group(table, Text(self.footnote(), style="dim"))

    def footnote(self) -> str:
        """Up to where the run was trained, and up to where it holds."""
        trained = self.extents[0].trained if self.extents else 0
        return (
            f"Trained on up to {thousands(trained)} tokens. {self.reached()} Intervals are Wilson's, over tokens asked."
        )

    def reached(self) -> str:
        """Up to where it holds; where nobody knows what solved would mean, where it is least perplexed."""
        known = {one.loss: one.length for one in self.extents if one.loss is not None}
        if any(math.isnan(one.ceiling) for one in self.extents):
            return f"Perplexity is lowest at {thousands(known[min(known)])}." if known else ""
        held = [one.length for one in self.extents if one.accuracy.mean >= SOLVED]
        return f"Solved up to {thousands(max(held))} of them." if held else "None of them is solved."

    def data(self) -> dict[str, Any]:
        """All of it as plain data."""
        rows = [
            {
                "length": one.length,
                "complexity": one.complexity,
                "accuracy": one.accuracy.mean,
                "low": one.accuracy.interval[0],
                "high": one.accuracy.interval[1],
                "answers": one.answers.mean,
                "chance": one.accuracy.chance,
                "questions": one.accuracy.total,
                "loss": one.loss,
                "perplexity": perplexity(one.loss),
            }
            for one in self.extents
        ]
        trained = self.extents[0].trained if self.extents else None
        return {"id": self.record.id, "run": self.record.spec.words, "as": self.mode, "trained": trained, "rows": rows}

    def _line(self, one: Extent, known: bool) -> list[str]:
        task = self.record.spec.task
        words = [thousands(one.length), *([str(one.complexity)] if task.knob not in ("", "length") else [])]
        words += [percent(one.accuracy.mean), interval(one.accuracy.interval), percent(one.answers.mean)]
        found = perplexity(one.loss)
        words += [f"{found:.4g}" if found is not None else "-"] if known else []
        span = 1 - one.accuracy.chance
        share = max(0.0, (one.accuracy.mean - one.accuracy.chance) / span) if span > 0 else one.accuracy.mean
        return [*words, "█" * round(BAR * share)]


def perplexity(loss: float | None) -> float | None:
    """exp(loss); none where there is none, or it is beyond all numbers."""
    return None if loss is None or loss > 700 else math.exp(loss)
