"""A chart of a single level is laid out along what varies."""

from __future__ import annotations

import pytest

from attnlab.analysis.axis import along_what_varies
from attnlab.analysis.grids import grids
from attnlab.records import Record
from attnlab.rendering._page_charts import points
from tests.rendering.fake_runs import run


def test_widths_are_the_axis_and_attentions_the_lines() -> None:
    records = [run(name, width=width, accuracy=width / 100) for name in ("softmax", "gpam") for width in (64, 16, 32)]
    (panel,) = grids(records)
    assert len(panel.columns) == 1
    shown = along_what_varies(panel)
    assert (shown.by, shown.columns, shown.rows) == ("width", (16, 32, 64), (("softmax",), ("gpam",)))
    assert shown.title == "recall, pairs 4"
    assert [cell.mean for cell in shown.across(("gpam",))] == [0.16, 0.32, 0.64]
    assert {point["level"] for point in points(shown)} == {16, 32, 64}


def test_words_are_the_axis_where_nothing_else_varies() -> None:
    (panel,) = grids([run(name, accuracy=0.5) for name in ("softmax", "gpam", "delta")])
    shown = along_what_varies(panel)
    assert (shown.by, shown.columns) == ("attention", ("softmax", "gpam", "delta"))
    assert shown.rows == panel.rows
    assert len({point["level"] for point in points(shown)}) == 3


@pytest.mark.parametrize(
    "records", [[run()], [run(pairs=pairs, width=width) for pairs in (2, 4) for width in (16, 32)]]
)
def test_other_panels_stay_as_they_are(records: list[Record]) -> None:
    (panel,) = grids(records)
    assert along_what_varies(panel) is panel
