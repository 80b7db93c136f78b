"""Every ladder of the shelf passes its own audit."""

from __future__ import annotations

import pytest

from attnlab import resources
from attnlab.tasks.io.ladders import find_ladder
from attnlab.testing.check_task import audit


@pytest.mark.parametrize("name", resources.names("tasks"))
def test_a_ladder_passes_its_own_audit(name: str) -> None:
    report = audit(find_ladder(name), {}, samples=512)
    failed = {one.rung.name: [f.evidence for f in one.findings if f.outcome == "fail"] for one in report.rungs}
    assert not {rung: sentences for rung, sentences in failed.items() if sentences}
