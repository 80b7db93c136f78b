"""Repeated rows of a file are counted, and rows of the test that stand in training fail the audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab.tasks.copying import Copy
from attnlab.tasks.file import File
from attnlab.tasks.io.ladders import find_ladder
from attnlab.tasks.text import Text
from attnlab.testing._rows import count_rows
from attnlab.testing.check_task import check_task
from attnlab.testing.finding import Finding

Row = tuple[list[int], int]


def rows(count: int, seed: int = 0) -> list[Row]:
    """Different rows, each with a target at its end."""
    random = np.random.default_rng(seed)
    return [([index // 16, index % 16, *random.integers(0, 16, 4).tolist()], index % 7) for index in range(count)]


def write(path: Path, given: list[Row], **columns: list[Any]) -> Path:
    records = [{"inputs": inputs, "targets": [None] * 5 + [target]} for inputs, target in given]
    for name, values in columns.items():
        for record, value in zip(records, values, strict=True):
            record[name] = value
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def audit(path: Path, task: str = "file", **options: Any) -> tuple[bool, list[Finding]]:
    (level,) = check_task(find_ladder(task), {"path": str(path), **options}, samples=128).levels
    return level.passed, [finding for finding in level.findings if finding.check in ("rows", "leak")]


def test_a_file_of_few_different_rows_fails_the_audit(tmp_path: Path) -> None:
    """300 rows of which 5 are different."""
    drawn = np.random.default_rng(0).integers(0, 5, 300)
    path = write(tmp_path / "a.jsonl", [rows(5)[index] for index in drawn])
    assert count_rows(File(path=str(path)), 0) == (300, 5, 30, 30)
    passed, (finding,) = audit(path)
    assert not passed
    assert (finding.check, finding.outcome) == ("rows", "fail")
    assert finding.evidence == (
        "Of 300 rows only 5 are different, and 30 of 30 rows of the test stand in training, where they can be "
        "memorized. Keep one row of each kind."
    )


def test_a_file_of_different_rows_has_no_finding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows(200))
    assert audit(path) == (True, [])


def test_repeats_that_are_kept_apart_are_told_and_pass(tmp_path: Path) -> None:
    parts = (["train"] * 8 + ["validation", "test"]) * 20
    given = rows(200)
    for index in (0, 10, 20):
        given[index + 1] = given[index]
    path = write(tmp_path / "a.jsonl", given, part=parts)
    assert count_rows(File(path=str(path), split="part"), 0) == (200, 197, 20, 0)
    passed, (finding,) = audit(path, split="part")
    assert (passed, finding.outcome) == (True, "info")
    assert finding.evidence == "Of 200 rows only 197 are different; no row of the test stands in training."


@pytest.mark.parametrize(("known", "outcome"), [(1, "info"), (2, "info"), (3, "fail")])
def test_more_than_one_in_a_hundred_test_rows_of_training_fail(known: int, outcome: str, tmp_path: Path) -> None:
    given = rows(1000)
    parts = ["train"] * 700 + ["validation"] * 100 + ["test"] * 200
    given[-known:] = given[:known]
    path = write(tmp_path / "a.jsonl", given, part=parts)
    passed, (finding,) = audit(path, split="part")
    assert (passed, finding.outcome) == (outcome == "info", outcome)
    assert f"and {known} of 200 rows of the test stand in training" in finding.evidence


def test_rows_with_other_answers_and_rows_of_other_lengths_are_different(tmp_path: Path) -> None:
    given = rows(40)
    given += [(inputs, target + 1) for inputs, target in given]
    longer = [{"inputs": [*inputs, 0], "targets": [None] * 5 + [target, 3]} for inputs, target in given]
    path = write(tmp_path / "a.jsonl", given)
    path.write_text(path.read_text() + "".join(json.dumps(row) + "\n" for row in longer))
    assert count_rows(File(path=str(path)), 0) == (160, 160, 16, 0)


def test_the_rows_of_a_file_in_a_mixture_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows(5) * 40)
    levels = check_task(find_ladder("mixture"), {"tasks": [f"file:path={path}", "parity"]}, 0, samples=128).levels
    assert [level.level_audit.rows for level in levels] == [(200, 5, 20, 20), None]


def test_sequences_without_end_and_windows_of_a_text_are_no_rows() -> None:
    assert count_rows(Copy(symbols=2), 0) is None
    assert count_rows(Text(length=1), 0) is None
