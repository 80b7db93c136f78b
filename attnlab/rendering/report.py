"""The report: accuracy against complexity, with intervals over seeds, reach, capacity, and what may be ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.console import Group, RenderableType
from rich.text import Text

from attnlab.analysis.claims import ClaimOutcome, check_claims
from attnlab.analysis.grid import Grid, grids
from attnlab.config.experiment import Experiment
from attnlab.records import Record
from attnlab.rendering._tables import Overall, capacity_table, claim_table, grid_table, overall, overall_table

RANGE = 4
"""Up to so many seeds, the interval is their range."""


@dataclass(frozen=True)
class Report:
    """Everything said of a set of records."""

    panels: tuple[Grid, ...]
    claims: tuple[ClaimOutcome, ...] = ()
    question: str = ""
    records: tuple[Record, ...] = ()

    @property
    def failed(self) -> int:
        """Runs that raised or were lost."""
        return sum(record.status == "failed" for record in self.records)

    @property
    def diverged(self) -> int:
        """Runs whose loss exploded."""
        return sum(record.status == "diverged" for record in self.records)

    @property
    def claims_hold(self) -> bool:
        """Whether no claim fails."""
        return all(outcome.outcome != "fails" for outcome in self.claims)

    @property
    def ladders(self) -> list[Grid]:
        """Panels that show accuracy up a ladder: those that have a reach."""
        return [panel for panel in self.panels if panel.is_ladder and panel.metric == "accuracy"]

    @cached_property
    def overall(self) -> list[Overall]:
        """Every variant over all ladders, subtasks of a mixture left out: they are parts of it."""
        return overall([panel for panel in self.ladders if not panel.panel.subtask])

    def __rich__(self) -> RenderableType:
        """Panels, what they come to, claims."""
        parts: list[RenderableType] = [Text(self.question, style="bold"), Text("")] if self.question else []
        ladders = self.ladders
        for panel in self.panels:
            parts.append(grid_table(panel))
            if panel in ladders and len(panel.columns) > 1:
                parts.append(capacity_table(panel))
        if self.overall and sum(len(panel.columns) for panel in ladders) > 1:
            parts.append(overall_table(ladders[0].row_fields, self.overall))
        if self.claims:
            parts.append(claim_table(self.claims))
        parts.append(Text(" ".join(self.footnotes()), style="dim"))
        return Group(*parts)

    def footnotes(self) -> list[str]:
        """What the numbers are, a sentence each."""
        cells = [cell for panel in self.panels for cell in panel.cells.values() if cell.values]
        counts = {len(cell.values) for cell in cells}
        words = [_count(len(self.records), "run") + "."]
        if max(counts, default=0) > 1:
            wilson = any(panel.metric == "solved" for panel in self.panels)
            how = "Wilson" if wilson else "expanded percentile bootstrap"
            words.append(f"Intervals: 95 %, over seeds ({how}).")
            fewest = min(count for count in counts if count > 1)
            if fewest <= RANGE and not wilson:
                times = 2 ** (fewest - 1)
                words.append(f"With {fewest} seeds that is their range, which misses the mean once in {times} times.")
            if any(len(panel.rows) > 1 and len(panel.columns) > 1 for panel in self.ladders):
                words.append("Ranks are by C50; variants whose intervals overlap share theirs.")
        tried = max((cell.tried for cell in cells), default=1)
        first = self.panels[0] if self.panels else None
        if first and tried > 1:
            keys = " and ".join(first.tuned)
            words.append(f"{keys}: up to {tried} tried in each cell; the best on the validation stream is shown.")
        if first and first.merged:
            words.append(f"Averaged, within each seed, over {' and '.join(first.merged)}.")
        if first and first.along:
            words.append(f"Not alike everywhere: {', '.join(first.along)}.")
        if self.diverged:
            words.append(f"{_count(self.diverged, 'run')} diverged; what it showed counts, never as solved.")
        if self.failed:
            words.append(f"{_count(self.failed, 'run')} failed and is left out; attnlab ls results tells why.")
        return words


def report(
    records: Sequence[Record],
    experiment: Experiment | None = None,
    *,
    value: str | None = None,
    rows: Sequence[str] = (),
    columns: str | None = None,
) -> Report:
    """What a set of records shows.

    Args:
        records: Finished runs; rows stand in their order.
        experiment: What they were run for: its tuned keys, layout and claims.
        value: What stands in the cells; None takes the experiment's, or accuracy.
        rows: Fields of a row; none takes all that differ.
        columns: The field of the columns; None takes complexity.

    Raises:
        UnknownNameError: no such value or field.
    """
    layout = experiment.report if experiment else None
    tuned = experiment.tuned if experiment else ()
    panels = grids(
        records,
        value=value or (layout.metric if layout else "accuracy"),
        rows=rows or (layout.index if layout else ()),
        columns=columns or (layout.columns if layout else "level"),
        tuned=tuned,
    )
    outcomes = check_claims(experiment.claims, records, tuned) if experiment else []
    return Report(tuple(panels), tuple(outcomes), experiment.question if experiment else "", tuple(records))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
