"""Files that went through pandas, polars, duckdb or datasets and back.

The files are written here as these tools write them, so that none of them needs to be installed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab.errors import InvalidFileError
from attnlab.specs import Split, TaskSpec
from attnlab.tasks.file import File
from attnlab.tasks.io.export import export
from attnlab.tasks.io.reading import read_table

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

COUNT = 20
INPUTS = [[row, 3, 7][: 2 + row % 2] for row in range(COUNT)]
TARGETS = [[None, 3, 1][: 2 + row % 2] for row in range(COUNT)]
PARTS = [("train", "train", "validation", "test")[row % 4] for row in range(COUNT)]


def filled(missing: Any) -> list[list[Any]]:
    """The targets with another value where nothing is asked."""
    return [[missing if target is None else target for target in row] for row in TARGETS]


def pandas_table() -> Any:
    """Lists with nulls become arrays of floats with nan; an index that is no range becomes a column."""
    arrays = [np.array(row, dtype=np.float64) for row in filled(math.nan)]
    columns = {
        "inputs": arrow.array([np.array(row) for row in INPUTS], arrow.list_(arrow.int64())),
        "targets": arrow.array(arrays, arrow.list_(arrow.float64()), from_pandas=False),
        "part": arrow.array(PARTS).dictionary_encode(),
        "__index_level_0__": arrow.array(range(COUNT, 0, -1), arrow.int64()),
    }
    return arrow.table(columns).replace_schema_metadata({"pandas": '{"index_columns": ["__index_level_0__"]}'})


def polars_table() -> Any:
    """Lists and texts have offsets of 64 bits; nulls stay nulls."""
    lists = arrow.large_list(arrow.int64())
    parts = arrow.array(PARTS, arrow.large_string())
    return arrow.table({"inputs": arrow.array(INPUTS, lists), "targets": arrow.array(TARGETS, lists), "part": parts})


def duckdb_table() -> Any:
    """A fraction anywhere makes a column of doubles; what was read as JSON may have 64 bits without a sign."""
    lists = arrow.list_(arrow.field("child", arrow.float64()))
    unsigned = arrow.list_(arrow.field("child", arrow.uint64()))
    targets = arrow.array(TARGETS, lists)
    return arrow.table({"part": PARTS, "inputs": arrow.array(INPUTS, unsigned), "targets": targets})


def datasets_table() -> Any:
    """Lists of integers with nulls come as floats of 32 bits, with null or nan; the features stand in the metadata."""
    lists = arrow.list_(arrow.float32())
    columns = {"inputs": arrow.array(INPUTS, lists), "targets": arrow.array(filled(math.nan), lists), "part": PARTS}
    return arrow.table(columns).replace_schema_metadata({"huggingface": '{"info": {"features": {}}}'})


def integer_table() -> Any:
    """With -100 where nothing is asked, integers stay integers."""
    lists = arrow.list_(arrow.int32())
    columns = {"inputs": arrow.array(INPUTS, lists), "targets": arrow.array(filled(-100), lists), "part": PARTS}
    return arrow.table(columns)


TABLES: dict[str, Callable[[], Any]] = {
    "pandas": pandas_table,
    "polars": polars_table,
    "duckdb": duckdb_table,
    "datasets": datasets_table,
    "integers": integer_table,
}


def padded(rows: list[list[int]], filler: int) -> list[list[int]]:
    return [row + [filler] * (3 - len(row)) for row in rows]


def check(path: Path) -> None:
    """The file has the rows, and the column that names the split of each."""
    table = read_table(path, "part")
    assert table.inputs_NT.tolist() == padded(INPUTS, 0)
    assert table.targets_NT.tolist() == padded(filled(-100), -100)
    assert table.splits_N is not None
    assert table.splits_N.tolist() == PARTS
    task = File(path=str(path), split="part")
    assert (task.vocabulary, task.rows) == (COUNT, 10)
    assert sorted(task.parts[Split.VALIDATION].rows.tolist()) == list(range(2, COUNT, 4))


@pytest.mark.parametrize("name", TABLES)
def test_a_parquet_file_of_another_tool_is_read(name: str, tmp_path: Path) -> None:
    parquet.write_table(TABLES[name](), tmp_path / "a.parquet")
    check(tmp_path / "a.parquet")


@pytest.mark.parametrize("missing", [None, -100, -100.0, math.nan])
@pytest.mark.parametrize("kind", [int, float])
def test_a_jsonl_file_of_another_tool_is_read(kind: type, missing: float | None, tmp_path: Path) -> None:
    """Floats with integral values, null, -100 or a bare NaN, an index, and keys that only some records have."""
    path = tmp_path / "a.jsonl"
    records = [
        {"inputs": [kind(token) for token in inputs], "targets": targets, "part": part, "__index_level_0__": row}
        | ({"note": {"nested": [None, "x"]}} if row % 2 else {})
        for row, (inputs, targets, part) in enumerate(zip(INPUTS, filled(missing), PARTS, strict=True))
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    check(path)


def test_rows_of_one_length_may_be_lists_of_a_fixed_size(tmp_path: Path) -> None:
    lists = arrow.list_(arrow.int64(), 2)
    rows = [[row, row + 1] for row in range(COUNT)]
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"input_ids": arrow.array(rows, lists), "labels": arrow.array(rows, lists)}), path)
    assert read_table(path).inputs_NT.tolist() == rows


@pytest.mark.parametrize(
    ("inputs", "targets", "problem"),
    [
        ([1.5, 2.0], [1.0, 2.0], "inputs[0] is 1.5, not a token."),
        ([1.0, math.nan], [1.0, 2.0], "inputs[1] is NaN, not a token."),
        ([1.0, None], [1.0, 2.0], "inputs[1] is null, not a token."),
        ([1.0, 2.0], [1.0, math.inf], "targets[1] is Infinity, not a token."),
        ([1.0, 2.0], [1.0, 1e300], "targets[1] is 1e+300, not a token."),
        ([1.0, 2.0], [1.0, 2.25], "targets[1] is 2.25, not a token."),
        ([1.0, 2.0], [-5.0, 1.0], "targets[0] is -5; tokens are 0 to 1,048,575."),
        ([1.0, 2.0], [65436.0, 2.0**32 - 100], "'targets' has the number 4294967196, which is not a token. It is -100"),
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_other_floats_are_refused_alike(
    ending: str, inputs: list[Any], targets: list[Any], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{ending}"
    records = [{"inputs": [1.0, 2.0], "targets": [1.0, 2.0]}] * 3 + [{"inputs": inputs, "targets": targets}]
    write(path, records)
    with pytest.raises(InvalidFileError) as caught:
        File(path=str(path))
    assert caught.value.problem.startswith(problem)
    assert caught.value.where == (f"{path}:4" if ending == ".jsonl" else f"{path}: row 3")


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """Write records in the format of the ending."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        parquet.write_table(arrow.Table.from_pylist(records), path)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_further_columns_are_metadata_that_split_may_name(ending: str, tmp_path: Path) -> None:
    """Text beside the ids, as data sets of Hugging Face have it, also under the names of our lists."""
    path = tmp_path / f"a{ending}"
    write(
        path,
        [
            {
                "inputs": "a b",
                "targets": "b c",
                "input_ids": [row, 1],
                "labels": [-100, 2],
                "attention_mask": [1, 1],
                "difficulty.kind": "easy" if row % 2 else None,
                "where": {"file": "a.txt", "line": row},
                "fold": PARTS[row],
            }
            for row in range(COUNT)
        ],
    )
    table = read_table(path, "fold")
    assert table.inputs_NT.tolist() == [[row, 1] for row in range(COUNT)]
    assert table.splits_N is not None
    assert table.splits_N.tolist() == PARTS
    assert len(File(path=str(path)).parts[Split.TEST].rows) == COUNT // 10
    with pytest.raises(InvalidFileError, match=r"'difficulty.kind' is None, which is no split"):
        File(path=str(path), split="difficulty.kind")
    with pytest.raises(InvalidFileError, match=r"There is no (key|column) 'part'; there is attention_mask, difficulty"):
        File(path=str(path), split="part")


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_lists_that_are_missing_are_refused_alike(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    write(path, [{"inputs": [1, 2], "targets": [1, 2]}, {"inputs": [1, 2], "targets": None}])
    with pytest.raises(InvalidFileError, match="'targets' is None, not a list of numbers"):
        File(path=str(path))


TOOLS: dict[str, Callable[[Any, str, str], Any]] = {
    "pandas": lambda pandas, old, new: pandas.read_parquet(old).sample(frac=1, random_state=0).to_parquet(new),
    "polars": lambda polars, old, new: polars.read_parquet(old).write_parquet(new),
    "duckdb": lambda duckdb, old, new: duckdb.read_parquet(old).write_parquet(new),
    "datasets": lambda datasets, old, new: datasets.Dataset.from_parquet(old).to_parquet(new),
}


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("null", [False, True])
def test_the_tool_itself_where_it_is_installed(name: str, null: bool, tmp_path: Path) -> None:
    package = pytest.importorskip(name)
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    spec = TaskSpec(name="copy", options={"symbols": 3}, complexity="symbols", version=1)
    export(spec, old, sequences=COUNT, ignore_index="null" if null else "-100")
    TOOLS[name](package, str(old), str(new))
    one, other = read_table(old), read_table(new)
    pairs = [sorted(zip(table.inputs_NT.tolist(), table.targets_NT.tolist(), strict=True)) for table in (one, other)]
    assert pairs[0] == pairs[1]
