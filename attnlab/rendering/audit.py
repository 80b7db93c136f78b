"""The table of a task audit: a row for each level, then the findings in sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.rendering.conformance import STYLES
from attnlab.testing.check_task import Audit, LevelAudit, share
from attnlab.testing.finding import Finding


@dataclass(frozen=True)
class AuditTable:
    """An audit, drawn as a table."""

    audit: Audit

    def __rich__(self) -> RenderableType:
        """Draw the table; a finding about several levels is printed once."""
        columns = {name: cell for name, cell in COLUMNS.items() if name in ALWAYS or self._informative(cell)}
        heading = f"  audit by {self.audit.complexity}, shares in percent"
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
        table.add_column(self.audit.complexity, no_wrap=True)
        for name in columns:
            last = name == "best shortcut"
            table.add_column(
                name, justify="left" if last else "right", no_wrap=not last, min_width=15 if last else None
            )
        table.add_column("", no_wrap=True)
        for report in self.audit.levels:
            outcome = "pass" if report.passed else "fail"
            cells = [cell(report.level_audit) for cell in columns.values()]
            table.add_row(Text(report.level_audit.name), *map(Text, cells), Text(outcome, STYLES[outcome]))
        legend = Text(" ".join(f"{name}: {LEGEND[name]}." for name in columns), style="dim")
        return Group(
            Text.assemble((self.audit.ladder, "bold"), (heading, "dim")), table, *self._sentences(), legend, ""
        )

    def _informative(self, cell: Callable[[LevelAudit], str]) -> bool:
        """Whether a column has an entry that is not empty."""
        return len({cell(report.level_audit) for report in self.audit.levels} | {""}) > 1

    def _sentences(self) -> list[RenderableType]:
        """Each finding with the levels that it is about."""
        levels: dict[Finding, list[str]] = {}
        for report in self.audit.levels:
            for finding in report.findings:
                levels.setdefault(finding, []).append(report.level_audit.name)
        lines = [
            Text.assemble((self._prefix(finding, names), STYLES[finding.outcome]), finding.evidence)
            for finding, names in levels.items()
        ]
        intended = any(_is_intended(report.level_audit) for report in self.audit.levels)
        return [*lines, *([Text("* The intended shortcut of the task.", "dim")] if intended else [])]

    def _prefix(self, finding: Finding, names: list[str]) -> str:
        """The levels of a finding; a finding that is no failure is a note."""
        note = "note: " if finding.outcome == "info" else ""
        return f"{note}{self.audit.complexity} {', '.join(names)}: "


def _is_intended(level: LevelAudit) -> bool:
    """Whether the best shortcut is the intended one."""
    return level.best_shortcut[0] == level.task.intended_shortcut


def _percent(value: float) -> str:
    """A share in percent, without the sign."""
    return share(value).removesuffix(" %")


def _blind_guess(level: LevelAudit) -> str:
    """Interval of the best blind guess."""
    _, score = level.best_blind_guess
    low, high = (100 * min(max(end, 0.0), 1.0) for end in score.interval)
    return f"{low:.1f}-{high:.1f}"


def _best_accuracy(level: LevelAudit) -> str:
    """The best achievable accuracy; empty where it is 1."""
    best = level.task.best_accuracy
    return "?" if math.isnan(best) else "" if best == 1 else _percent(best)


def _leak(level: LevelAudit) -> str:
    """Test sequences of training, and how many chance explains: of the rows of a file, none."""
    return f"{level.rows.known}/0" if level.rows else f"{level.repeats.repeated}/{level.repeats.expected:.0f}"


def _shortcut(level: LevelAudit) -> str:
    """Name and accuracy of the best shortcut."""
    name, score = level.best_shortcut
    return f"{name} {_percent(score.mean)}{'*' if _is_intended(level) else ''}"


COLUMNS: dict[str, Callable[[LevelAudit], str]] = {
    "tokens": lambda level: str(level.task.length),
    "vocab": lambda level: str(level.task.vocabulary),
    "chance": lambda level: _percent(level.task.chance),
    "blind": _blind_guess,
    "best acc.": _best_accuracy,
    "solver": lambda level: _percent(level.labels.agreement) if level.labels.sequences else "none",
    "unlabeled": lambda level: str(level.labels.unlabeled or ""),
    "leak": _leak,
    "best shortcut": _shortcut,
}
ALWAYS = ("tokens", "vocab", "chance", "blind", "solver", "leak", "best shortcut")
"""Columns that are always shown; the others only where a level has an entry."""
LEGEND = {
    "tokens": "length of a sequence",
    "vocab": "size of the vocabulary",
    "chance": "declared accuracy of a guess",
    "blind": "range of the measured accuracy of the best guess that does not look at what is asked",
    "best acc.": "best achievable accuracy",
    "solver": "share of the targets on which the independent solver agrees",
    "unlabeled": "queries without a target",
    "leak": "test sequences that occur in the training sample, and how many chance explains",
    "best shortcut": "shortcut with the highest accuracy",
}
"""The meaning of each column, below the table."""
