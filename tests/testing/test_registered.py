"""Every registered attention keeps its contract, by the kit that users run; found by discovery."""

from __future__ import annotations

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.specs import Part
from attnlab.testing.check_attention import CHECKS, check_attention

UNTIMED = [name for name in CHECKS if name != "cost"]


@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_it_keeps_its_contract(name: str) -> None:
    report = check_attention(Part(name=name), UNTIMED)
    failed = {finding.check: finding.evidence for finding in report.findings if finding.outcome == "fail"}
    assert failed == {}
