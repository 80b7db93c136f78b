"""Every registered attention passes the checks that users run; discovery lists them."""

from __future__ import annotations

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.specs import Part
from attnlab.testing.check_attention import CHECKS, check_attention

UNTIMED = [name for name in CHECKS if name != "cost"]


@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_it_passes_all_checks(name: str) -> None:
    report = check_attention(Part(name=name), UNTIMED)
    failed = {finding.check: finding.evidence for finding in report.findings if finding.outcome == "fail"}
    assert failed == {}
