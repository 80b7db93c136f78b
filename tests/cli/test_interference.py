"""``attnlab interference`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from attnlab.storage import Store
from tests.cli.conftest import Command

SIZES = ["model.width=8", "model.layers=1", "train.max_steps=2", "train.batch_size=4"]
SIZES += ["train.test_examples=8", "train.validation_examples=4"]
TINY = ["--executor", "inline", "--device", "cpu", "--seeds", "1", "--quiet"]
TINY += [word for size in SIZES for word in ("--set", size)]


def test_every_task_is_trained_alone_and_with_the_other(command: Command, tmp_path: Path) -> None:
    result = command("interference", "copy:symbols=2,parity:bits=3", *TINY, "--json")
    assert result.status == 0, result.error
    cells = json.loads(result.out)
    assert {cell["task"] for cell in cells} == {"copy", "parity"}
    assert len(list((tmp_path / "results").glob("interference-*/records.jsonl"))) == 1


def test_one_task_is_refused(command: Command, tmp_path: Path) -> None:
    result = command("interference", "copy", *TINY)
    assert (result.status, result.out) == (2, "")
    assert result.error.startswith("attnlab: interference\n  Interference needs at least two tasks.")
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_sets_the_runs(command: Command, tmp_path: Path) -> None:
    result = command("interference", "copy:symbols=2,parity:bits=3", *TINY, "--recipe", "muon")
    assert result.status == 0, result.error
    (store,) = (tmp_path / "results").glob("interference-*")
    assert {record.spec.train.optimizer for record in Store(store).records()} == {"muon"}
