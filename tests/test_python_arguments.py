"""Arguments of the functions for Python: what is no count is refused, and numbers of numpy are numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnlab
from attnlab.errors import InvalidValueError
from attnlab.rendering.notebook import WIDTH

FAST: dict[str, Any] = {
    "model": {"layers": 1, "width": 8, "heads": 1},
    "train": {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4},
    "device": "cpu",
}
TINY: dict[str, Any] = {"model": {"layers": 1, "width": 8}, "length": 8}


TRAIN: Callable[..., Any] = attnlab.train
CHECK: Callable[..., Any] = attnlab.check
"""The functions without their types."""


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda: TRAIN("copy", seeds=0, store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seeds=-1, store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seeds=1.5, store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seeds="2", store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seeds=True, store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seed=-1, store=None, **FAST), "seed"),
        (lambda: TRAIN("copy", store="", **FAST), "store"),
        (lambda: attnlab.sweep("copy", seeds=0, **FAST), "seeds"),
        (lambda: attnlab.sweep("copy", store="", **FAST), "store"),
        (lambda: attnlab.diagnose(attention="softmax", seeds=0, **TINY), "seeds"),
        (lambda: attnlab.diagnose(attention="softmax", batch=0, **TINY), "batch"),
        (lambda: attnlab.audit("copy", samples=0), "samples"),
        (lambda: attnlab.audit("copy", seed=-1), "seed"),
        (lambda: attnlab.evaluate("abc", sequences=0), "sequences"),
        (lambda: CHECK([]), "attention"),
        (lambda: attnlab.report("there is no such folder"), "there is no such folder"),
    ],
)
def test_what_is_no_count_is_refused(call: Callable[[], Any], where: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        call()
    assert caught.value.where == where


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    fast = {**FAST, "train": {**FAST["train"], "max_steps": np.int32(2), "lr": np.float64(1e-3)}}
    level, seeds = np.int64(4), np.int64(2)
    records = TRAIN("copy", complexity=level, seeds=seeds, seed=np.int64(3), store=tmp_path / "s", **fast)
    same = attnlab.train(
        "copy", complexity=4, seeds=2, seed=3, store=None, **{**FAST, "train": {**fast["train"], "lr": 1e-3}}
    )
    assert [record.id for record in records] == [record.id for record in same]
    scores = attnlab.evaluate(records[0], complexity=np.array([2, 4]), store=tmp_path / "s", device="cpu")
    assert [score.level for score in scores] == [2, 4]


def test_one_level_and_one_value_may_stand_alone(tmp_path: Path) -> None:
    how: dict[str, Any] = {"seeds": 1, "executor": "inline", **FAST}
    (alone,) = attnlab.sweep("copy", complexity=4, grid={"lr": 1e-3}, store=tmp_path / "one", **how)
    (listed,) = attnlab.sweep("copy", complexity=[4], grid={"lr": [1e-3]}, store=tmp_path / "two", **how)
    assert alone.id == listed.id


def test_runs_to_compare_may_be_a_list_and_a_variant_named_twice_is_one(tmp_path: Path) -> None:
    records = attnlab.train("copy", "softmax,softmax,linear", store=tmp_path, **FAST)
    assert [record.spec.variant for record in records] == ["softmax", "linear"]
    assert attnlab.compare(records, store=tmp_path).fields == attnlab.compare(*records, store=tmp_path).fields


def test_results_print_what_a_terminal_shows(tmp_path: Path) -> None:
    records = attnlab.train("copy", store=tmp_path, **FAST)
    report, table = str(attnlab.report(records)), str(records)
    assert "accuracy in % by symbols" in report
    assert "softmax" in table
    assert all(len(line) <= WIDTH for line in (*report.splitlines(), *table.splitlines()))
    assert not report.startswith("Report(")
    assert not table.startswith("[Record(")
