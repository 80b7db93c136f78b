"""Findings of a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Outcome = Literal["pass", "fail", "info"]
"""``info`` is a measurement without a criterion."""


@dataclass(frozen=True)
class Finding:
    """The result of one check of one part."""

    check: str
    outcome: Outcome
    evidence: str


def check_result(check: str, passed: bool, evidence: str) -> Finding:
    """A finding that passes or fails.

    Args:
        check: Name of the check.
        passed: Whether the criterion is met.
        evidence: The measurement, in words.

    Returns:
        The finding.
    """
    return Finding(check, "pass" if passed else "fail", evidence)


def not_applicable(check: str, reason: str) -> Finding:
    """A finding about a variant to which a check does not apply.

    Args:
        check: Name of the check.
        reason: Why it does not apply.

    Returns:
        The finding, without a criterion.
    """
    return Finding(check, "info", f"not applicable: {reason}")


class Fault(NamedTuple):
    """Why an attention cannot be checked at all."""

    problem: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.where, self.problem, self.hint)))


@dataclass(frozen=True)
class Conformance:
    """All findings about one variant."""

    variant: str
    findings: Sequence[Finding]
    fault: Fault | None = None
    """Why nothing could be checked; None if anything was."""

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.outcome != "fail" for finding in self.findings)

    def data(self) -> dict[str, Any]:
        """The findings as plain data."""
        findings = [asdict(finding) for finding in self.findings]
        return {"variant": self.variant, "passed": self.passed, "findings": findings}
