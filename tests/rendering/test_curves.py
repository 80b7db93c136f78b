from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.errors import InvalidValueError
from attnlab.rendering.curve_plot import definition, draw_curves
from attnlab.rendering.curves import LearningCurves
from attnlab.rendering.report import report
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import run
from tests.rendering.learned_runs import learned_run, learned_runs


def test_a_run_is_drawn_as_a_file() -> None:
    pytest.importorskip("vl_convert")
    record = learned_run("softmax", 4, 0)
    panels = definition([record], ["one"])["concat"]
    assert [panel["data"]["values"][-1]["step"] for panel in panels] == [1200] * 3
    assert record.id.encode() in draw_curves([record], ["one"], Path("x.svg"))
    assert draw_curves([record], ["one"], Path("x.pdf")).startswith(b"%PDF")


def test_a_measure_that_was_not_recorded_has_no_panel() -> None:
    assert len(definition([run()], ["one"])["concat"]) == 2
    with pytest.raises(InvalidValueError, match="No validation"):
        definition([run(history=())], ["one"])


def test_learning_curves_in_the_terminal_are_those_of_the_median_runs() -> None:
    records = learned_runs(seeds=3)
    text = drawn(LearningCurves(report(records)))
    assert text[0] == "recall, pairs 2"
    own = [one for one in records if one.spec.variant == "linear" and one.spec.task.level == 8]
    median = sorted(own, key=lambda one: one.history[-1].accuracy)[1]
    (line,) = (index for index, one in enumerate(text) if f"run {median.id[:6]}" in one)
    assert text[line - 1].startswith("linear")
    assert text[line + 1].startswith("1 of 3")
    assert f"{100 * median.history[-1].accuracy:.1f} %" in " ".join(text[line : line + 3])
    assert "there are no curves" in " ".join(drawn(LearningCurves(report([run(history=())]))))
