from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from attnlab.analysis.statistics import Sample, intervals
from attnlab.charts.runs import spread
from attnlab.errors import InvalidValueError
from attnlab.rendering._page_charts import points
from attnlab.rendering.plot import chart, curves, draw, draw_curves
from attnlab.rendering.report import Report, report
from tests.rendering.fake_runs import run, seeds
from tests.rendering.learned_runs import learned_runs

pytest.importorskip("vl_convert")
STARTS = {"svg": b"<svg", "png": b"\x89PNG\r\n", "html": b"<!DOCTYPE html>", "pdf": b"%PDF"}


def small() -> Report:
    return report(
        [
            one
            for task in ("recall", "copy")
            for name, share in (("softmax", 0.5), ("expressive", 0.9))
            for pairs in (2, 4)
            for one in seeds([share, share + 0.05, share + 0.1], attention=name, pairs=pairs, task=task)
        ]
    )


def test_points_carry_mean_interval_seeds_and_chance() -> None:
    first, *rest = points(small().panels[0])
    assert first == {
        "variant": "softmax",
        "level": 2,
        "at": spread((2, 4), 2, 0, 2),
        "mean": pytest.approx(0.55),
        "low": pytest.approx(intervals([Sample((0.5, 0.55, 0.6), (0.25, 1.0))])[0][0]),
        "high": pytest.approx(intervals([Sample((0.5, 0.55, 0.6), (0.25, 1.0))])[0][1]),
        "seeds": 3,
        "solved": 0,
        "chance": 0.25,
        "value": "55.0 %",
        "interval": first["interval"],
    }
    assert len(rest) == 3
    (single,) = points(report([run(accuracy=0.5)]).panels[0])
    assert (single["low"], single["high"], single["at"]) == (0.5, 0.5, 4)


def test_seeds_that_allow_no_interval_show_their_range() -> None:
    (panel,) = report(seeds([0.4, 0.6])).panels
    cell = replace(panel.cells[("softmax",), 4], ends=None)
    (point,) = points(replace(panel, cells={(("softmax",), 4): cell}))
    assert (point["low"], point["high"], point["interval"]) == (0.4, 0.6, "range 40.0-60.0")


def test_points_of_one_level_are_beside_one_another_and_nearer_than_the_next_level() -> None:
    for levels in ((2, 4, 8), (1, 2), (5,)):
        places = [[spread(levels, level, index, 4) for index in range(4)] for level in levels]
        assert all(row == sorted(row) and len(set(row)) == 4 for row in places)
        ends = [(row[0], row[-1]) for row in places]
        assert all(high < low for (_, high), (low, _) in itertools.pairwise(ends))
    assert spread(("easy", "hard"), "easy", 1, 2) == "easy"
    assert spread((2, 4), 4, 0, 1) == 4


def test_one_definition_with_a_panel_per_task() -> None:
    definition = chart(small())
    assert [panel["title"]["text"] for panel in definition["concat"]] == ["recall", "copy"]
    assert definition["concat"][0]["title"]["subtitle"] == "means over seeds; bars: 95 % intervals"
    assert "subtitle" not in chart(report([run()]))["concat"][0]["title"]
    marks = [layer["mark"]["type"] for layer in definition["concat"][0]["layer"]]
    assert marks == ["line", "rule", "line", "point"]
    wide = chart(report([run(pairs=pairs) for pairs in (2, 4, 8)]))
    assert '"type": "log"' in json.dumps(wide)


def test_learning_curves_have_a_panel_per_level_and_a_line_per_run() -> None:
    shown = report(learned_runs())
    definition = curves(shown)
    assert [panel["title"]["text"] for panel in definition["concat"]] == [f"recall, pairs {n}" for n in (2, 4, 8)]
    rows = definition["concat"][0]["data"]["values"]
    assert len({row["run"] for row in rows}) == 6
    assert b"<svg" in draw_curves(shown, Path("x.svg"))


@pytest.mark.parametrize("ending", STARTS)
def test_every_format(ending: str) -> None:
    result = draw(small(), Path(f"x.{ending.upper() if ending == 'png' else ending}"))
    assert result.lstrip()[: len(STARTS[ending])].lower() == STARTS[ending].lower()
    assert b'src="http' not in result
    if ending == "svg":
        assert all(word in result for word in (b"softmax", b"expressive", b"recall", b"dashed: chance"))


@pytest.mark.parametrize("ending", [".html", ".svg"])
def test_a_name_ends_no_script(ending: str) -> None:
    marker = "</script><b>marker</b><!--"
    content = draw(report(seeds([0.5, 0.6, 0.7], attention=marker, pairs=2)), Path(f"x{ending}"))
    assert b"marker" in content
    assert b"<b>marker" not in content
    assert marker[:10].encode() + b"<" not in content
    if ending == ".html":
        assert json.dumps(marker).replace("<", r"\u003c").encode() in content
        assert content.count(b"</script") == 2


@pytest.mark.parametrize("levels", [("easy", "hard"), (0, 1), (3,), (0.5, 1.5)])
def test_ladders_of_every_kind(levels: tuple[object, ...]) -> None:
    assert b"<svg" in draw(report([run(pairs=level) for level in levels]), Path("x.svg"))


@pytest.mark.parametrize("options", [{"metric": "loss"}, {"metric": "solved"}, {"columns": "attention"}])
def test_other_metrics_and_columns(options: dict[str, str]) -> None:
    assert b"<svg" in draw(report(list(small().records), **options), Path("x.svg"))  # type: ignore[arg-type]


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidValueError, match="is not a plot format") as caught:
        draw(small(), Path("x.gif"))
    assert ".pdf" in caught.value.hint
    with pytest.raises(InvalidValueError, match="no finished run"):
        draw(report([run(status="failed")]), Path("x.svg"))
    with pytest.raises(InvalidValueError, match="no finished run"):
        draw_curves(report([run(status="failed", history=())]), Path("x.svg"))
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(InvalidValueError, match="vl-convert") as caught:
        draw(small(), Path("x.svg"))
    assert caught.value.hint == "Install it with: pip install 'attnlab[plots]'."


def test_the_axis_of_a_share_reaches_below_0_where_runs_are_below_chance() -> None:
    def text(*accuracies: float) -> str:
        return json.dumps(chart(report(seeds(accuracies), metric="normalized_accuracy")))

    assert '"domain": [0, 1]' in text(0.25, 0.625, 1.0)
    assert f'"domain": [{(0.1 - 0.25) / 0.75}, 1]' in text(0.1, 0.625)  # two seeds have a range
