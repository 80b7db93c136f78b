"""All built-in ladders pass their audit."""

from __future__ import annotations

import pytest

from attnlab import resources
from attnlab.tasks.io.ladders import find_ladder
from attnlab.testing.check_task import check_task


@pytest.mark.parametrize("name", resources.names("tasks"))
def test_a_ladder_passes_its_audit(name: str) -> None:
    report = check_task(find_ladder(name), {}, samples=512)
    failed = {one.level_audit.name: [f.evidence for f in one.findings if f.outcome == "fail"] for one in report.levels}
    assert not {level: sentences for level, sentences in failed.items() if sentences}
