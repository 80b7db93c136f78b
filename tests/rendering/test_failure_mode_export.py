"""Failure modes as files: a row per cell with the count of each, and in JSON every run."""

from __future__ import annotations

import csv
import io
import json

import pytest

from attnlab.analysis.failure_modes import FAILURE_MODES
from attnlab.rendering.failure_mode_export import FORMATS
from attnlab.rendering.failure_mode_table import failure_mode_table
from tests.analysis.test_failure_modes import CASES, PLATEAU, make_run, mixed
from tests.rendering.samples import spec


def test_csv_has_a_line_for_each_cell_with_the_count_of_each_failure_mode() -> None:
    easy, hard = csv.DictReader(io.StringIO(FORMATS["csv"](mixed()).decode()))
    named = ("task", "attention", "level", "metric", "failure_mode", "n")
    assert [easy[name] for name in named] == ["recall", "softmax", "2", "failure_mode", "solved", "3"]
    assert [hard[name] for name in named] == ["recall", "softmax", "4", "failure_mode", "rank collapse", "3"]
    assert {kind: easy[kind] for kind in FAILURE_MODES} == {**dict.fromkeys(FAILURE_MODES, "0"), "solved": "3"}
    assert {kind: hard[kind] for kind in FAILURE_MODES} == {
        **dict.fromkeys(FAILURE_MODES, "0"),
        "capacity": "1",
        "rank collapse": "2",
    }


def test_runs_that_failed_are_counted() -> None:
    specs = [spec(seed=seed) for seed in range(3)]
    kinds = ("failed", "capacity", "failed")
    records = [
        CASES[kind].model_copy(update={"id": one.id, "spec": one}) for kind, one in zip(kinds, specs, strict=True)
    ]
    (row,) = csv.DictReader(io.StringIO(FORMATS["csv"](failure_mode_table(records)).decode()))
    assert (row["failure_mode"], row["n"], row["failed"], row["capacity"]) == ("failed", "3", "2", "1")


def test_a_failure_mode_that_is_not_sure_is_counted_under_its_name_and_as_unsure() -> None:
    specs = [spec(seed=seed) for seed in range(2)]
    modes = (make_run(252, losses=PLATEAU), CASES["capacity"])
    records = [run.model_copy(update={"id": one.id, "spec": one}) for run, one in zip(modes, specs, strict=True)]
    (row,) = csv.DictReader(io.StringIO(FORMATS["csv"](failure_mode_table(records)).decode()))
    assert (row["n"], row["optimization failure"], row["capacity"], row["unsure"]) == ("2", "1", "1", "1")
    assert row["failure_modes"] == "optimization failure or capacity (1 of 2), capacity (1 of 2)"


def test_json_has_the_cells_and_every_run() -> None:
    data = json.loads(FORMATS["json"](mixed()))
    assert data["records"] == len(data["runs"]) == 6
    assert [cell["solved"] for cell in data["cells"]] == [3, 0]
    assert [run["failure_mode"] for run in data["runs"]] == ["solved"] * 3 + [
        "capacity",
        "rank collapse",
        "rank collapse",
    ]
    assert all(run["evidence"] and run["id"] for run in data["runs"])


def test_markdown_tables_are_rectangular_and_have_the_evidence() -> None:
    text = FORMATS["markdown"](mixed()).decode()
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(table) for table in tables] == [3, 5]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)
    assert text.startswith("recall: failure mode by pairs\n")
    assert "| softmax | solved (3 of 3) | rank collapse (2 of 3), capacity (1 of 3) |" in text
    assert "| rank collapse | 2 | the relative residual falls from 0.98 to 0.01 over 2 blocks. |" in text


def test_parquet_reads_back() -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet  # type: ignore[import-untyped]

    table = parquet.read_table(io.BytesIO(FORMATS["parquet"](mixed())))
    assert table.column("rank collapse").to_pylist() == [0, 2]
    assert table.column("level_number").to_pylist() == [2.0, 4.0]
    empty = parquet.read_table(io.BytesIO(FORMATS["parquet"](failure_mode_table([]))))
    assert empty.schema.equals(table.schema)
    assert not [name for name, kind in zip(empty.schema.names, empty.schema.types, strict=True) if str(kind) == "null"]


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_table_can_be_written(name: str) -> None:
    assert isinstance(FORMATS[name](failure_mode_table([])), bytes)
