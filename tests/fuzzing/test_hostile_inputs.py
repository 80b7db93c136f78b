"""Two hundred inputs of each kind that nobody would write: each is refused in one block, or answered."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.fuzzing.campaign import KINDS, campaign

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGPROF"), reason="the processor time of a command cannot be limited"
)
INPUTS, MANY_INPUTS = 200, 10_000
SEED = 18
"""Of the many inputs; the few are always the same."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_input_is_refused_in_one_block_or_answered(kind: str, tmp_path: Path) -> None:
    figures = campaign(tmp_path, kind, INPUTS, None)
    assert not figures.faults, figures.details()
    assert figures.inputs == INPUTS
    assert min(figures.answers[0], figures.answers[2]) >= 5, figures  # neither side is trivial


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_inputs_are_refused_in_one_block_or_answered(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = campaign(tmp_path, kind, MANY_INPUTS // len(KINDS), SEED)
    with capsys.disabled():  # the figures are shown whether the test passes or not
        sys.stderr.write(f"\n{figures}\n")
    assert not figures.faults, figures.details()
    assert figures.inputs == MANY_INPUTS // len(KINDS)
