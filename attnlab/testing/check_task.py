"""The audit of a task: each level of its ladder is measured on samples, without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnlab.config.ladder import Ladder
from attnlab.errors import AttnlabError
from attnlab.tasks.io.ladders import task_spec
from attnlab.testing._level_audit import LevelAudit, audit_level
from attnlab.testing._rules import apply_rules, share
from attnlab.testing._samples import draw_samples
from attnlab.testing.finding import Finding

SAMPLES = 2048
"""Sequences of the training and of the test sample."""


@dataclass(frozen=True)
class LevelReport:
    """One level: its measurements and findings."""

    level_audit: LevelAudit
    findings: Sequence[Finding]

    @property
    def passed(self) -> bool:
        """Whether no rule failed."""
        return all(finding.outcome != "fail" for finding in self.findings)


@dataclass(frozen=True)
class Audit:
    """All levels of a ladder."""

    ladder: str
    complexity: str
    """Name of the option that the levels set."""
    levels: Sequence[LevelReport]

    @property
    def passed(self) -> bool:
        """Whether no level failed."""
        return all(one.passed for one in self.levels)

    def data(self) -> dict[str, Any]:
        """Measurements and findings as plain data."""
        levels = [
            {**one.level_audit.data(), "passed": one.passed, "findings": [vars(finding) for finding in one.findings]}
            for one in self.levels
        ]
        return {"ladder": self.ladder, "complexity": self.complexity, "passed": self.passed, "levels": levels}


def check_task(
    ladder: Ladder, options: Mapping[str, Any], complexity: Any = None, *, samples: int = SAMPLES, seed: int = 0
) -> Audit:
    """Audit the levels of a ladder, including those on which trained models are evaluated only.

    Args:
        ladder: The ladder.
        options: Task options that override those of the ladder.
        complexity: The only level to audit; None audits all levels.
        samples: Sequences of the training and of the test sample, reduced for long sequences.
        seed: Seed of the splits.

    Returns:
        Measurements and findings of each level.

    Raises:
        UnknownNameError: The task has no such option.
        InvalidValueError: The task does not accept an option, or has no targets.
        AttnlabError: A level cannot be built; the message names the ladder.
    """
    single = complexity is not None or ladder.complexity in options
    levels: Sequence[Any] = (complexity,) if single else tuple(dict.fromkeys((*ladder.levels, *ladder.evaluate)))
    reports = []
    for level in levels:
        spec = task_spec(ladder, dict(options), level)
        try:
            drawn = draw_samples(spec, seed, samples)
        except AttnlabError as error:
            raise error.at(ladder.name) from None
        for subtask, task_samples in drawn.items():
            level_audit = audit_level(task_samples, spec.level, subtask, seed)
            reports.append(LevelReport(level_audit, apply_rules(level_audit)))
    return Audit(ladder.name, ladder.complexity, reports)


__all__ = ["SAMPLES", "Audit", "LevelAudit", "LevelReport", "check_task", "share"]
