"""Accuracy against length: one line per length or level that a run's model was tested on."""

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


class LevelScore(Protocol):
    """What was answered at one length."""

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""

    @property
    def level(self) -> Any:
        """The level."""

    @property
    def trained_length(self) -> int:
        """Tokens up to which the model was trained."""

    @property
    def accuracy(self) -> Score:
        """Tokens."""

    @property
    def exact_match(self) -> Score:
        """Whole answers."""

    @property
    def loss(self) -> float | None:
        """Nats per question."""

    @property
    def best_accuracy(self) -> float:
        """The best that can be done; nan where nobody knows it."""


@dataclass(frozen=True)
class LengthTable:
    """A run beyond its own level."""

    record: Record
    scores: Sequence[LevelScore]
    mode: str = "trained"

    def __rich__(self) -> RenderableType:
        """The table, and what it says."""
        task = self.record.spec.task
        words = f"as {'trained' if self.mode == 'trained' else self.mode}"
        title = Text.assemble((self.record.spec.summary, "bold"), (f"  {words}", "dim"))
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        table.collapse_padding = True
        known = any(one.loss is not None for one in self.scores)
        heads = [
            "tokens",
            *([task.complexity] if task.complexity not in ("", "length") else []),
            "accuracy",
            "95 %",
            "whole",
        ]
        for head in [*heads, *(["perplexity"] if known else [])]:
            table.add_column(head, justify="right")
        table.add_column("chance to 1", no_wrap=True)
        for one in self.scores:
            table.add_row(*self._line(one, known), style="" if one.length <= one.trained_length else "yellow")
        return Group(table, Text(self.footnote(), style="dim"))

    def footnote(self) -> str:
        """Up to where the run was trained, and up to where it holds."""
        trained = self.scores[0].trained_length if self.scores else 0
        return (
            f"Trained on up to {thousands(trained)} tokens. {self.reached()} Intervals are Wilson's, over tokens asked."
        )

    def reached(self) -> str:
        """Up to where it holds; where nobody knows what solved would mean, where it is least perplexed."""
        known = {one.loss: one.length for one in self.scores if one.loss is not None}
        if any(math.isnan(one.best_accuracy) for one in self.scores):
            return f"Perplexity is lowest at {thousands(known[min(known)])}." if known else ""
        stored = [one.length for one in self.scores if one.accuracy.mean >= SOLVED]
        return f"Solved up to {thousands(max(stored))} of them." if stored else "None of them is solved."

    def data(self) -> dict[str, Any]:
        """All of it as plain data."""
        rows = [
            {
                "length": one.length,
                "level": one.level,
                "accuracy": one.accuracy.mean,
                "low": one.accuracy.interval[0],
                "high": one.accuracy.interval[1],
                "exact_match": one.exact_match.mean,
                "chance": one.accuracy.chance,
                "questions": one.accuracy.total,
                "loss": one.loss,
                "perplexity": perplexity(one.loss),
            }
            for one in self.scores
        ]
        trained = self.scores[0].trained_length if self.scores else None
        return {
            "id": self.record.id,
            "run": self.record.spec.summary,
            "as": self.mode,
            "trained": trained,
            "rows": rows,
        }

    def _line(self, one: LevelScore, known: bool) -> list[str]:
        task = self.record.spec.task
        words = [thousands(one.length), *([str(one.level)] if task.complexity not in ("", "length") else [])]
        words += [percent(one.accuracy.mean), interval(one.accuracy.interval), percent(one.exact_match.mean)]
        result = perplexity(one.loss)
        words += [f"{result:.4g}" if result is not None else "-"] if known else []
        span = 1 - one.accuracy.chance
        share = max(0.0, (one.accuracy.mean - one.accuracy.chance) / span) if span > 0 else one.accuracy.mean
        return [*words, "█" * round(BAR * share)]


def perplexity(loss: float | None) -> float | None:
    """exp(loss); none where there is none, or it is beyond all numbers."""
    return None if loss is None or loss > 700 else math.exp(loss)
