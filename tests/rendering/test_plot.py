from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from attnlab.analysis.statistics import Sample, intervals
from attnlab.errors import InvalidValueError
from attnlab.rendering.plot import chart, draw, points
from attnlab.rendering.report import Report, report
from tests.rendering.fake_runs import run, seeds

pytest.importorskip("altair")
pytest.importorskip("vl_convert")


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
        "x": 2,
        "mean": pytest.approx(0.55),
        "low": pytest.approx(intervals([Sample((0.5, 0.55, 0.6), (0.25, 1.0))])[0][0]),
        "high": pytest.approx(intervals([Sample((0.5, 0.55, 0.6), (0.25, 1.0))])[0][1]),
        "seeds": 3,
        "solved": 0,
        "chance": 0.25,
    }
    assert len(rest) == 3
    (single,) = points(report([run(accuracy=0.5)]).panels[0])
    assert (single["low"], single["high"]) == (0.5, 0.5)


def test_one_definition_with_a_panel_per_task() -> None:
    definition = chart(small()).to_dict()
    assert [panel["title"] for panel in definition["concat"]] == ["recall", "copy"]
    marks = [layer["mark"]["type"] for layer in definition["concat"][0]["layer"]]
    assert marks == ["line", "area", "line", "point"]
    assert '"type": "log"' in json.dumps(definition)


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<svg"), ("png", b"\x89PNG\r\n"), ("html", b"<!DOCTYPE html>")])
def test_every_format(ending: str, start: bytes) -> None:
    result = draw(small(), Path(f"x.{ending}"))
    assert result.lstrip()[: len(start)].lower() == start.lower()
    assert b'src="http' not in result
    if ending == "svg":
        assert all(word in result for word in (b"softmax", b"expressive", b"recall", b"dashed: chance"))


@pytest.mark.parametrize("levels", [("easy", "hard"), (0, 1), (3,)])
def test_ladders_of_every_kind(levels: tuple[object, ...]) -> None:
    assert b"<svg" in draw(report([run(pairs=level) for level in levels]), Path("x.svg"))


@pytest.mark.parametrize("options", [{"metric": "loss"}, {"metric": "solved"}, {"columns": "attention"}])
def test_other_metrics_and_columns(options: dict[str, str]) -> None:
    assert b"<svg" in draw(report(list(small().records), **options), Path("x.svg"))  # type: ignore[arg-type]


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidValueError, match="is not a plot format"):
        draw(small(), Path("x.gif"))
    with pytest.raises(InvalidValueError, match="no finished run"):
        draw(report([run(status="failed")]), Path("x.svg"))
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(InvalidValueError, match="altair and vl-convert") as caught:
        draw(small(), Path("x.svg"))
    assert caught.value.hint == "Install them with: pip install 'attnlab[plots]'."
