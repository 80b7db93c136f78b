"""What a notebook shows of records, reports and diagnoses, and the data frames that they turn into."""

from __future__ import annotations

import importlib.metadata
import math
import pickle
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

import attnlab
from attnlab._api.records import Records
from attnlab.data_frames import columns
from attnlab.diagnosis.result import Diagnosis, Panel, Series
from attnlab.errors import InvalidValueError
from attnlab.rendering.report import Report, report
from tests.rendering.fake_runs import run

HOSTILE = "<b id=x>\x1b[2J&"
"""A name with markup and a control character."""
RUNS = Records([run(pairs="easy", lr=0.1), run(pairs=4, seed=1, position="rope", diagnostics={"entropy": 0.5})])
SERIES = Series("softmax", seeds=((0.25, math.nan),), mean=(0.25, math.nan), below=(False, False))
DIAGNOSIS = Diagnosis(
    "rank-collapse", "a model", (Panel("residual", "how far", "output", False, ("1", "2"), (SERIES,)),)
)


VALUES: dict[str, Any] = {"records": RUNS, "report": report(RUNS), "empty": Report(()), "diagnosis": DIAGNOSIS}


class Elements(HTMLParser):
    """Collects elements with their attributes, and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text = ""
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_version_is_that_of_the_package() -> None:
    assert attnlab.__version__ == importlib.metadata.version("attnlab")
    assert "__version__" in dir(attnlab)


def test_records_are_a_list(tmp_path: Any) -> None:
    assert list(RUNS) == RUNS
    assert isinstance(RUNS[:1], Records)
    assert RUNS[1].spec.seed == 1
    assert pickle.loads(pickle.dumps(RUNS)) == RUNS
    assert isinstance(attnlab.load_records(tmp_path), Records)


def test_records_become_rows() -> None:
    first, second = RUNS.rows()
    assert list(first) == list(second)
    assert (first["level"], first["lr"], first["seed"], first["accuracy"]) == ("easy", 0.1, 0, 0.5)
    assert (second["level"], second["position"], second["entropy"], first["entropy"]) == (4, "rope", 0.5, None)
    assert {"id", "status", "attention", "width", "loss", "steps", "parameters", "exact_match"} <= set(first)
    assert {type(value) for row in (first, second) for value in row.values()} <= {int, float, str, bool, type(None)}
    assert Records().rows() == []


@pytest.mark.parametrize(("name", "shown"), [("records", "softmax"), ("report", "rope"), ("diagnosis", "softmax")])
def test_a_notebook_shows_them(name: str, shown: str) -> None:
    elements = Elements(VALUES[name]._repr_html_())
    assert elements.names <= {"pre", "span", "p", "b", "small", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert elements.attributes <= {"style"}
    assert shown in elements.text


def test_numbers_of_a_diagnosis_are_shown() -> None:
    assert "<td>0.25</td><td>-</td>" in DIAGNOSIS._repr_html_()


def test_names_from_elsewhere_are_only_text() -> None:
    series = Series(HOSTILE, seeds=((1.0,),), mean=(1.0,), below=(False,))
    diagnosis = Diagnosis(
        "rank-collapse", HOSTILE, (Panel(HOSTILE, HOSTILE, "", False, (HOSTILE,), (series,), HOSTILE),)
    )
    hostile = Records([run(HOSTILE.replace(" ", "")), run(seed=1)])
    for html in (diagnosis._repr_html_(), hostile._repr_html_(), report(hostile)._repr_html_()):
        elements = Elements(html)
        assert "id" not in elements.attributes
        assert "\x1b" not in html
        assert "id=x>" in elements.text


def test_no_runs_are_shown_as_such() -> None:
    assert "No runs." in Records()._repr_html_()


@pytest.mark.parametrize("name", ["records", "report", "diagnosis"])
def test_a_data_frame_of_pandas_has_columns_of_one_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package in its place records what it is given."""
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    data = VALUES[name].to_pandas()
    assert len({len(values) for values in data.values()}) == 1
    for values in data.values():
        assert len({type(value) for value in values} - {type(None)}) <= 1


def test_the_real_packages_make_data_frames_where_they_are_installed() -> None:
    pandas = pytest.importorskip("pandas")
    for name in ("records", "report", "diagnosis"):
        assert len(VALUES[name].to_pandas()) > 0
    assert pandas.concat([VALUES["report"].to_pandas()] * 2).shape[0] == 2 * len(VALUES["report"].to_pandas())


def test_two_reports_become_frames_of_one_schema_in_polars() -> None:
    polars = pytest.importorskip("polars")
    frames = [VALUES[name].to_polars() for name in ("report", "empty")]
    assert frames[0].schema == frames[1].schema
    assert polars.concat(frames).height == frames[0].height > 0
    assert VALUES["records"].to_polars()["level"].to_list() == ["easy", "4"]
    assert VALUES["diagnosis"].to_polars().height == 2


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_missing_package_is_named_with_its_command(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidValueError) as caught:
        getattr(VALUES[name], f"to_{package}")()
    assert caught.value.problem == f"A data frame needs {package}, which is not installed."
    assert caught.value.hint == f"Install it with: pip install {package}"
    assert caught.value.where == f"to_{package}()"


def test_integers_among_floats_become_floats() -> None:
    assert columns([{"a": 1, "b": True}, {"a": 0.5, "b": "x"}, {"a": None, "b": None}]) == {
        "a": [1.0, 0.5, None],
        "b": ["True", "x", None],
    }
