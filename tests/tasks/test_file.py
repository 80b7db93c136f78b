from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from attnlab.errors import AttnlabError, InvalidFileError, InvalidValueError
from attnlab.specs import RunSpec, TaskSpec
from attnlab.tasks import IGNORE, Split
from attnlab.tasks.file import File
from attnlab.tasks.io import reading
from attnlab.tasks.io.export import export
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.reading import MAX_TOKEN, read_table
from attnlab.tasks.io.sidecar import fingerprint, sidecar_path
from attnlab.tasks.io.streams import Source, build
from attnlab.training.run import train_runs
from tests.training.runs import tiny

COPY = TaskSpec(
    name="copy", options={"symbols": 3, "alphabet": 12}, train={"symbols": "1..5"}, complexity="symbols", version=1
)
SPLIT_ROWS = {Split.TRAIN: range(8), Split.VALIDATION: range(8, 9), Split.TEST: range(9, 10)}


def write_indices(path: Path, count: int, **changed: Any) -> Path:
    """Write rows that contain their own index, which is also their target."""
    rows = [{"inputs": [row, 0], "targets": [None, row]} for row in range(count)]
    lines = [json.dumps(changed.get(f"row{index}", row)) for index, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_arrays(path: Path, inputs: Any, targets: Any, compressed: bool = False) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, inputs=inputs, targets=targets)
    return path


def drawn_indices(task: File, batch: int = 4000) -> np.ndarray[Any, Any]:
    return task.sample(np.random.default_rng(0), batch).inputs_BT[:, 0]


def test_the_example_of_the_module(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"inputs": [3, 1, 4], "targets": [null, null, 2]}\n' * 10)
    task = File(path=str(path))
    cells = task.render(task.sample(np.random.default_rng(0), 2), 1)
    assert [cell.token for cell in cells] == ["3", "1", "4"]
    assert [cell.target for cell in cells] == ["", "", "2"]
    assert (task.vocabulary, task.length, task.chance) == (5, 3, 1.0)
    assert math.isnan(task.best_accuracy)


@pytest.mark.parametrize("ending", [".npz", ".jsonl", ".parquet"])
def test_every_format_is_read_as_it_was_written(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    sidecar = export(COPY, path, sequences=640, seed=2)
    source = Source(COPY, 2)
    inputs, targets = np.zeros((640, 10), np.int64), np.full((640, 10), IGNORE)
    for step in range(10):
        batch = source.training(step, 64)
        rows, width = slice(64 * step, 64 * step + 64), batch.inputs_BT.shape[1]
        inputs[rows, :width], targets[rows, :width] = batch[0], batch[1]
    result = read_table(path)
    np.testing.assert_array_equal(result.inputs_NT, inputs)
    np.testing.assert_array_equal(result.targets_NT, targets)
    task = File(path=str(path))
    assert (task.vocabulary, task.length, task.chance, task.best_accuracy) == (13, 10, build(COPY).chance, 1.0)
    assert [task.token_to_str(token) for token in (0, 12, 13)] == ["0", "|", "#13"]
    assert task.sample(np.random.default_rng(0), 3).inputs_BT.dtype == np.int64
    sidecar_path(path).unlink()
    supervised = targets[targets != IGNORE]
    bare = File(path=str(path))
    assert bare.chance > np.bincount(supervised).max() / len(supervised), "a letter of the string is a better guess"
    assert math.isnan(bare.best_accuracy)
    assert (bare.vocabulary, bare.token_to_str(12)) == (sidecar.vocabulary, "12")


def test_uncompressed_arrays_are_mapped_and_others_are_read(tmp_path: Path) -> None:
    inputs = np.arange(60, dtype=np.int16).reshape(20, 3)
    targets = np.where(inputs % 2 == 0, inputs, IGNORE)
    for compressed, order in ((False, "C"), (True, "C"), (False, "F")):
        path = write_arrays(tmp_path / f"{compressed}{order}.npz", np.asarray(inputs, order=order), targets, compressed)  # type: ignore[call-overload]  # both values are valid
        result = read_table(path)
        assert isinstance(result.inputs_NT, np.memmap) == (not compressed and order == "C")
        np.testing.assert_array_equal(result.inputs_NT, inputs)
        np.testing.assert_array_equal(result.targets_NT, targets)


def test_rows_of_several_lengths_are_padded(tmp_path: Path) -> None:
    short, long = {"inputs": [5], "targets": [1]}, {"inputs": [1, 2, 3], "targets": [None, -100, 4]}
    result = read_table(write_indices(tmp_path / "a.jsonl", 10, row3=short, row5=long))
    assert result.inputs_NT[[2, 3, 5]].tolist() == [[2, 0, 0], [5, 0, 0], [1, 2, 3]]
    assert result.targets_NT[[2, 3, 5]].tolist() == [[-100, 2, -100], [1, -100, -100], [-100, -100, 4]]


def rows_by_split(task: File) -> dict[Split, set[int]]:
    return {split: set(drawn_indices(task.for_split(split)).tolist()) for split in SPLIT_ROWS}


@pytest.mark.parametrize("count", [10, 19, 100, 108])
def test_each_split_draws_its_rows_of_every_ten_and_no_others(count: int, tmp_path: Path) -> None:
    task = File(path=str(write_indices(tmp_path / "a.jsonl", count)), split="ordered")
    assert set(drawn_indices(task)) == set(range(count))
    for split, rows in SPLIT_ROWS.items():
        assert set(drawn_indices(task.for_split(split))) == {row for row in range(count) if row % 10 in rows}
    assert task.for_split(Split.INIT) is task


@pytest.mark.parametrize("count", [10, 19, 100, 108])
def test_rows_are_shuffled_before_they_are_divided(count: int, tmp_path: Path) -> None:
    path = str(write_indices(tmp_path / "a.jsonl", count))
    shuffled, ordered = rows_by_split(File(path=path)), rows_by_split(File(path=path, split="ordered"))
    assert set.union(*shuffled.values()) == set(range(count))
    assert [len(rows) for rows in shuffled.values()] == [len(rows) for rows in ordered.values()]
    assert sum(map(len, shuffled.values())) == count
    assert shuffled != ordered
    assert rows_by_split(File(path=path, split="shuffled")) == shuffled


@pytest.mark.parametrize("ending", [".npz", ".jsonl", ".parquet"])
def test_a_column_names_the_split_of_each_row(ending: str, tmp_path: Path) -> None:
    path, count = tmp_path / f"a{ending}", 30
    inputs = np.stack([np.arange(count), np.ones(count, np.int64)], axis=1)
    labels = ["test" if row % 3 == 1 else "validation" if row == 2 else "train" for row in range(count)]
    write_part(path, inputs, labels)
    parts = rows_by_split(File(path=str(path), split="part"))
    assert parts[Split.TEST] == set(range(1, count, 3))
    assert parts[Split.VALIDATION] == {2}
    assert parts[Split.TRAIN] == set(range(count)) - parts[Split.TEST] - {2}
    with pytest.raises(InvalidFileError, match=r"There is no (array|key|column) 'fold'; there is inputs, "):
        File(path=str(path), split="fold")
    write_part(path, inputs, ["dev" if row == 7 else label for row, label in enumerate(labels)])
    with pytest.raises(InvalidFileError, match="'part' is 'dev', which is no split") as caught:
        File(path=str(path), split="part")
    assert caught.value.where == f"{path}:8" if ending == ".jsonl" else f"{path}: row 7"
    assert caught.value.hint == "Accepted: train, validation, test."
    write_part(path, inputs, ["train" if label == "validation" else label for label in labels])
    with pytest.raises(InvalidFileError, match="No row has 'validation' in its column 'part'"):
        File(path=str(path), split="part")


def write_part(path: Path, inputs: np.ndarray[Any, Any], labels: list[str]) -> None:
    """Write a file with a column of splits."""
    if path.suffix == ".npz":
        np.savez(path, inputs=inputs, targets=inputs[:, ::-1], part=np.array(labels))
        return
    rows = [
        {"inputs": row, "targets": row[::-1], "part": label} for row, label in zip(inputs.tolist(), labels, strict=True)
    ]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(rows), path)


def held_out_rows(task: TaskSpec, split: Split, sequences: int, seed: int = 0) -> list[int]:
    batches = Source(task, seed).held_out(split, sequences, 64)
    return [row for batch in batches for row in batch.inputs_BT[:, 0].tolist()]


def test_a_held_out_row_is_asked_once(tmp_path: Path) -> None:
    spec = task_spec(find_ladder("file"), {"path": str(write_indices(tmp_path / "a.jsonl", 200))}, None)
    parts = rows_by_split(File(**spec.options))
    for split in (Split.VALIDATION, Split.TEST):
        every = held_out_rows(spec, split, 1024)
        assert len(every) == 20
        assert set(every) == parts[split]
        few, others = held_out_rows(spec, split, 7), held_out_rows(spec, split, 7, seed=1)
        assert len(set(few)) == len(few) == 7
        assert set(few) != set(others)


def test_a_record_says_how_many_rows_the_test_had(tmp_path: Path) -> None:
    spec = task_spec(find_ladder("file"), {"path": str(write_indices(tmp_path / "a.jsonl", 200))}, None)
    (record,) = train_runs([tiny(task=spec, max_steps=2, test_examples=1024)])
    assert record.exact_match.total == 20
    assert record.accuracy.sequences is not None
    assert (record.accuracy.total, record.accuracy.sequences.count) == (20, 20)
    assert record.accuracy.interval_over == "sequences"


LONG_ROWS = [12, 9, 12, 11, 12, 30, 12, 12, 25, 12] * 20 + [1500]
"""Lengths of rows, of which one is far longer than the others."""


def write_lengths(path: Path, lengths: list[int]) -> Path:
    """Write rows of these lengths, which begin with their own index and supervise the last position."""
    rows = [
        {"inputs": [index, *[1] * (length - 1)], "targets": [*[None] * (length - 1), index % 3]}
        for index, length in enumerate(lengths)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_long_row_does_not_pad_the_others(tmp_path: Path) -> None:
    source = Source(
        task_spec(find_ladder("file"), {"path": str(write_lengths(tmp_path / "a.jsonl", LONG_ROWS))}, None), 0
    )
    batches = [source.training(step, 64) for step in range(300)]
    widths = {batch.inputs_BT.shape[1] for batch in batches}
    assert widths <= {12, 30, 1500}
    assert {12, 30} <= widths
    tokens = sum(batch.inputs_BT.size for batch in batches)
    assert tokens < 300 * 64 * 20
    for batch in (*batches, *source.held_out(Split.TEST, 1024, 64)):
        lengths = np.array(LONG_ROWS)[batch.inputs_BT[:, 0]]
        assert lengths.max() <= batch.inputs_BT.shape[1] <= max(12, 2 * lengths.max())
        assert (batch.targets_BT[np.arange(len(lengths)), lengths - 1] == batch.inputs_BT[:, 0] % 3).all()
        assert ((batch.targets_BT != IGNORE).sum(axis=1) == 1).all()


def test_every_row_is_drawn_equally_often_whatever_its_length(tmp_path: Path) -> None:
    lengths = [5, 40, 100, 100, 5, 5, 5, 40, 5, 5]
    task = File(path=str(write_lengths(tmp_path / "a.jsonl", lengths)), split="ordered")
    random, share = np.random.default_rng(0), np.zeros(10)
    for _ in range(4000):
        rows = task.sample(random, 4).inputs_BT[:, 0]
        share += np.bincount(rows, minlength=10) / len(rows)  # a step weighs the same, however many rows it has
    np.testing.assert_allclose(share / 4000, 0.1, atol=0.02)


def test_rows_of_one_bucket_are_drawn_and_padded_as_without_buckets(tmp_path: Path) -> None:
    path = write_lengths(tmp_path / "a.jsonl", [9, 16, 12, 3, 16] * 8)
    task = File(path=str(path), split="ordered").for_split(Split.TRAIN)
    rows = np.random.default_rng(5).integers(0, 32, 20)
    expected = np.flatnonzero(np.arange(40) % 10 < 8)[rows]
    batch = task.sample(np.random.default_rng(5), 20)
    np.testing.assert_array_equal(batch.inputs_BT, task.table.inputs_NT[expected])
    np.testing.assert_array_equal(batch.targets_BT, task.table.targets_NT[expected])


@pytest.mark.parametrize("count", [8, 100, 161])
def test_a_limited_training_set_has_rows_of_every_length_equally_often(count: int, tmp_path: Path) -> None:
    spec = task_spec(find_ladder("file"), {"path": str(write_lengths(tmp_path / "a.jsonl", LONG_ROWS))}, None)
    source, share = Source(spec, 0, count), np.zeros(len(LONG_ROWS))
    for step in range(20 * count):
        rows = source.training(step, 8).inputs_BT[:, 0]
        share += np.bincount(rows, minlength=len(share)) / len(rows)
    assert np.count_nonzero(share) == count
    seen = share[share > 0] / (20 * count)
    assert seen.min() > 0.9 * seen.max()
    with pytest.raises(InvalidValueError, match="only 161 distinct sequences, of which 162 are asked for"):
        Source(spec, 0, 162).training(0, 8)


def test_a_mixture_asks_each_row_of_a_file_once(tmp_path: Path) -> None:
    path = write_indices(tmp_path / "a.jsonl", 200)
    spec = task_spec(find_ladder("mixture"), {"tasks": [f"file:path={path}", "parity"], "token": False}, 0)
    source = Source(spec, 0)
    batches = source.held_out(Split.TEST, 1024, 64)
    mine = [row for batch in batches for row in batch.inputs_BT[:, 0].tolist() if row < 200]
    assert len(set(mine)) == len(mine) == 20
    parity = sum(len(batch.inputs_BT) for batch in batches) - len(mine)
    assert 400 < parity < 620
    alone = source.held_out(Split.TEST, 1024, 64, source.task.subtasks()["file"])
    assert sum(len(batch.inputs_BT) for batch in alone) == 20


def test_more_held_out_rows_than_there_are_cannot_be_written(tmp_path: Path) -> None:
    spec = task_spec(find_ladder("file"), {"path": str(write_indices(tmp_path / "a.jsonl", 200))}, None)
    assert export(spec, tmp_path / "b.npz", sequences=20, split="test").sequences == 20
    with pytest.raises(InvalidValueError, match="The test split has 20 sequences, of which 21 are asked for"):
        export(spec, tmp_path / "c.npz", sequences=21, split="test")
    long = task_spec(find_ladder("file"), {"path": str(write_lengths(tmp_path / "d.jsonl", LONG_ROWS))}, None)
    export(long, tmp_path / "e.jsonl", sequences=900)
    assert len(read_table(tmp_path / "e.jsonl").inputs_NT) == 900


def test_rows_are_drawn_uniformly(tmp_path: Path) -> None:
    task = File(path=str(write_indices(tmp_path / "a.jsonl", 50)))
    counts = np.bincount(drawn_indices(task.for_split(Split.TRAIN), 20_000))
    counts = counts[counts > 0]
    assert len(counts) == 40
    assert chisquare(counts).pvalue > 1e-4
    assert chisquare(counts + 100 * (np.arange(40) % 8 == 0)).pvalue < 1e-4


def test_the_option_rows_limits_training_only(tmp_path: Path) -> None:
    path = str(write_indices(tmp_path / "a.jsonl", 100))
    few, every = File(path=path, rows=11, split="ordered"), File(path=path, split="ordered")
    assert set(drawn_indices(few.for_split(Split.TRAIN))) == {*range(8), 10, 11, 12}
    for split in (Split.VALIDATION, Split.TEST):
        np.testing.assert_array_equal(drawn_indices(few.for_split(split)), drawn_indices(every.for_split(split)))
    assert every.rows == 80


def test_chance_is_that_of_the_most_frequent_target_at_each_position(tmp_path: Path) -> None:
    rows = [{"inputs": [1, 2], "targets": [2, 7] if index % 4 else [3, 7]} for index in range(40)]
    task = File(path=str(write_indices(tmp_path / "a.jsonl", 40, **{f"row{i}": row for i, row in enumerate(rows)})))
    targets = task.sample(np.random.default_rng(0), 4000).targets_BT
    assert task.chance == pytest.approx((0.75 + 1) / 2, abs=0.05)
    assert (targets == 7).mean() == 0.5


def test_resolved_options_are_recorded_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    sidecar = export(COPY, path, sequences=100)
    spec = task_spec(find_ladder("file"), {"path": str(path)}, None)
    expected = {"path": str(path), "rows": 80, "split": "shuffled", "vocabulary": 13, "chance": build(COPY).chance}
    expected |= {"digest": sidecar.sha256, "shift": False}
    assert spec.options == expected
    assert spec.level == 80
    assert File.resolve_options(spec.options) == spec.options
    sidecar_path(path).unlink()
    assert (build(spec).vocabulary, build(spec).chance) == (13, build(COPY).chance)
    export(COPY, path, sequences=100, seed=1, force=True)
    again = task_spec(find_ladder("file"), {"path": str(path)}, None)
    assert RunSpec(task=spec).id != RunSpec(task=again).id
    assert {key for key in expected if spec.options[key] != again.options[key]} == {"digest"}
    with pytest.raises(InvalidFileError) as caught:
        Source(spec, 0)
    message = f"{path}\n  The content has changed: its SHA-256 is {fingerprint(path)[:12]}..., recorded is "
    assert str(caught.value).startswith(message)


def test_the_splits_of_a_source_are_disjoint(tmp_path: Path) -> None:
    path = write_indices(tmp_path / "a.jsonl", 200)
    source = Source(task_spec(find_ladder("file"), {"path": str(path), "split": "ordered"}, None), 0)
    trained = {row for step in range(20) for row in source.training(step, 64).inputs_BT[:, 0].tolist()}
    tested = {row for batch in source.held_out(Split.TEST, 500, 64) for row in batch.inputs_BT[:, 0].tolist()}
    assert trained == {row for row in range(200) if row % 10 < 8}
    assert tested == {row for row in range(200) if row % 10 == 9}


def test_with_multiple_targets_the_best_accuracy_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    sidecar = export(COPY, path, sequences=20)
    sidecar_path(path).write_bytes(sidecar.model_copy(update={"multiple_targets": True}).to_bytes())
    assert math.isnan(File(path=str(path)).best_accuracy)


ROW3 = [
    ({"inputs": [1, 2], "targets": [1]}, ":4", "The record has 2 inputs, but 1 targets."),
    ({"inputs": [1, 2]}, ":4", "There is no key 'targets'; there is inputs."),
    ({"inputs": [1, 2], "target": [1, 2]}, ":4", "There is no key 'targets'; there is inputs, target."),
    ({"input_ids": [1, 2], "targets": [1, 2]}, ":4", "There is no key 'inputs'; there is input_ids, targets."),
    ({}, ":4", "There is no key 'inputs'; there is none."),
    ([1, 2], ":4", "A record has the keys 'inputs' and 'targets', or 'input_ids' and 'labels'; this one is a list."),
    ({"inputs": [1, 2.5], "targets": [1, 2]}, ":4", "inputs[1] is 2.5, not a token."),
    ({"inputs": [1, None], "targets": [1, 2]}, ":4", "inputs[1] is null, not a token."),
    ({"inputs": [1, True], "targets": [1, 2]}, ":4", "inputs[1] is true, not a token."),
    ({"inputs": [1, 2], "targets": [1, "x"]}, ":4", 'targets[1] is "x", not a token.'),
    ({"inputs": [], "targets": []}, ":4", "'inputs' is [], not a list of numbers."),
    ({"inputs": "ab", "targets": [1, 2]}, ":4", "'inputs' is 'ab', not a list of numbers."),
    ({"inputs": [1, 2**40], "targets": [1, 2]}, ":4", f"'inputs' has the number {2**40}, which is not a token."),
    ({"inputs": [1, -1], "targets": [1, 2]}, ":4", "inputs[1] is -1; tokens are 0 to 1,048,575."),
    ({"inputs": [1, 2], "targets": [1, MAX_TOKEN]}, ":4", "targets[1] is 1048576; tokens are 0 to 1,048,575."),
    ({"inputs": [1, 2], "targets": [-5, 2]}, ":4", "targets[0] is -5; tokens are 0 to 1,048,575."),
    ({"inputs": [1, 2], "targets": [None, None]}, ":4", "No position of this row is supervised."),
]


@pytest.mark.parametrize(("row", "location", "message"), ROW3)
def test_a_wrong_record_is_named_by_its_line(row: Any, location: str, message: str, tmp_path: Path) -> None:
    path = write_indices(tmp_path / "a.jsonl", 20, row3=row)
    with pytest.raises(InvalidFileError) as caught:
        File(path=str(path))
    assert (caught.value.where, caught.value.problem) == (f"{path}{location}", message)
    assert caught.value.hint.startswith('Accepted: {"inputs": [3, 1, 4], ')


@pytest.mark.parametrize("torn", ['{"inputs": [1, 2], "targ', "\x00\xff"])
def test_a_torn_line_is_named(torn: str, tmp_path: Path) -> None:
    path = write_indices(tmp_path / "a.jsonl", 20)
    with path.open("a") as file:
        file.write(f"{torn}\n")
    with pytest.raises(InvalidFileError, match=r"This line is not JSON: ") as caught:
        File(path=str(path))
    assert caught.value.where == f"{path}:21"


GOOD = np.zeros((20, 3), np.int64)
NPZ: list[tuple[Any, Any, str, str]] = [
    (GOOD, GOOD[:, :2], "", "'inputs' is 20 x 3, but 'targets' is 20 x 2."),
    (GOOD.astype(float), GOOD, "", "The array 'inputs' has the type float64 and 2 dimensions."),
    (GOOD, GOOD[0], "", "The array 'targets' has the type int64 and 1 dimensions."),
    (GOOD, np.array(["a"]), "", "The array 'targets' has the type <U1 and 1 dimensions."),
    (GOOD, np.array([None]), "", "This is not a valid npz file: Object arrays cannot be loaded"),
    (GOOD[:, :0], GOOD[:, :0], ": row 0", "No position of this row is supervised."),
    (np.where(np.arange(20)[:, None] == 17, -3, GOOD), GOOD, ": row 17", "inputs[0] is -3; tokens are 0 to "),
    (GOOD, np.where(np.arange(20)[:, None] == 17, IGNORE, GOOD), ": row 17", "No position of this row is supervised."),
]


@pytest.mark.parametrize(("inputs", "targets", "location", "message"), NPZ)
def test_wrong_arrays_are_named(inputs: Any, targets: Any, location: str, message: str, tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz", inputs, targets)
    with pytest.raises(InvalidFileError) as caught:
        File(path=str(path))
    assert caught.value.where == f"{path}{location}"
    assert caught.value.problem.startswith(message)
    assert caught.value.hint.startswith("Accepted: arrays 'inputs' and 'targets'")


def test_a_row_beyond_the_first_block_is_named_too(tmp_path: Path) -> None:
    inputs = np.zeros((3, MAX_TOKEN // 2), np.int8)
    inputs[2, 7] = -1
    path = write_arrays(tmp_path / "a.npz", inputs, np.zeros_like(inputs))
    with pytest.raises(InvalidFileError, match=r"inputs\[7\] is -1") as caught:
        read_table(path)
    assert caught.value.where == f"{path}: row 2"


def test_an_archive_without_targets_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, inputs=GOOD, labels=GOOD)
    with pytest.raises(InvalidFileError, match=r"There is no array 'targets'; there is inputs, labels\."):
        File(path=str(path))


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_truncated_or_foreign_file_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    export(COPY, path, sequences=100)
    sidecar_path(path).unlink()
    complete = path.read_bytes()
    for content in (complete[: len(complete) // 2], b"nothing of the kind", b""):
        path.write_bytes(content)
        with pytest.raises(InvalidFileError, match="This is not a valid"):
            File(path=str(path))


def test_an_array_with_a_header_larger_than_its_data_is_refused(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz", GOOD, GOOD)
    path.write_bytes(path.read_bytes().replace(b"(20, 3)", b"(99, 9)"))
    with pytest.raises(InvalidFileError, match="This is not a valid npz file"):
        File(path=str(path))


def test_a_file_that_does_not_match_its_sidecar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    export(COPY, path, sequences=100)
    path.write_text(path.read_text() * 2)
    with pytest.raises(InvalidFileError, match="It describes a file with SHA-256") as caught:
        File(path=str(path))
    assert caught.value.where == str(sidecar_path(path))


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        ("none.npz", {}, InvalidFileError, "none.npz\n  There is no such file."),
        ("folder.npz", {}, InvalidFileError, "folder.npz\n  This is a folder, not a file."),
        (
            "a.csv",
            {},
            InvalidFileError,
            "a.csv\n  Files with the suffix '.csv' cannot be read.\n  Accepted: .npz, .jsonl, .parq",
        ),
        (
            "nine.jsonl",
            {},
            InvalidFileError,
            "nine.jsonl\n  9 rows are too few: every tenth row is for the test.\n  Give at least 10",
        ),
        (
            "a.jsonl",
            {"rows": 17},
            InvalidValueError,
            "a.jsonl\n  17 rows to train on are more than the 16 that the file has.\n  Use at most 16, or 0 for all.",
        ),
        (
            "a.jsonl",
            {"vocabulary": 19},
            InvalidValueError,
            "a.jsonl\n  The token 19 is outside a vocabulary of 19.\n  Use at least 20, or 0 to take it from the",
        ),
        ("a.jsonl", {"digest": "0" * 64}, InvalidFileError, "a.jsonl\n  The content has changed: its SHA-256 is "),
    ],
)
def test_invalid_options_are_refused(
    name: str,
    options: dict[str, Any],
    kind: type[AttnlabError],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    write_indices(tmp_path / "nine.jsonl", 9)
    for ending in ("csv", "jsonl"):
        write_indices(tmp_path / f"a.{ending}", 20)
    with pytest.raises(kind) as caught:
        File(path=name, **options)
    assert str(caught.value).startswith(message)


def test_blank_lines_are_passed_over_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    path = write_indices(tmp_path / "a.jsonl", 20)
    lines = path.read_text().splitlines()
    spread = ["", *lines[:10], "  ", *lines[10:], "", ""]
    (tmp_path / "b.jsonl").write_text("\n".join(spread))
    plain, spaced = File(path=str(path)), File(path=str(tmp_path / "b.jsonl"))
    np.testing.assert_array_equal(plain.table.inputs_NT, spaced.table.inputs_NT)
    spread[14] = '{"inputs": [1, 2, 3], "targets": [null, null, -7]}'
    (tmp_path / "c.jsonl").write_text("\n".join(spread))
    with pytest.raises(InvalidFileError) as caught:
        File(path=str(tmp_path / "c.jsonl"))
    assert caught.value.where == f"{tmp_path / 'c.jsonl'}:15"


@pytest.mark.parametrize("ending", [".npz", ".jsonl", ".parquet"])
def test_the_names_of_hugging_face_are_accepted(ending: str, tmp_path: Path) -> None:
    inputs = np.arange(60).reshape(20, 3) % 9
    targets = np.where(np.arange(3) == 2, inputs // 2, -100)
    path = tmp_path / f"a{ending}"
    if ending == ".npz":
        np.savez(path, input_ids=inputs, labels=targets)
    elif ending == ".jsonl":
        rows = zip(inputs.tolist(), targets.tolist(), strict=True)
        path.write_text("".join(json.dumps({"input_ids": i, "labels": t}) + "\n" for i, t in rows))
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        arrow = pytest.importorskip("pyarrow")
        parquet.write_table(arrow.table({"input_ids": inputs.tolist(), "labels": targets.tolist()}), path)
    table = File(path=str(path)).table
    np.testing.assert_array_equal(table.inputs_NT, inputs)
    np.testing.assert_array_equal(table.targets_NT, targets)


def test_other_columns_of_a_parquet_file_are_named(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": ["a"], "inputs": [[1]]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidFileError, match="There is no column 'targets'; there is inputs, text"):
        File(path=str(tmp_path / "a.parquet"))


def test_decimals_are_no_tokens(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    numbers = arrow.array([[Decimal("1.50")]] * 20, arrow.list_(arrow.decimal128(5, 2)))
    parquet.write_table(arrow.table({"inputs": numbers, "targets": numbers}), tmp_path / "a.parquet")
    with pytest.raises(InvalidFileError, match=r'inputs\[0\] is "1.50", not a token'):
        File(path=str(tmp_path / "a.parquet"))


def test_a_compressed_archive_with_a_broken_stream_is_refused(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz", np.arange(4000).reshape(1000, 4), np.zeros((1000, 4), int), compressed=True)
    content = bytearray(path.read_bytes())
    for position in range(200, 260):
        content[position] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InvalidFileError, match="This is not a valid npz file"):
        File(path=str(path))


@pytest.mark.parametrize(
    ("dtype", "ignored", "token"),
    [
        ("u1", -100, 156),
        ("u1", -1, 255),
        ("u1", -2, 254),
        ("u2", -100, 65436),
        ("u2", -1, 65535),
        ("u2", -2, 65534),
        ("u2", -99, 65437),
        (">u2", -100, 65436),
        (">u2", -9, 65527),
    ],
)
def test_a_negative_number_in_an_unsigned_array_is_no_answer(
    dtype: str, ignored: int, token: int, tmp_path: Path
) -> None:
    inputs = np.arange(60).reshape(20, 3) % 9
    signed = np.where(np.arange(3) == 2, inputs, ignored)
    with pytest.raises(InvalidFileError, match=rf"The target {token:,} is never an input: it is {ignored} in an array"):
        File(path=str(write_arrays(tmp_path / "a.npz", inputs, signed.astype(dtype))))
    allowed = inputs.copy()
    allowed[:, 0] = token
    task = File(path=str(write_arrays(tmp_path / "b.npz", allowed, signed.astype(dtype))))
    assert task.vocabulary == token + 1


def test_a_row_of_int64_with_a_wrapped_ignore_is_refused_too(tmp_path: Path) -> None:
    inputs = np.arange(60).reshape(20, 3) % 9
    targets = np.where(np.arange(3) == 2, inputs, -100).astype("u2").astype(np.int64)
    with pytest.raises(InvalidFileError, match="The target 65,436 is never an input"):
        File(path=str(write_arrays(tmp_path / "a.npz", inputs, targets)))
    wrapped = np.where(np.arange(3) == 2, 65_535, 0 * inputs)
    with pytest.raises(InvalidFileError, match="The target 65,535 is never an input: it is -1 in an array"):
        File(path=str(write_arrays(tmp_path / "c.npz", inputs, wrapped)))
    wrapped = np.where(np.arange(3) == 2, 65_534, 0 * inputs)
    with pytest.raises(InvalidFileError, match="The target 65,534 is never an input: it is -2 in an array"):
        File(path=str(write_arrays(tmp_path / "d.npz", inputs, wrapped)))
    ordinary = np.where(np.arange(3) == 2, 255, -100) + 0 * inputs
    assert File(path=str(write_arrays(tmp_path / "b.npz", inputs, ordinary))).vocabulary == 256


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4"])
def test_high_tokens_that_are_only_answers_are_tokens_if_there_are_several(dtype: str, tmp_path: Path) -> None:
    """Answers of their own ids, at the end of the range of the type; a single one could be a negative number."""
    top = 2**8 if dtype == "u1" else 2**16
    inputs = np.arange(60).reshape(20, 3) % 9
    answers = (top - 3 - inputs).astype(np.int64)
    task = File(path=str(write_arrays(tmp_path / "a.npz", inputs, answers.astype(dtype))))
    assert task.vocabulary == top - 2
    higher = inputs.astype(np.int64)
    higher[:, 1] = top + 5
    single = np.where(inputs > 4, top - 3, 1)
    assert File(path=str(write_arrays(tmp_path / "b.npz", higher, single))).vocabulary == top + 6
    if dtype != "u1":
        with pytest.raises(InvalidFileError, match="is never an input: it is -3"):
            File(path=str(write_arrays(tmp_path / "c.npz", inputs, single.astype(dtype))))


@pytest.mark.parametrize("ignored", [-100, -1, -2])
@pytest.mark.parametrize("ending", [".npz", ".jsonl"])
def test_a_wrapped_number_beyond_every_vocabulary_is_told_with_its_cure(
    ignored: int, ending: str, tmp_path: Path
) -> None:
    inputs = np.arange(60).reshape(20, 3) % 9
    targets = np.where(np.arange(3) == 2, inputs, ignored).astype("u4")
    path = tmp_path / f"a{ending}"
    if ending == ".npz":
        write_arrays(path, inputs, targets)
    else:
        rows = zip(inputs.tolist(), targets.tolist(), strict=True)
        path.write_text("".join(json.dumps({"inputs": i, "targets": t}) + "\n" for i, t in rows))
    with pytest.raises(InvalidFileError, match=f"It is {ignored} in an array of unsigned integers") as caught:
        File(path=str(path))
    assert "signed integers" in caught.value.hint


def write_rows(path: Path, inputs: Any, labels: Any, **others: list[Any]) -> Path:
    """Write a file with the names of Hugging Face, and other columns, in the format of its ending."""
    columns = {"input_ids": inputs, "labels": labels}
    if path.suffix == ".npz":
        arrays: Any = columns | {name: np.array(values) for name, values in others.items()}
        np.savez(path, **arrays)
        return path
    lists = {name: array.tolist() for name, array in columns.items()} | others
    if path.suffix == ".jsonl":
        rows = (dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table(lists), path)
    return path


FORMATS = [".npz", ".jsonl", ".parquet"]


@pytest.mark.parametrize("prompt", [0, 3, 7])
@pytest.mark.parametrize("ending", FORMATS)
def test_labels_at_their_own_tokens_are_refused_or_shifted(ending: str, prompt: int, tmp_path: Path) -> None:
    """The convention of Hugging Face: the model shifts, and -100 hides the prompt."""
    inputs = np.random.default_rng(0).integers(0, 9, (200, 8))
    labels = np.where(np.arange(8) < prompt, -100, inputs)
    path = write_rows(tmp_path / f"a{ending}", inputs, labels)
    with pytest.raises(InvalidFileError) as caught:
        File(path=str(path))
    assert caught.value.where == str(path)
    expected = f"All of the {200 * (8 - prompt):,} targets are the input at their own position, so that a model need"
    assert caught.value.problem == f"{expected} only copy it."
    assert "add shift=true: each moves to the position before it" in caught.value.hint
    batch = File(path=str(path), shift=True).sample(np.random.default_rng(1), 500)
    expected_BT = np.full_like(batch.inputs_BT, IGNORE)
    first = max(0, prompt - 1)
    expected_BT[:, first:-1] = batch.inputs_BT[:, first + 1 :]
    np.testing.assert_array_equal(batch.targets_BT, expected_BT)
    kept = File(path=str(path), shift=False).sample(np.random.default_rng(1), 500)
    np.testing.assert_array_equal(kept.inputs_BT, batch.inputs_BT)
    assert (kept.inputs_BT == kept.targets_BT)[:, prompt:].all()


def test_shifted_labels_train_what_unshifted_targets_train(tmp_path: Path) -> None:
    """Both ways of writing the same rows give the same batches, statistics and chance."""
    inputs = np.random.default_rng(0).integers(0, 5, (100, 6))
    labels = np.where(np.arange(6) % 2 == 1, inputs, -100)
    targets = np.concatenate([labels[:, 1:], np.full((100, 1), -100)], axis=1)
    one = File(path=str(write_rows(tmp_path / "a.npz", inputs, labels)), shift=True)
    other = File(path=str(write_arrays(tmp_path / "b.npz", inputs, targets)))
    assert (one.chance, one.vocabulary, one.length) == (other.chance, other.vocabulary, other.length)
    assert one.table[2:4] == other.table[2:4]
    batches = zip(*(list(task.held_out(np.random.default_rng(0), 99, 8)) for task in (one, other)), strict=True)
    for first, second in batches:
        np.testing.assert_array_equal(first[:2], second[:2])


@pytest.mark.parametrize("last", [IGNORE, 3])
def test_labels_that_have_been_shifted_are_not_shifted_again(last: int, tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).integers(0, 5, (100, 6))
    targets = np.concatenate([inputs[:, 1:], np.full((100, 1), last)], axis=1)
    path = str(write_arrays(tmp_path / "a.npz", inputs, targets))
    with pytest.raises(InvalidFileError, match="Each target is the next input already") as caught:
        File(path=path, shift=True)
    assert (caught.value.where, caught.value.hint) == (path, "Leave shift out.")
    assert File(path=path).shift is False


def test_a_row_without_a_target_after_the_shift_is_named(tmp_path: Path) -> None:
    path = write_indices(tmp_path / "a.jsonl", 20, row3={"inputs": [4, 5], "targets": [4, None]})
    with pytest.raises(InvalidFileError, match="No position of this row is supervised") as caught:
        File(path=str(path), shift=True)
    assert caught.value.where == f"{path}:4"
    assert caught.value.hint.endswith("the first target of a row is left out, and each other one moves to the left.")


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        ([[1, 7]] * 20, [[-100, 7]] * 20),  # one answer only: no sign that anything is copied
        ([[row, 0] for row in range(20)], [[row, 0] for row in range(19)] + [[3, 0]]),  # one that is not copied
    ],
)
def test_targets_that_only_happen_to_be_inputs_are_accepted(
    inputs: list[list[int]], targets: list[list[int]], tmp_path: Path
) -> None:
    path = write_arrays(tmp_path / "a.npz", np.array(inputs), np.array(targets))
    assert File(path=str(path)).shift is False


def test_a_sidecar_says_where_the_targets_stand(tmp_path: Path) -> None:
    """What attnlab generate wrote is never refused, whatever the task; the same file of a user is."""
    path = tmp_path / "a.npz"
    sidecar = export(COPY, path, sequences=20)
    inputs = read_table(path).inputs_NT + 0
    write_arrays(path, inputs, inputs)
    sidecar_path(path).write_bytes(sidecar.model_copy(update={"sha256": fingerprint(path)}).to_bytes())
    assert File(path=str(path)).shift is False
    sidecar_path(path).unlink()
    with pytest.raises(InvalidFileError, match="targets are the input at their own position"):
        File(path=str(path))


def test_whether_targets_are_shifted_is_recorded(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).integers(0, 9, (40, 8))
    path = str(write_rows(tmp_path / "a.npz", inputs, inputs))
    specs = [task_spec(find_ladder("file"), {"path": path, "shift": shift}, None) for shift in (True, False)]
    assert [spec.options["shift"] for spec in specs] == [True, False]
    assert len({RunSpec(task=spec).id for spec in specs}) == 2
    assert all(File.resolve_options(spec.options) == spec.options for spec in specs)


@pytest.mark.parametrize("ending", FORMATS)
def test_further_columns_keys_and_arrays_are_passed_over(ending: str, tmp_path: Path) -> None:
    inputs = np.arange(60).reshape(20, 3) % 9
    parts = ["train", "train", "validation", "test"] * 5
    path = write_rows(tmp_path / f"a{ending}", inputs, inputs // 2, id=list(range(20)), part=parts)
    task = File(path=str(path))
    np.testing.assert_array_equal(task.table.inputs_NT, inputs)
    np.testing.assert_array_equal(task.table.targets_NT, inputs // 2)
    split = File(path=str(path), split="part").for_split(Split.TEST)
    assert set(drawn_indices(split)) == {inputs[row, 0] for row in range(3, 20, 4)}


def test_a_line_longer_than_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_indices(tmp_path / "a.jsonl", 10, row3={"inputs": [1] * 99, "targets": [1] * 99})
    monkeypatch.setattr(reading, "LINE_BYTES", 200)
    with pytest.raises(InvalidFileError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}:4\n  This line has over 200 bytes.")


def test_a_line_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[" * 300 + "]" * 300 + "\n")
    with pytest.raises(InvalidFileError, match=r"This line is not JSON: recursion limit exceeded"):
        read_table(tmp_path / "a.jsonl")
