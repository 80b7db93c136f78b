"""Stores that attnlab 0.1 wrote: read as they are, migrated when they are written to, nothing lost.

``format1/`` was written by the last version of format 1: a sweep of a small experiment, a mixture trained with Muon and
a gate, a ladder of lengths, and a run that was stopped at step 20 of 40.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnlab
from attnlab.config.experiment import stored_experiment
from attnlab.model.transformer import build
from attnlab.records import OLD_ID, Record
from attnlab.storage import Store
from attnlab.storage._migration import format_1_id, migrated_record
from attnlab.storage._store import FORMAT
from attnlab.storage.find_run import find_run
from attnlab.storage.journal import OLD_JOURNAL
from attnlab.storage.status import store_status
from attnlab.storage.weights import read
from attnlab.tasks.io.streams import Source

OLD = Path(__file__).with_name("format1")
TINY: dict[str, Any] = {"layers": 1, "width": 8, "heads": 1}


@pytest.fixture(params=["tiny", "train"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(OLD / request.param, tmp_path / request.param)
    path: Path = tmp_path / request.param
    return path


def files(path: Path) -> dict[str, bytes]:
    return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def old_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_reading_changes_nothing_and_loses_nothing(store: Path) -> None:
    before = files(store)
    records = Store(store).records()
    assert files(store) == before
    for old, record in zip(old_lines(store / "records.jsonl"), records, strict=True):
        assert (record.environment[OLD_ID], record.id) == (old["id"], record.spec.id)
        assert (record.steps, record.loss, record.parameters) == (old["steps"], old["loss"], old["parameters"])
        assert record.exact_match.correct == old["answers"]["correct"]
        assert [point.loss for point in record.history] == [point["loss"] for point in old["curve"]]
        assert [one.level for one in record.evaluations] == [one["complexity"] for one in old["readings"]]
        assert [one.subtask for one in record.evaluations] == [one["member"] for one in old["readings"]]
        assert [one.step for one in record.diagnostics_history] == [one["step"] for one in old["watched"]]
        assert record.environment["vmap"] == old["environment"]["lanes"]


def test_the_old_id_is_computed_from_the_new_spec(store: Path) -> None:
    assert [format_1_id(record.spec) for record in Store(store).records()] == [
        old["id"] for old in old_lines(store / "records.jsonl")
    ]


def test_opening_migrates_once(store: Path) -> None:
    records = Store(store).records()
    Store(store).open()
    assert json.loads((store / "store.json").read_text()) == {"format": FORMAT}
    assert Store(store).records() == records
    assert all(
        migrated_record(line) == one for line, one in zip(old_lines(store / "records.jsonl"), records, strict=True)
    )
    assert {path.stem for path in (store / "weights").iterdir()} == {record.id for record in records}
    assert (store / OLD_JOURNAL).read_bytes() == files(OLD / store.name)["records.jsonl"]
    before = files(store)
    Store(store).open()
    assert files(store) == before


def test_a_migration_that_was_interrupted_goes_on(store: Path) -> None:
    Store(store).open()
    after = files(store)
    (store / "store.json").write_text('{"format": 1}\n')
    Store(store).open()
    assert files(store) == after


@pytest.mark.parametrize("migrated", [False, True])
def test_weights_fit_the_model_under_the_old_id_and_the_new(store: Path, migrated: bool) -> None:
    if migrated:
        Store(store).open()
    for record in Store(store).records():
        found, path = find_run(record.environment[OLD_ID][:8], store)
        assert found == record == find_run(record.id, store)[0]
        arrays, _ = read(path)
        source = Source(record.spec.task, record.spec.seed, record.spec.train.train_examples)
        model = build(record.spec.model, vocabulary=source.vocabulary, length=source.length, seed=0)
        assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
            name: array.shape for name, array in arrays.items()
        }


def test_the_status_of_an_old_sweep_has_nothing_missing(tmp_path: Path) -> None:
    shutil.copytree(OLD / "tiny", tmp_path / "tiny")
    for _ in range(2):
        status = store_status(tmp_path / "tiny")
        assert (len(status.done), status.missing, dict(status.stale)) == (4, (), {})
        Store(tmp_path / "tiny").open()


def test_its_experiment_is_read_in_the_new_words(tmp_path: Path) -> None:
    shutil.copytree(OLD / "tiny", tmp_path / "tiny")
    before = stored_experiment(tmp_path / "tiny")
    assert before is not None
    assert before.grid == {"attention": ("softmax", {"name": "dape", "kernel": 3}), "lr": (1e-3, 3e-3)}
    assert (before.tune, before.train["max_steps"], before.claims[0].of["level"]) == (("lr",), 4, 4)
    Store(tmp_path / "tiny").open()
    assert stored_experiment(tmp_path / "tiny") == before


def test_a_finished_run_of_an_old_store_is_not_run_again(tmp_path: Path) -> None:
    shutil.copytree(OLD / "tiny", tmp_path / "tiny")
    old = Store(tmp_path / "tiny").records()
    settings: dict[str, Any] = {
        "model": {**TINY, "mlp_ratio": 2.0, "position": "learned"},
        "train": {"max_steps": 4, "batch_size": 4, "validation_examples": 8, "test_examples": 8, "eval_every": 2},
    }
    settings["train"] |= {"weight_decay": 0.1, "log_diagnostics": ["rank"]}
    variants: dict[str, Any] = {"attention": ["softmax", "dape:kernel=3"], "seeds": 1, "grid": {"lr": [1e-3, 3e-3]}}
    (tmp_path / "tiny" / "experiment.json").unlink()
    new = attnlab.sweep("copy", complexity=[4], store=str(tmp_path / "tiny"), executor="inline", **settings, **variants)
    assert {record.id: record for record in new} == {record.id: record for record in old}


def test_a_stopped_run_goes_on_to_the_numbers_it_would_have_had(tmp_path: Path) -> None:
    shutil.copytree(OLD / "train", tmp_path / "train")
    (record,) = attnlab.train(
        "copy",
        "softmax",
        position="learned",
        model=TINY,
        train={"max_steps": 40, "batch_size": 4, "validation_examples": 4, "test_examples": 8, "eval_every": 10},
        store=str(tmp_path / "train"),
        device="cpu",
        resume=True,
    )
    # What the last version of format 1 came to when it went on from this checkpoint.
    assert record.loss == pytest.approx(3.0412232875823975, abs=1e-6)
    assert [point.loss for point in record.history][:2] == [3.179587244987488, 3.0821144580841064]
    assert [point.step for point in record.history] == [10, 20, 30, 40]
    assert not list((tmp_path / "train" / "checkpoints").iterdir())


def test_a_line_that_is_no_record_of_format_1_names_itself(tmp_path: Path) -> None:
    shutil.copytree(OLD / "tiny", tmp_path / "tiny")
    with (tmp_path / "tiny" / "records.jsonl").open("a") as file:
        file.write('{"id": "x"}\n')
    with pytest.raises(attnlab.errors.StoreError, match=r"records\.jsonl:5\n  This line is no record\."):
        Store(tmp_path / "tiny").records()


def test_a_mixture_keeps_its_subtasks(tmp_path: Path) -> None:
    record: Record = Store(OLD / "train").records()[0]
    options = record.spec.task.options
    assert (record.spec.task.name, [one["name"] for one in options["tasks"]]) == ("mixture", ["copy", "recall"])
    assert (options["count"], options["tasks"][0]["complexity"]) == (None, "symbols")
    assert np.isfinite(record.spec.train.max_steps)
