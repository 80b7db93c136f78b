"""What an index holds is what a full read holds, whatever happened to the journal; a wrong index is not used."""

from __future__ import annotations

import json
import math
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab.analysis.records import records
from attnlab.errors import NewerRecordWarning, StoreWarning
from attnlab.records import Record
from attnlab.rendering.export import FORMATS
from attnlab.rendering.report import report
from attnlab.storage import Store, journal_index, weights
from attnlab.storage import journal as module
from attnlab.storage.journal import Journal
from attnlab.storage.status import store_status
from attnlab.storage.stored_record import StoredRecord, fill, one_of_each_kind
from tests.storage.test_stored_record import mixed, record


@pytest.fixture(autouse=True)
def _every_journal_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 1)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of the journal each index covered that was loaded; 0 where none was used."""
    found: list[int] = []
    load = journal_index.load_index

    def counted(*args: Any) -> journal_index.JournalIndex:
        index = load(*args)
        found.append(index.end)
        return index

    monkeypatch.setattr(journal_index, "load_index", counted)
    return found


def told(read: Callable[[], list[Record]]) -> tuple[list[Record], list[tuple[type, str]]]:
    """The records of a read, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = read()
    return result, [(one.category, str(one.message)) for one in caught]


def check_same(path: Path) -> None:
    """A scan of a journal tells what a full read tells, in every field."""
    whole, warned = told(Journal(path).read)
    scanned, warned_too = told(Journal(path).scan)
    assert warned_too == warned
    assert [one.id for one in scanned] == [one.id for one in whole]
    for ours, theirs in zip(scanned, whole, strict=True):
        kept = {name: getattr(ours, name) for name in ("id", "spec", "status", "accuracy", "steps", "loss", "reason")}
        assert repr(kept) == repr({name: getattr(theirs, name) for name in kept})
        assert (ours.last_validation, ours.solved) == (theirs.last_validation, theirs.solved)
        assert ours.model_dump_json() == theirs.model_dump_json()


def edited(text: bytes) -> dict[str, bytes]:
    """What may happen to a journal."""
    lines = text.splitlines(keepends=True)
    middle = len(lines) // 2
    digit = lines[middle].replace(b'"correct":8', b'"correct":7', 1).replace(b'"correct":9', b'"correct":5', 1)
    assert len(digit) == len(lines[middle])
    assert digit != lines[middle]
    return {
        "grown": text + record(40).model_dump_json().encode() + b"\n",
        "torn": text + record(41).model_dump_json().encode()[:300],
        "superseded": text + record(1, correct=0).model_dump_json().encode() + b"\n",
        "damaged": text + b"{}\nno JSON\n\n\xff\n" + record(42).model_dump_json().encode() + b"\n",
        "edited in place": b"".join([*lines[:middle], digit, *lines[middle + 1 :]]),
        "damaged in place": b"".join([*lines[:middle], b"x" * (len(lines[middle]) - 1) + b"\n", *lines[middle + 1 :]]),
        "cut in a line": text[: len(text) // 2],
        "cut after a line": b"".join(lines[:middle]),
        "a line taken": b"".join([*lines[:middle], *lines[middle + 1 :]]),
        "turned round": b"".join(reversed([line for line in lines if line.endswith(b"\n")])),
        "foreign": b"hello\n" * 100,
        "empty": b"",
    }


@pytest.mark.parametrize("change", [*edited(b'{"correct":8}\n{"correct":9}\n')])
def test_an_index_tells_what_a_full_read_tells_after_any_change(change: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    store.append([record(seed, correct=8) for seed in range(8)])
    path = store.journal.path
    check_same(path)
    assert (tmp_path / "records.index").is_file()
    before = path.stat()
    path.write_bytes(edited(path.read_bytes())[change])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the times do not tell
    for _ in range(2):  # with the index of before, and with that which this leaves
        check_same(path)


def test_a_mixed_journal_is_read_from_its_index(tmp_path: Path, loads: list[int]) -> None:
    path = mixed(tmp_path).journal.path
    for _ in range(2):
        check_same(path)
    whole = path.stat().st_size - 200  # the last line is torn
    assert loads == [0, whole]
    with pytest.warns(NewerRecordWarning):
        kinds = {type(one) for one in Journal(path).scan()}
    assert kinds == {Record, StoredRecord}  # the line that was written in another order is read


def test_what_reports_look_at_is_filled_in_at_once_as_one_by_one(tmp_path: Path) -> None:
    path = mixed(tmp_path).journal.path
    told(Journal(path).scan)  # writes the index
    (one_by_one, _), (filled, _) = told(Journal(path).scan), told(Journal(path).scan)
    fill(filled)
    assert any({"spec", "accuracy"} <= one.__dict__.keys() for one in filled if type(one) is StoredRecord)
    for ours, theirs in zip(filled, one_by_one, strict=True):
        for name in ("spec", "accuracy", "evaluations", "status", "steps"):
            assert repr(getattr(ours, name)) == repr(getattr(theirs, name))
        assert ours.model_dump_json() == theirs.model_dump_json()
    kinds = [(one.status, one.rollout, one.vocabulary, one.fed_back, one.chance_guess) for one in one_by_one]
    chosen = one_of_each_kind(filled)
    shown = [(one.status, one.rollout, one.vocabulary, one.fed_back, one.chance_guess) for one in chosen]
    last = {kind: place for place, kind in enumerate(kinds)}
    assert list(dict.fromkeys(reversed(shown))) == sorted(last, key=lambda kind: -last[kind])


def test_damaged_lines_are_told_again(tmp_path: Path, loads: list[int]) -> None:
    store = Store(tmp_path)
    store.open()
    store.append([record(0)])
    with store.journal.path.open("ab") as file:
        file.write(b"\nno JSON\n")
    first, second = (told(Journal(store.journal.path).scan) for _ in range(2))
    assert loads == [0, store.journal.path.stat().st_size]
    assert first[1] == second[1]
    assert [kind for kind, _ in second[1]] == [StoreWarning, StoreWarning]
    assert "records.jsonl:2: this line is left out: it is blank" in second[1][0][1]


def test_lines_after_the_index_are_added_and_a_few_do_not_write_it_again(tmp_path: Path, loads: list[int]) -> None:
    store = Store(tmp_path)
    store.open()
    store.append([record(seed) for seed in range(40)])
    Journal(store.journal.path).scan()
    index = (tmp_path / "records.index").read_bytes()
    covered = store.journal.path.stat().st_size
    store.append([record(40)])
    check_same(store.journal.path)
    assert (tmp_path / "records.index").read_bytes() == index
    store.append([record(seed) for seed in range(41, 50)])
    check_same(store.journal.path)
    check_same(store.journal.path)
    assert loads == [0, covered, covered, store.journal.path.stat().st_size]


def test_numbers_that_are_none_or_not_finite_stay_so(tmp_path: Path) -> None:
    failed = {"correct": 0, "total": 0, "chance": math.nan, "sequences": None}
    runs = [
        record(0, loss=math.inf, initial_loss=-math.inf),
        record(1, loss=math.nan, initial_loss=None),
        record(2, accuracy=failed, exact_match=failed, status="failed", reason="a\nb \u2028"),
        record(3, environment={"code": [dict.fromkeys(("kind", "name", "path", "root", "digest"), "x")]}),
        record(4, history=(), diagnostics={}),
    ]
    journal = Journal(tmp_path / "records.jsonl")
    journal.append(runs)
    journal.scan()
    again = Journal(journal.path).scan()
    assert (again[0].loss, again[0].initial_loss) == (math.inf, -math.inf)
    assert (again[1].loss, again[1].initial_loss) == (None, None)  # as JSON writes what is no number
    assert math.isnan(again[2].accuracy.chance)
    assert again[3].rare_environment == runs[3].environment  # type: ignore[attr-defined]
    assert [one.numbers() for one in again[2:]] == [one.numbers() for one in Journal(journal.path).read()[2:]]


def test_status_and_report_are_the_same_from_the_index(tmp_path: Path, loads: list[int]) -> None:
    mixed(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NewerRecordWarning)
        outputs = [FORMATS["json"](report(records(tmp_path))) for _ in range(2)]
        whole, part = store_status(tmp_path), store_status(tmp_path, whole=False)
    assert outputs[0] == outputs[1]
    assert loads[0] == 0
    assert min(loads[1:]) > 0
    for name in ("done", "failed", "diverged"):
        assert [one.id for one in getattr(part, name)] == [one.id for one in getattr(whole, name)]


def test_an_index_that_is_damaged_or_of_other_code_is_not_used(
    tmp_path: Path, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([record(seed) for seed in range(5)])
    journal.scan()
    path = tmp_path / "records.index"
    good = path.read_bytes()
    for content in (b"", good[:-1], good[: len(good) // 2], good[:-9] + b"\1" + good[-8:], b"\0" * 100):
        path.write_bytes(content)
        check_same(journal.path)
        assert path.read_bytes() == good
    monkeypatch.setattr(journal_index, "reader", lambda: "another version")
    check_same(journal.path)
    assert set(loads) == {0}


@pytest.mark.parametrize(
    ("column", "value"),
    [("correct", 11), ("correct", -1), ("count", 11), ("chance", 1.5), ("seed", -1), ("task", 1), ("common", 1),
     ("start", 10**9), ("kind", 2), ("questions_squared", 0), ("id", 47)],
)  # fmt: skip
def test_rows_that_no_line_gives_are_not_used(column: str, value: float, tmp_path: Path, loads: list[int]) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([record(seed) for seed in range(5)])
    journal.scan()
    path = tmp_path / "records.index"
    arrays, about = weights.read(path)
    changed = {name: np.array(array) for name, array in arrays.items()}
    changed[column][2] = value
    weights.write(path, changed, about)
    check_same(journal.path)
    assert loads == [0, 0]


def test_words_that_no_line_has_are_not_used(tmp_path: Path, loads: list[int]) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([record(0)])
    journal.scan()
    path = tmp_path / "records.index"
    arrays, about = weights.read(path)
    good = json.loads(arrays["text"].tobytes())
    for common in ({"status": "won"}, {"status": "done", "steps": 1}, {"status": "done", "evaluations": [1]}, {}):
        text = json.dumps({**good, "common": [common]}).encode()
        weights.write(path, {**arrays, "text": np.frombuffer(text, np.uint8)}, about)
        check_same(journal.path)
    assert set(loads) == {0}


def test_a_store_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([record(0)])

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("attnlab.files.write_whole", refuse)
    check_same(journal.path)
    assert not (tmp_path / "records.index").exists()


def test_a_journal_that_is_written_while_it_is_read_gives_whole_records(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([record(0)])

    def write() -> None:
        for seed in range(1, 60):
            Journal(journal.path).append([record(seed)])

    writers = [threading.Thread(target=write)]
    for writer in writers:
        writer.start()
    counts = []
    while any(writer.is_alive() for writer in writers):
        scanned = Journal(journal.path).scan()
        assert [one.spec.seed for one in scanned] == list(range(len(scanned)))
        counts.append(len(scanned))
    assert counts == sorted(counts)
    check_same(journal.path)


def test_a_store_is_scanned_once_unless_it_has_changed(tmp_path: Path, loads: list[int]) -> None:
    store = Store(tmp_path)
    store.open()
    store.append([record(0)])
    assert len(store.scan()) == len(store.scan()) == 1
    assert len(loads) == 1
    store.append([record(1)])
    assert [one.spec.seed for one in store.scan()] == [0, 1]
    assert len(loads) == 2


def test_a_small_store_has_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 2**21)
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([record(0)])
    journal.scan()
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["records.jsonl"]
