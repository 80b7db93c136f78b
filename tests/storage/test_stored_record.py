"""Records that are read in part are those that are read completely."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest

from attnlab.analysis.records import records
from attnlab.errors import NewerRecordWarning, StoreError, StoreWarning
from attnlab.records import HistoryPoint, Record, Score, SequenceSums
from attnlab.rendering.export import FORMATS
from attnlab.rendering.report import report
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec
from attnlab.storage import Store
from attnlab.storage import journal as module
from attnlab.storage._plain_data import plain_data
from attnlab.storage.journal import Journal
from attnlab.storage.status import store_status
from attnlab.storage.stored_record import StoredRecord
from attnlab.storage.tags import change_tags
from attnlab.storage.trash import remove_runs


@pytest.fixture(autouse=True)
def _every_journal_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 0)


def record(seed: int, *, pairs: int = 2, attention: str = "softmax", correct: int = 8, **more: Any) -> Record:
    task = TaskSpec(name="recall", options={"pairs": pairs}, complexity="pairs", version=1)
    spec = RunSpec(task=task, model=ModelSpec(attention=(Part(name=attention, version=1),)), seed=seed)
    sums = SequenceSums(count=5, correct_squared=2 * correct, correct_questions=2 * correct, questions_squared=20)
    score = Score(correct=correct, total=10, chance=0.1, sequences=sums)
    points = tuple(HistoryPoint(step=step, loss=1.0 / step, accuracy=0.1 * step) for step in (1, 2))
    data: dict[str, Any] = {
        "steps": 2,
        "accuracy": score,
        "exact_match": Score(correct=2, total=5, chance=0.01),
        "history": points,
    }
    data |= {"loss": 0.5, "environment": {"seconds": 1.5, "device": "cpu"}, "diagnostics": {"rank": 3.0 + seed}}
    return Record(**{"id": spec.id, "spec": spec, "status": "done", **data, **more})


def mixed(folder: Path) -> Store:
    """A store with everything that a journal may hold."""
    store = Store(folder)
    store.open()
    runs = [record(seed, pairs=pairs, attention=name, correct=10 - seed - (name == "delta") * pairs)
            for name in ("softmax", "delta") for pairs in (2, 4) for seed in range(4)]  # fmt: skip
    store.append(runs)
    store.append([record(9, status="failed", reason="lost"), record(8, status="diverged", loss=None)])
    store.append([record(0, correct=1)])  # supersedes the first
    remove_runs([(runs[5], folder)])
    change_tags(folder, add={runs[1].id: ["kept"]}, remove={})
    foreign = json.loads(record(7).model_dump_json()) | {"from_the_future": [1]}
    other = {key: foreign[key] for key in sorted(foreign, reverse=True)} | {"id": "other"}
    del other["vocabulary"], other["accuracy"]["sequences"]
    newer = json.loads(record(6).model_dump_json())
    newer["spec"]["train"]["from_the_future"] = True
    with store.journal.path.open("a") as file:
        file.writelines(f"{json.dumps(data)}\n" for data in (foreign, other, newer))
        file.write(record(5).model_dump_json()[:200])  # torn
    return store


def test_a_mixed_journal_is_read_alike(tmp_path: Path) -> None:
    journal = mixed(tmp_path).journal
    with pytest.warns(NewerRecordWarning):
        whole = journal.read()
    with pytest.warns(NewerRecordWarning):
        scanned = journal.scan()
    assert [one.id for one in scanned] == [one.id for one in whole]
    assert len(whole) == 19
    assert whole[-1].id == "other"


def test_the_parts_and_the_whole_of_a_record_are_those_that_were_written(tmp_path: Path) -> None:
    written = [record(0), record(1, status="diverged", loss=None), record(2, history=(), diagnostics={})]
    journal = Journal(tmp_path / "records.jsonl")
    journal.append(written)
    for name in (*Record.model_fields, "validation_accuracy", "last_validation", "chance_note", "solved"):
        scanned = Journal(journal.path).scan()
        assert all(type(one) is StoredRecord for one in scanned)
        for one, other in zip(scanned, written, strict=True):
            assert getattr(one, name) == getattr(other, name)
    assert journal.scan() == written
    assert written == journal.scan()
    assert journal.scan() != [*written[1:], written[0]]
    assert [one.model_dump_json() for one in journal.scan()] == [one.model_dump_json() for one in written]
    assert [one.numbers() for one in journal.scan()] == [one.numbers() for one in written]
    assert [dict(one) for one in journal.scan()] == [dict(one) for one in written]
    assert repr(journal.scan()[0]).removeprefix("Stored") == repr(written[0])
    assert copy.deepcopy(journal.scan()[0]) == written[0]
    assert journal.scan()[0].model_copy(update={"steps": 7}).environment == written[0].environment
    assert copy.copy(journal.scan()[0]) == written[0]
    assert pickle.loads(pickle.dumps(journal.scan())) == written


def test_a_report_has_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NewerRecordWarning)
        for metric in ("accuracy", "loss", "exact_match", "validation_accuracy", "rank", "seconds"):
            monkeypatch.setattr(module, "LARGE", 0)
            scanned = FORMATS["json"](report(records(tmp_path), metric=metric))
            monkeypatch.setattr(module, "LARGE", 10**9)
            assert scanned == FORMATS["json"](report(records(tmp_path), metric=metric))


def test_the_status_is_the_same(tmp_path: Path) -> None:
    journal = mixed(tmp_path).journal
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:-2]))  # without the newer run, which warns, and the torn line
    part = {"kind": "attention", "name": "own", "path": str(tmp_path / "own.py"), "root": str(tmp_path), "digest": "0"}
    (tmp_path / "own.py").write_text("changed = True\n")
    journal.append([record(12, environment={"code": [part]})])
    partly, wholly = store_status(tmp_path, whole=False), store_status(tmp_path)
    assert any(type(one) is StoredRecord for one in partly.records)
    assert partly == wholly
    assert record(12).id in partly.stale


def test_a_line_is_found_again_after_the_journal_was_replaced(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([record(0), record(1)])
    first, second = journal.scan()
    journal.take([first.id], lambda lines: None)
    assert second.environment == record(1).environment
    assert first.diagnostics == record(0).diagnostics


def test_a_journal_that_was_changed_in_its_midst_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([record(0), record(1)])
    first, _ = journal.scan()
    with journal.path.open("r+b") as file:
        file.write(b"{")
        file.write(b"x" * 20)
    with pytest.raises(StoreError, match="changed while it was read"):
        _ = first.environment


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", "2"), ("steps", 2.5), ("vocabulary", True), ("loss", "much"), ("id", 3)],
)
def test_a_field_of_another_type_is_left_out_as_when_all_is_read(field: str, value: object, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([record(0), record(1)])
    lines = journal.path.read_text().splitlines()
    data = {**json.loads(lines[0]), field: value}
    journal.path.write_text(f"{json.dumps(data, separators=(',', ':'))}\n{lines[1]}\n")
    with pytest.warns(StoreWarning) as whole:
        read = journal.read()
    with pytest.warns(StoreWarning) as scanned:
        assert [one.id for one in journal.scan()] == [one.id for one in read] == [record(1).id]
    assert [str(one.message) for one in scanned] == [str(one.message) for one in whole]
    assert f"records.jsonl:1: this line is left out: {field}" in str(whole[0].message)


def test_a_journal_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert Journal(tmp_path / "records.jsonl").scan() == []


def test_the_dictionary_of_a_record_has_its_bounds() -> None:
    from pydantic import TypeAdapter, ValidationError

    check = TypeAdapter(plain_data(Score)).validate_json
    assert check(b'{"correct":1,"total":2,"chance":null,"mean":0.5}')["total"] == 2
    for text in (b'{"correct":-1,"total":2,"chance":0}', b'{"correct":1,"chance":0}', b'{"correct":1.0,"total":2}'):
        with pytest.raises(ValidationError):
            check(text)
