"""Tables of attention checks: one variant in detail, or many variants in one line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.testing.finding import Conformance

STYLES = {"pass": "green", "fail": "bold red", "info": "dim"}


@dataclass(frozen=True)
class ConformanceTable:
    """The findings about one variant, one line for each check."""

    conformance: Conformance

    def __rich__(self) -> RenderableType:
        """Draw the table."""
        title = Text(self.conformance.variant, "bold")
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        table.add_column("check", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column("evidence", overflow="fold")
        for finding in self.conformance.findings:
            outcome = Text(finding.outcome, STYLES[finding.outcome])
            table.add_row(finding.check, outcome, Text(finding.evidence))
        return table


@dataclass(frozen=True)
class ConformanceOverview:
    """Many variants, one line each: the number of checks passed, and the failures."""

    reports: Sequence[Conformance]

    def __rich__(self) -> RenderableType:
        """Draw the table."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("variant", no_wrap=True, style="bold cyan")
        table.add_column("checks", justify="right")
        table.add_column("failed", overflow="fold")
        for report in self.reports:
            checked = [finding for finding in report.findings if finding.outcome != "info"]
            failed = [f"{finding.check}: {finding.evidence}" for finding in checked if finding.outcome == "fail"]
            counts = f"{len(checked) - len(failed)}/{len(checked)}"
            table.add_row(report.variant, counts, Text("; ".join(failed) or "-", "red" if failed else "dim"))
        return table
