from __future__ import annotations

import csv
import io
import json
import sys
from typing import Any

import pytest

from attnlab.analysis.statistics import clopper_pearson
from attnlab.config.experiment import Claim, Experiment, LadderLevels
from attnlab.errors import InvalidValueError
from attnlab.rendering._exporters import json_data
from attnlab.rendering.export import FORMATS, as_markdown
from attnlab.rendering.report import Report, report
from tests.rendering.fake_runs import run, seeds

CLAIM = Claim(says="a | b", of={"attention": "a"}, than={"attention": "b"}, expect="greater")


def small() -> Report:
    records = [
        one
        for name, cells in (("a", ([1.0] * 3, [1.0] * 3)), ("b", ([1.0] * 3, [0.3] * 3)))
        for pairs, cell in zip((2, 4), cells, strict=True)
        for one in seeds(cell, attention=name, pairs=pairs)
    ]
    experiment = Experiment(name="x", question="Which?", ladders=(LadderLevels(ladder="recall"),), claims=(CLAIM,))
    return report([*records, run("b", pairs=8, status="failed")], experiment)


def strict(text: bytes) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_csv_has_a_line_for_each_cell() -> None:
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](small()).decode())))
    assert len(lines) == 5
    assert {
        name: lines[3][name]
        for name in ("task", "attention", "complexity", "level", "metric", "mean", "n", "solved", "chance")
    } == {
        "task": "recall",
        "attention": "b",
        "complexity": "pairs",
        "level": "4",
        "metric": "accuracy",
        "mean": "0.3",
        "n": "3",
        "solved": "0",
        "chance": "0.25",
    }
    solving = [float(lines[3][name]) for name in ("p_solve", "p_solve_low", "p_solve_high")]
    assert solving == pytest.approx([0.0, *clopper_pearson(0, 3)])
    assert [line["interval_kind"] for line in lines] == ["gaffke"] * 4 + [""]
    assert (lines[4]["mean"], lines[4]["n"], lines[4]["failed"]) == ("", "0", "1")


def test_json_is_strict_and_complete() -> None:
    data = strict(FORMATS["json"](small()))
    assert (data["question"], data["records"], data["failed"], data["diverged"]) == ("Which?", 13, 1, 0)
    assert data["cells"][-1]["mean"] is None
    first, second = data["summaries"]
    assert (first["max_solved"], first["C50"], first["C50_interval"], first["rank"]) == (4, "inf", [0.0, "inf"], "1-2")
    assert (second["max_solved"], second["rank"]) == (2, "1-2")
    assert data["overall"][0]["beats_first"] == 0.5
    (claim,) = data["claims"]
    assert (claim["says"], claim["outcome"], claim["estimate"]) == ("a | b", "undecided", pytest.approx(0.35))
    assert data["notes"][0] == "13 runs."


def test_nan_is_null_and_infinity_is_a_string_in_strict_json() -> None:
    assert json_data({"a": [float("nan"), float("inf"), -float("inf"), 1.5], "b": ("x", None)}) == {
        "a": [None, "inf", "-inf", 1.5],
        "b": ["x", None],
    }


def test_markdown_tables_are_rectangular() -> None:
    text = as_markdown(small()).decode()
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(table) for table in tables] == [4, 4, 3]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
    assert (
        "| b | 100.0 (46.9-100.0; n=3; solved 3/3: 29-100) | 30.0 (26.4-79.8; n=3; solved 0/3: 0-71) | failed |" in text
    )
    assert "| a / b | undecided |" in text
    assert text.startswith("**Which?**\n\nrecall: accuracy in % by pairs\n")
    assert text.endswith("attnlab ls results shows why.\n")


def test_parquet_reads_back() -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet  # type: ignore[import-untyped]

    table = parquet.read_table(io.BytesIO(FORMATS["parquet"](small())))
    assert table.num_rows == 5
    assert table.column("level").to_pylist() == [2, 4, 2, 4, 8]
    mixed_levels = report([run(pairs="easy"), run(pairs=4, task="copy")])
    mixed = parquet.read_table(io.BytesIO(FORMATS["parquet"](mixed_levels)))
    assert mixed.column("level").to_pylist() == ["easy", "4"]


def test_parquet_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidValueError, match="pyarrow") as caught:
        FORMATS["parquet"](small())
    assert caught.value.hint == "Install it with: pip install 'attnlab[parquet]'."


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_report_can_be_written(name: str) -> None:
    assert isinstance(FORMATS[name](report([])), bytes)
