from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.analysis.run_rows import RunRow
from attnlab.records import DiagnosticsPoint, HistoryPoint, Record
from attnlab.rendering._curves import WIDTH, learning_curves
from attnlab.rendering.run_card import RunCard
from attnlab.run_fields import run_fields
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import run


def card(record: Record, tags: tuple[str, ...] = (), *, stale: bool = False) -> RunCard:
    return RunCard(RunRow(record, Path("s"), tags, stale, run_fields(record.spec)))


def test_evaluations_diagnostics_and_tags_are_shown() -> None:
    point = DiagnosticsPoint(step=1200, values={"residual": (0.9, 0.5)})
    record = run(accuracy=0.75, other_levels={8: 0.5}).model_copy(update={"diagnostics_history": (point,)})
    lines = drawn(card(record, ("good",), stale=True))
    assert lines[0].split()[0] == record.id
    assert "tags: good" in lines[1]
    assert "stale" in " ".join(lines[1:3])
    assert any(line.split()[:2] == ["-", "8"] and "50.0 %" in line for line in lines)
    assert "residual at step 1200  0.9  0.5" in lines
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_run_that_is_not_done_says_why(status: str) -> None:
    record = run(status=status, reason="out of memory")  # type: ignore[arg-type]
    lines = drawn(card(record))
    assert f"{status}: out of memory" in lines
    assert any(line.startswith("accuracy") for line in lines) == (status == "diverged")


def test_a_run_without_validations_has_no_curve() -> None:
    record = run().model_copy(update={"history": ()})
    assert "No validation was recorded." in drawn(card(record))


def test_curves_share_the_axis_of_steps() -> None:
    def of(steps: int) -> Record:
        points = tuple(HistoryPoint(step=step, loss=1.0, accuracy=1.0) for step in range(100, steps + 1, 100))
        return run().model_copy(update={"history": points})

    lines = drawn(learning_curves([of(400), of(800)], ["A", "B"]))
    full = [line.split()[1] for line in lines if line.startswith(("A", "B"))]
    assert [len(text) for text in full] == [WIDTH // 2, WIDTH]
