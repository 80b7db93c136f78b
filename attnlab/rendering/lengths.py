"""Accuracy against length: one line per length or level that the model of a run was tested on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.analysis.levels import share_above_chance
from attnlab.choices import SCORED
from attnlab.evaluation.level_score import LevelScore
from attnlab.formatting import interval, metric_heading, number, percent, thousands
from attnlab.records import SOLVED, Record

INTERVALS = "Intervals are over sequences, not over the questions in them."
BAR = 12
"""Columns of a bar of the normalized accuracy, from chance to 1."""


@dataclass(frozen=True)
class LengthTable:
    """A run on other lengths or levels than its own."""

    record: Record
    scores: Sequence[LevelScore]
    mode: str = "trained"
    """How positions are extrapolated."""

    def __rich__(self) -> RenderableType:
        """The table, and the longest length that is solved."""
        how = f"  extrapolation: {self.mode}{', rollout' if self.rollout else ''}"
        title = Text.assemble((self.record.spec.summary, "bold"), (how, "dim"))
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        table.collapse_padding = True
        has_loss = any(one.loss is not None for one in self.scores)
        heads = ["tokens", *self._level_head(), "accuracy", "95 %", "exact match"]
        heads += [metric_heading(name) for name in self._scorers()]
        for head in [*heads, *(["perplexity"] if has_loss else [])]:
            table.add_column(head, justify="right")
        table.add_column("normalized", no_wrap=True)
        for one in self.scores:
            table.add_row(*self._line(one, has_loss), style="" if one.length <= one.trained_length else "yellow")
        return Group(table, Text(self.footnote(), style="dim"))

    def footnote(self) -> str:
        """The trained length, and the longest length that is solved."""
        trained = self.scores[0].trained_length if self.scores else 0
        head = f"Trained on up to {thousands(trained)} tokens."
        return f"{head} {self.summary()} {self.length_note()}{self.rollout_note()}{INTERVALS}"

    def length_note(self) -> str:
        """Which lengths the task does not have, and what was taken in their place; empty where it has all."""
        missing = [(one.asked_length, one.length) for one in self.scores if one.asked_length not in (None, one.length)]
        name = self.record.spec.task.name
        notes = [
            f"Sequences of {name} cannot have {asked:,} tokens; {taken:,} were taken. " for asked, taken in missing
        ]
        return "".join(notes)

    @property
    def rollout(self) -> bool:
        """Whether questions were asked given generated answers."""
        return any(one.rollout for one in self.scores)

    def rollout_note(self) -> str:
        """What a rollout is, or that it is the same as teacher forcing; empty where there was none."""
        if not self.rollout:
            return ""
        if not any(one.fed_back for one in self.scores):
            return f"{SCORED['independent']} "
        same = "Where one answer is right, exact match is the same either way. "
        return f"Rollout: the model's own earlier answers are inputs. {same}"

    def summary(self) -> str:
        """The longest solved length; where the best achievable accuracy is unknown, the length of lowest perplexity."""
        by_loss = {one.loss: one.length for one in self.scores if one.loss is not None}
        if any(math.isnan(one.best_accuracy) for one in self.scores):
            return f"Perplexity is lowest at {thousands(by_loss[min(by_loss)])} tokens." if by_loss else ""
        solved = [one.length for one in self.scores if one.accuracy.mean >= SOLVED]
        return f"Solved up to {thousands(max(solved))} tokens." if solved else "No length is solved."

    def data(self) -> dict[str, Any]:
        """The run and its scores as plain data."""
        rows = [
            {
                "length": one.length,
                "asked_length": one.asked_length,
                "level": one.level,
                "accuracy": one.accuracy.mean,
                "low": one.accuracy.interval[0],
                "high": one.accuracy.interval[1],
                "exact_match": one.exact_match.mean,
                "chance": one.accuracy.chance,
                "questions": one.accuracy.total,
                "rollout": one.rollout,
                "fed_back": one.fed_back,
                "sequences": one.exact_match.total,
                "interval_over": one.accuracy.interval_over,
                "loss": one.loss,
                "perplexity": perplexity(one.loss),
                **{name: score.mean for name, score in one.scores.items()},
            }
            for one in self.scores
        ]
        return {
            "id": self.record.id,
            "run": self.record.spec.summary,
            "extrapolation": self.mode,
            "trained_length": self.scores[0].trained_length if self.scores else None,
            "rows": rows,
        }

    def _scorers(self) -> list[str]:
        """The scorers of the task."""
        return list(self.scores[0].scores) if self.scores else []

    def _level_head(self) -> list[str]:
        """The heading of the levels; none where the levels are lengths."""
        complexity = self.record.spec.task.complexity
        return [complexity] if complexity not in ("", "length") else []

    def _line(self, one: LevelScore, has_loss: bool) -> list[str]:
        """The cells of one length."""
        cells = [thousands(one.length), *([str(one.level)] if self._level_head() else [])]
        cells += [percent(one.accuracy.mean), interval(one.accuracy.interval), percent(one.exact_match.mean)]
        cells += [number(one.scores[name].mean, name) for name in self._scorers()]
        value = perplexity(one.loss)
        cells += [f"{value:.4g}" if value is not None else "-"] if has_loss else []
        share = max(0.0, share_above_chance(one.accuracy.mean, one.accuracy.chance))
        return [*cells, "█" * round(BAR * share)]


def perplexity(loss: float | None) -> float | None:
    """Convert a loss to perplexity.

    Args:
        loss: Nats per query position; None where there is none.

    Returns:
        exp(loss); None where there is no loss, or where the result overflows.
    """
    return None if loss is None or loss > 700 else math.exp(loss)
