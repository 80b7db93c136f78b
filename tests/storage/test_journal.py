from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from filelock import FileLock

from attnlab.errors import NewerRecordWarning, StoreError, StoreWarning
from attnlab.records import HistoryPoint, Record, Score
from attnlab.specs import RunSpec, TaskSpec
from attnlab.storage import journal as module
from attnlab.storage.journal import Journal


def record(seed: int, *, correct: int = 1) -> Record:
    spec = RunSpec(task=TaskSpec(name="copy"), seed=seed)
    score = Score(correct=correct, total=10, chance=0.1)
    point = HistoryPoint(step=1, loss=1.0, accuracy=0.1)
    return Record(id=spec.id, spec=spec, status="done", steps=1, accuracy=score, exact_match=score, history=(point,))


SUMS = {"count": 1, "correct_squared": 1, "correct_questions": 10, "questions_squared": 100}
"""Of one sequence of ten questions with one correct answer."""


def append_one_by_one(path: Path, seeds: range) -> None:
    for seed in seeds:
        Journal(path).append([record(seed)])


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "records.jsonl")


def test_a_journal_that_was_never_written_is_empty(journal: Journal) -> None:
    assert journal.read() == []


def test_records_come_back_in_order(journal: Journal) -> None:
    journal.append([record(2), record(1)])
    journal.append([record(0)])
    assert journal.read() == [record(2), record(1), record(0)]
    assert journal.path.read_bytes().count(b"\n") == 3


def test_appending_nothing_changes_nothing(journal: Journal) -> None:
    journal.append([record(0)])
    before = journal.path.read_bytes()
    journal.append([])
    assert journal.path.read_bytes() == before


def test_the_later_record_of_one_id_stands_at_its_later_place(journal: Journal) -> None:
    journal.append([record(0, correct=1), record(1), record(0, correct=9)])
    assert journal.read() == [record(1), record(0, correct=9)]


@pytest.mark.parametrize("torn", [b"{", b'{"id": "abc', record(9).model_dump_json().encode(), b"\xff"])
def test_a_torn_last_line_is_passed_over_and_cut_before_the_next_append(journal: Journal, torn: bytes) -> None:
    journal.append([record(0)])
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + torn)
    assert journal.read() == [record(0)]
    journal.append([record(1)])
    assert journal.read() == [record(0), record(1)]
    assert journal.path.read_bytes().startswith(whole + b'{"id"')


def test_a_torn_only_line_is_cut(journal: Journal) -> None:
    journal.path.write_bytes(b'{"id": "a')
    journal.append([record(0)])
    assert journal.read() == [record(0)]


def test_a_torn_line_longer_than_any_buffer_is_cut(journal: Journal) -> None:
    journal.append([record(0)])
    with journal.path.open("ab") as file:
        file.write(b"x" * 200_000)
    journal.append([record(1)])
    assert journal.read() == [record(0), record(1)]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"{", "it is no JSON"),
        (b"", "it is blank"),
        (b" \r", "it is blank"),
        (b"\xff", "it is no text in UTF-8"),
        (b"a line of another program", "it is no JSON"),
        (b'{"id": "abc"}', "spec: Field required"),
        (b"null", "Input should be an object"),
        (b"[" * 300, "it is nested too deeply"),
    ],
)
def test_a_line_that_is_no_record_is_left_out_and_told_with_its_number(
    journal: Journal, broken: bytes, reason: str
) -> None:
    lines = [record(0).model_dump_json().encode(), broken, record(1).model_dump_json().encode(), b""]
    journal.path.write_bytes(b"\n".join(lines))
    with pytest.warns(StoreWarning) as warned:
        assert journal.read() == [record(0), record(1)]
    text = f"{journal.path}:2: this line is left out: {reason}. The line stays as it is."
    assert [str(one.message) for one in warned] == [text]
    journal.append([record(2)])
    assert journal.path.read_bytes().startswith(b"\n".join(lines))


def test_of_many_lines_that_are_no_records_the_first_are_named(journal: Journal) -> None:
    journal.path.write_bytes(b"\n" * 8)
    with pytest.warns(StoreWarning) as warned:
        assert journal.read() == []
    texts = [str(one.message) for one in warned]
    assert len(texts) == 6
    assert texts[-1] == f"{journal.path}: 3 more lines are left out, the last of them line 8."


def test_a_line_longer_than_the_bound_is_left_out(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.append([record(0)])
    monkeypatch.setattr(module, "LINE_BYTES", 100)
    with pytest.warns(StoreWarning, match=r":1: this line is left out: it has [\d,]+ bytes; up to 100 are read\."):
        assert journal.read() == []


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("id", "../../other", "id: String should match pattern"),
        ("spec.seed", -1, "spec.seed: Input should be greater than or equal to 0"),
        ("spec.task.complexity", "length", "spec.task: The level 'length' should be a number or a word"),
        ("steps", -1, "steps: Input should be greater than or equal to 0"),
        ("steps", 10**30, "steps: Input should be less than or equal to 9007199254740992"),
        ("accuracy.correct", 11, "accuracy: There are more correct answers than questions"),
        ("accuracy.chance", 7.0, "accuracy.chance: Input should be from 0 to 1"),
        ("accuracy.sequences", dict(SUMS, count=0), "accuracy: The sums over the sequences do not fit the questions"),
        ("history.0.accuracy", -0.5, "history.0.accuracy: Input should be from 0 to 1"),
        ("environment.seconds", "long", "environment: 'seconds' should be a number of seconds"),
        ("environment.format_1_id", "a/b", "environment: 'format_1_id' should be the id of a run"),
        ("environment.code", [{"kind": "attention"}], "environment: 'code' should list parts with their files"),
    ],
)
def test_a_record_with_an_impossible_value_is_left_out(
    journal: Journal, path: str, value: object, reason: str, history: bool
) -> None:
    line = record(0).model_dump_json().encode()
    line = changed(line, "spec.task.options", {"length": [1]})
    journal.path.write_bytes(changed(line, path, value) + b"\n")
    with pytest.warns(StoreWarning) as warned:
        assert journal.read(history=history) == []
    assert f"{journal.path}:1: this line is left out: {reason}" in str(warned[0].message)


def changed(line: bytes, path: str, value: object) -> bytes:
    """A line with a field set to a value, as another version may have written it."""
    data = json.loads(line)
    *sections, field = path.split(".")
    place = data
    for name in sections:
        place = place[int(name) if name.isdigit() else name]
    place[field] = value
    return json.dumps(data, separators=(",", ":")).encode()


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.new", 1),
        ("spec.train.ema", 0.9),
        ("spec.model.depth", 3),
        ("spec.model.modifiers.new", True),
        ("spec.model.modifiers.gate", "new"),
        ("spec.task.new", "x"),
        ("spec.train.schedule", "new"),
        ("status", "paused"),
    ],
)
def test_a_run_whose_spec_is_not_known_is_left_out_with_a_warning(
    journal: Journal, path: str, value: object, history: bool
) -> None:
    newer = changed(record(1).model_dump_json().encode(), path, value)
    journal.path.write_bytes(b"\n".join([record(0).model_dump_json().encode(), newer, b""]))
    with pytest.warns(NewerRecordWarning, match=rf"1 run is left out, line 2\. This attnlab does not know {path}\."):
        assert [one.id for one in journal.read(history=history)] == [record(0).id]
    journal.append([record(2)])
    assert newer in journal.path.read_bytes()


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize(
    "path",
    ["new", "accuracy.new", "exact_match.new", "history.0.new", "accuracy.sequences", "environment.new"],
)
def test_a_result_of_a_newer_attnlab_is_read(journal: Journal, path: str, history: bool) -> None:
    one = record(0)
    value = {**SUMS, "new": 3} if path == "accuracy.sequences" else 1
    journal.path.write_bytes(changed(one.model_dump_json().encode(), path, value) + b"\n")
    (read,) = journal.read(history=history)
    assert (read.id, read.spec, read.accuracy.correct) == (one.id, one.spec, one.accuracy.correct)


def test_a_damaged_value_beside_an_unknown_field_is_told(journal: Journal) -> None:
    line = changed(changed(record(0).model_dump_json().encode(), "spec.train.ema", 1), "spec.train.lr", "fast")
    journal.path.write_bytes(line + b"\n")
    with pytest.warns(StoreWarning, match=r":1: this line is left out: spec\.train\.lr: Input should be a valid"):
        assert journal.read() == []


def test_a_broken_last_line_that_is_whole_is_told(journal: Journal) -> None:
    journal.path.write_bytes(b"{}\n")
    with pytest.warns(StoreWarning, match=r":1: this line is left out: id: Field required\."):
        assert journal.read() == []


def test_two_writers_lose_nothing(journal: Journal) -> None:
    context = multiprocessing.get_context("spawn")
    halves = [range(20), range(20, 40)]
    writers = [context.Process(target=append_one_by_one, args=(journal.path, half)) for half in halves]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert sorted(result.spec.seed for result in journal.read()) == list(range(40))


def test_a_writer_gives_up_on_a_lock_that_is_never_freed(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.01)
    with FileLock(journal.path.with_suffix(".lock")), pytest.raises(StoreError) as caught:
        journal.append([record(0)])
    assert str(caught.value) == f"{journal.path}\n  Another run has been writing here for too long."


def test_a_journal_that_cannot_be_written_is_told(journal: Journal) -> None:
    journal.path.mkdir()
    with pytest.raises(StoreError) as caught:
        journal.append([record(0)])
    assert str(caught.value) == (
        f"{journal.path}\n  It cannot be written: Is a directory.\n  Choose another folder with --store."
    )
