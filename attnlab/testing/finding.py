"""What a check found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

Outcome = Literal["pass", "fail", "told"]
"""``told`` is a measurement that nothing is promised about."""
STYLES = {"pass": "green", "fail": "bold red", "told": "dim"}


@dataclass(frozen=True)
class Finding:
    """One check of one variant."""

    check: str
    outcome: Outcome
    evidence: str


def judged(check: str, passed: bool, evidence: str) -> Finding:
    """A finding that passes or fails."""
    return Finding(check, "pass" if passed else "fail", evidence)


@dataclass(frozen=True)
class Conformance:
    """All findings about one variant."""

    variant: str
    findings: Sequence[Finding]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.outcome != "fail" for finding in self.findings)

    def __rich__(self) -> RenderableType:
        """One line for each check."""
        table = Table(box=box.SIMPLE_HEAD, title=Text(self.variant, "bold"), title_justify="left", pad_edge=False)
        table.add_column("check", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column("evidence", overflow="fold")
        for finding in self.findings:
            outcome = Text(finding.outcome, STYLES[finding.outcome])
            table.add_row(finding.check, outcome, Text(finding.evidence))
        return table

    def data(self) -> dict[str, Any]:
        """The findings as plain data."""
        findings = [asdict(finding) for finding in self.findings]
        return {"variant": self.variant, "passed": self.passed, "findings": findings}


@dataclass(frozen=True)
class Overview:
    """Many variants, one line each: how many checks passed, and what failed."""

    reports: Sequence[Conformance]

    def __rich__(self) -> RenderableType:
        """The table."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("variant", no_wrap=True, style="bold cyan")
        table.add_column("checks", justify="right")
        table.add_column("failed", overflow="fold")
        for report in self.reports:
            judged_ones = [finding for finding in report.findings if finding.outcome != "told"]
            wrong = [f"{finding.check}: {finding.evidence}" for finding in judged_ones if finding.outcome == "fail"]
            counted = f"{len(judged_ones) - len(wrong)}/{len(judged_ones)}"
            table.add_row(report.variant, counted, Text("; ".join(wrong) or "-", "red" if wrong else "dim"))
        return table
