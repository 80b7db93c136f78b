"""The audit of a task: each level of its ladder measured on samples, without any model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab.config.ladder import Ladder
from attnlab.errors import AttnlabError
from attnlab.tasks.io.ladders import task_spec
from attnlab.testing._level_audit import LevelAudit, audit_level
from attnlab.testing._rules import apply_rules, around, share
from attnlab.testing._samples import draw_samples
from attnlab.testing.finding import STYLES, Finding

SAMPLES = 2048
"""Sequences of the training and of the test sample."""


@dataclass(frozen=True)
class JudgedLevel:
    """One level, and what is to be said of it."""

    level_audit: LevelAudit
    findings: Sequence[Finding]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(finding.outcome != "fail" for finding in self.findings)


@dataclass(frozen=True)
class Audit:
    """All levels of a ladder."""

    ladder: str
    complexity: str
    levels: Sequence[JudgedLevel]

    @property
    def passed(self) -> bool:
        """Whether no level failed."""
        return all(one.passed for one in self.levels)

    def __rich__(self) -> RenderableType:
        """A row for each level, then the findings in sentences, those of several levels once."""
        columns = {name: cell for name, cell in COLUMNS.items() if name in ALWAYS or self._worth(cell)}
        title = Text.assemble(
            (self.ladder, "bold"), ("  chance, guess, ceiling, solver and shortcut in percent", "dim")
        )
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
        table.add_column(self.complexity, no_wrap=True)
        for name in columns:
            last = name == "best shortcut"
            table.add_column(
                name, justify="left" if last else "right", no_wrap=not last, min_width=15 if last else None
            )
        table.add_column("", no_wrap=True)
        for one in self.levels:
            verdict = "pass" if one.passed else "fail"
            cells = [cell(one.level_audit) for cell in columns.values()]
            table.add_row(Text(one.level_audit.name), *map(Text, cells), Text(verdict, STYLES[verdict]))
        return Group(title, table, *self._sentences(), "")

    def data(self) -> dict[str, Any]:
        """Measurements and findings as plain data."""
        levels = [
            {**one.level_audit.data(), "passed": one.passed, "findings": [vars(finding) for finding in one.findings]}
            for one in self.levels
        ]
        return {"ladder": self.ladder, "complexity": self.complexity, "passed": self.passed, "levels": levels}

    def _worth(self, cell: Callable[[LevelAudit], str]) -> bool:
        """Whether a column says anything that goes without saying."""
        return len({cell(one.level_audit) for one in self.levels} | {""}) > 1

    def _sentences(self) -> list[RenderableType]:
        where: dict[Finding, list[str]] = {}
        for one in self.levels:
            for finding in one.findings:
                where.setdefault(finding, []).append(one.level_audit.name)
        lines = [
            Text.assemble((f"{self.complexity} {', '.join(names)}: ", STYLES[finding.outcome]), finding.evidence)
            for finding, names in where.items()
        ]
        meant = any(one.level_audit.best[0] == one.level_audit.task.intended_shortcut for one in self.levels)
        return [*lines, *([Text("* The shortcut that is the point of the task.", "dim")] if meant else [])]


def check_task(
    ladder: Ladder, options: Mapping[str, Any], complexity: Any = None, *, samples: int = SAMPLES, seed: int = 0
) -> Audit:
    """Every level of a ladder, the further ones that trained models are tested on included, or a single one.

    Args:
        ladder: The ladder.
        options: What the user sets over its options.
        complexity: The only level; none takes them all.
        samples: Sequences of the training and of the test sample, as far as they are not too long.
        seed: What the streams are drawn from.

    Raises:
        UnknownNameError: an option that the task does not have.
        InvalidValueError: an option that it does not accept.
    """
    given = complexity is not None or ladder.complexity in options
    levels: Sequence[Any] = (complexity,) if given else tuple(dict.fromkeys((*ladder.levels, *ladder.evaluate)))
    result = []
    for level in levels:
        spec = task_spec(ladder, dict(options), level)
        try:
            drawn = draw_samples(spec, seed, samples)
        except AttnlabError as error:
            raise error.at(ladder.name) from None
        for member, material in drawn.items():
            one = audit_level(material, spec.level, member, seed)
            result.append(JudgedLevel(one, apply_rules(one)))
    return Audit(ladder.name, ladder.complexity, result)


def _percent(part: float) -> str:
    return share(part).removesuffix(" %")


def _guess(level: LevelAudit) -> str:
    _, score = level.best_baseline
    return "-".join(f"{100 * end:.1f}" for end in around(score.mean, score.total))


def _ceiling(level: LevelAudit) -> str:
    ceiling = level.task.best_accuracy
    return "?" if math.isnan(ceiling) else "" if ceiling == 1 else _percent(ceiling)


def _shortcut(level: LevelAudit) -> str:
    name, score = level.best
    return f"{name} {_percent(score.mean)}{'*' if name == level.task.intended_shortcut else ''}"


COLUMNS: dict[str, Callable[[LevelAudit], str]] = {
    "T": lambda level: str(level.task.length),
    "V": lambda level: str(level.task.vocabulary),
    "chance": lambda level: _percent(level.task.chance),
    "guess": _guess,
    "ceiling": _ceiling,
    "solver": lambda level: _percent(level.labels.share) if level.labels.sequences else "none",
    "unasked": lambda level: str(level.labels.unasked or ""),
    "leak": lambda level: f"{level.repeats.found}/{level.repeats.expected:.0f}",
    "best shortcut": _shortcut,
}
ALWAYS = ("T", "V", "chance", "guess", "solver", "leak", "best shortcut")
"""The others are shown where a level has something to say."""
