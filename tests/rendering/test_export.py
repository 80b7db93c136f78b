from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
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
    ladders = (LadderLevels(ladder="recall", levels=(2, 4)),)
    experiment = Experiment(name="x", question="Which?", ladders=ladders, claims=(CLAIM,))
    return report([*records, run("b", pairs=8, status="failed")], experiment)


def strict(text: bytes) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_markdown_ends_a_table_of_accuracies_with_chance() -> None:
    first = as_markdown(small()).decode().split("| attention | max solved")[0]
    assert first.strip().splitlines()[-1] == "| chance | 25.0 | 25.0 | - |"
    assert "| chance" not in as_markdown(report(seeds([0.5] * 3), metric="loss")).decode()


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
    assert [len(table) for table in tables] == [5, 4, 3]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
    assert (
        "| b | 100.0 (46.9-100.0; n=3; solved 3/3: 29-100) | 30.0 (26.4-79.8; n=3; solved 0/3: 0-71) | failed |" in text
    )
    assert "| a / b | undecided |" in text
    question, answer, heading, *_ = text.split("\n\n")
    assert (question, heading) == ("**Which?**", "recall: accuracy in % by pairs")
    assert "Which of a and b is ahead is undecided with 3 seeds." in answer
    assert text.endswith("attnlab ls results shows why.\n")


def cells_of(result: Report) -> Any:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet  # type: ignore[import-untyped]

    return parquet.read_table(io.BytesIO(FORMATS["parquet"](result)))


def test_parquet_reads_back() -> None:
    table = cells_of(small())
    assert table.num_rows == 5
    assert table.column("attention").to_pylist() == ["a", "a", "b", "b", "b"]
    assert table.column("level").to_pylist() == ["2", "4", "2", "4", "8"]
    assert table.column("level_number").to_pylist() == [2.0, 4.0, 2.0, 4.0, 8.0]
    assert table.column("mean").to_pylist() == [1.0, 1.0, 1.0, 0.3, None]
    assert table.column("fields")[3].as_py() == [
        {"name": "attention", "value": "b"},
        {"name": "level", "value": "4"},
    ]
    mixed = cells_of(report([run(pairs="easy"), run(pairs=4, task="copy")]))
    assert mixed.column("level").to_pylist() == ["easy", "4"]
    assert mixed.column("level_number").to_pylist() == [None, 4.0]


REPORTS: dict[str, Callable[[], Report]] = {
    "small": small,
    "empty": lambda: report([]),
    "words": lambda: report([run(pairs="easy")]),
    "failed": lambda: report([run(status="failed")]),
    "fields": lambda: report([run(lr=0.1), run(lr=0.2, position="rope")], columns="lr"),
    "subtasks": lambda: report([run(subtasks={"copy": 0.5}, trained="2..8")]),
    "diagnostics": lambda: report([run(diagnostics={"entropy": float("nan")})], metric="entropy"),
}
"""Reports that would differ in their columns, or have columns without a value."""


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_has_the_same_parquet_schema(name: str) -> None:
    schema = cells_of(REPORTS[name]()).schema
    assert schema.equals(cells_of(small()).schema, check_metadata=True)
    assert dict(zip(schema.names, map(str, schema.types), strict=True)) == {
        **dict.fromkeys(("task", "subtask", "complexity", "trained"), "string"),
        **dict.fromkeys(("attention", "position", "norm_layer", "mlp", "block", "residual_stream"), "string"),
        "level": "string",
        "level_number": "double",
        "column_field": "string",
        "fields": "list<element: struct<name: string, value: string>>",
        "metric": "string",
        **dict.fromkeys(("mean", "low", "high"), "double"),
        "interval_kind": "string",
        **dict.fromkeys(("n", "solved", "runs"), "int64"),
        **dict.fromkeys(("p_solve", "p_solve_low", "p_solve_high", "chance"), "double"),
        "chosen": "string",
        **dict.fromkeys(("tried", "failed", "diverged"), "int64"),
        **dict.fromkeys(("median", "median_low", "median_high"), "double"),
        "median_interval_kind": "string",
    }


def test_a_field_that_is_no_column_is_listed() -> None:
    table = cells_of(REPORTS["fields"]())
    assert table.column("column_field").to_pylist() == ["lr", "lr"]
    listed = [{one["name"]: one["value"] for one in fields} for fields in table.column("fields").to_pylist()]
    assert [fields["lr"] for fields in listed] == ["0.1", "0.2"]
    assert table.column("position").to_pylist() == ["learned", "rope"]
    assert [fields["position"] for fields in listed] == ["learned", "rope"]


def test_different_reports_are_read_together(tmp_path: Path) -> None:
    arrow, dataset = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.dataset")
    for name, make in REPORTS.items():
        (tmp_path / f"{name}.parquet").write_bytes(FORMATS["parquet"](make()))
    rows = sum(cells_of(make()).num_rows for make in REPORTS.values())
    assert arrow.concat_tables([cells_of(make()) for make in REPORTS.values()]).num_rows == rows > 10
    for files in (sorted(tmp_path.glob("*.parquet")), sorted(tmp_path.glob("*.parquet"), reverse=True)):
        assert dataset.dataset(files).to_table().num_rows == rows


READERS: dict[str, Callable[[Any, list[str]], int]] = {
    "polars": lambda polars, files: polars.read_parquet(files).height,
    "duckdb": lambda duckdb, files: duckdb.read_parquet(files).shape[0],
    "datasets": lambda datasets, files: datasets.load_dataset("parquet", data_files=files, split="train").num_rows,
    "pandas": lambda pandas, files: len(pandas.concat([pandas.read_parquet(file) for file in files])),
}


@pytest.mark.parametrize("name", READERS)
def test_other_readers_read_different_reports_together(name: str, tmp_path: Path) -> None:
    package = pytest.importorskip(name)
    files = [str(tmp_path / f"{number}.parquet") for number in range(len(REPORTS))]
    for file, make in zip(files, REPORTS.values(), strict=True):
        Path(file).write_bytes(FORMATS["parquet"](make()))
    assert READERS[name](package, files) == sum(cells_of(make()).num_rows for make in REPORTS.values())


def test_parquet_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidValueError, match="pyarrow") as caught:
        FORMATS["parquet"](small())
    assert caught.value.hint == "Install it with: pip install 'attnlab[parquet]'."


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_report_can_be_written(name: str) -> None:
    assert isinstance(FORMATS[name](report([])), bytes)
