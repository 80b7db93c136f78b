"""Every registered attention passes the checks that users run; discovery lists them."""

from __future__ import annotations

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.specs import Part
from attnlab.testing.check_attention import CHECKS, check_attention

UNTIMED = [name for name in CHECKS if name != "cost"]


NAMES = [entry.name for entry in ATTENTIONS]


def failures(name: str, checks: list[str]) -> dict[str, str]:
    """Evidence of the failed checks, by the name of the check."""
    report = check_attention(Part(name=name), checks)
    return {finding.check: finding.evidence for finding in report.findings if finding.outcome == "fail"}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", NAMES)
def test_it_passes_all_checks(name: str) -> None:
    assert failures(name, UNTIMED) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_is_causal_at_every_length(name: str) -> None:
    assert failures(name, ["future never seen", "prefix equals whole", "repeated tokens"]) == {}
