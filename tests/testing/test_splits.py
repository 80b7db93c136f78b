"""The splits of a file are compared: rows that cycle are found, and random divisions are left alone."""

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
from attnlab.testing._splits import DIVISIONS, compare_splits
from attnlab.testing.check_task import check_task


def write(path: Path, lengths: list[int], seed: int = 0) -> Path:
    """Write rows of these lengths, whose targets are one more than their tokens."""
    random = np.random.default_rng(seed)
    rows = [random.integers(1, 9, length).tolist() for length in lengths]
    path.write_text(
        "".join(json.dumps({"inputs": row, "targets": [token + 1 for token in row]}) + "\n" for row in rows)
    )
    return path


CYCLE = [row % 10 + 1 for row in range(200)]
"""Lengths of rows in a file whose rows cycle: every ninth of ten has length 9, every tenth length 10."""


def audit(path: Path, **options: Any) -> list[tuple[str, str, str]]:
    (level,) = check_task(find_ladder("file"), {"path": str(path), **options}, samples=128).levels
    return [(one.check, one.outcome, one.evidence) for one in level.findings if one.check == "splits"]


def test_rows_that_cycle_fail_the_audit_in_order_and_pass_shuffled(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", CYCLE)
    ((check, outcome, evidence),) = audit(path, split="ordered")
    assert (check, outcome) == ("splits", "fail")
    assert evidence == (
        "Training, validation and test differ in the lengths: training 4.5, validation 9, test 10 on average; no "
        "random division of the rows differs as much. Divide them at random: leave task.split out."
    )
    assert audit(path) == audit(path, split="shuffled") == []


def test_splits_that_a_column_names_may_differ(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"inputs": [1] * n, "targets": [1] * n, "part": ["train", "validation", "test"][max(0, n - 8)]} for n in CYCLE
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ((_, outcome, evidence),) = audit(path, split="part")
    assert outcome == "info"
    assert evidence.endswith("They are divided so on purpose.")


@pytest.mark.parametrize("kind", ["answers", "tokens"])
def test_a_split_with_other_tokens_is_found(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = []
    for index in range(300):
        inputs = random.integers(1, 9, 6)
        if kind == "tokens" and index % 10 == 9:
            inputs[3] = random.integers(1, 3)
        answer = random.integers(1, 3 if kind == "answers" and index % 10 == 9 else 9)
        rows.append({"inputs": inputs.tolist(), "targets": [None] * 5 + [int(answer)]})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = compare_splits(File(path=str(tmp_path / "a.jsonl"), split="ordered"), 0)
    assert found is not None
    assert found.differ
    assert found.look == ("the answers" if kind == "answers" else "the tokens at position 3")
    assert found.rows == (240, 30, 30)


def test_random_divisions_are_told_apart_no_more_often_than_by_chance(tmp_path: Path) -> None:
    p_values = []
    for seed in range(40):
        lengths = np.random.default_rng(seed).integers(1, 12, 100).tolist()
        found = compare_splits(File(path=str(write(tmp_path / f"{seed}.jsonl", lengths, seed)), split="ordered"), 0)
        assert found is not None
        assert 1 / (DIVISIONS + 1) <= found.p_value <= 1
        p_values.append(found.p_value)
    assert sum(p <= 0.1 for p in p_values) <= 9  # by chance once in 100 times
    assert sum(p > 0.5 for p in p_values) >= 10


def test_only_finite_data_sets_are_compared() -> None:
    assert compare_splits(Copy(symbols=3), 0) is None
    assert compare_splits(Text(length=8), 0) is not None
