"""A store that somebody else wrote: every field of a record replaced by what does not belong there."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnlab.errors import StoreWarning
from attnlab.records import DiagnosticsPoint, Evaluation, Record
from attnlab.storage import Store
from attnlab.storage.status import write_plan
from tests.cli.conftest import Command
from tests.rendering.fake_runs import run

NESTED = json.loads("[" * 100 + "]" * 100)
WRONG: tuple[Any, ...] = (
    None,
    True,
    "x",
    -1,
    1.5,
    10**30,
    10**400,
    [],
    {},
    [1],
    [{}],
    {"x": 1},
    NESTED,
    "x" * 10_000,
    "7",
)
UNTYPED = ("options", "train", "environment")
"""Fields that hold whatever a part or a machine says; their values are only shown."""
COMMANDS = (
    ("ls", "results"),
    ("ls", "results", "--sort", "accuracy"),
    ("report", "results"),
    ("report", "results", "--metric", "seconds", "--csv", "cells.csv", "--markdown", "tables.md", "--latex", "t.tex"),
    ("show", run(seed=1).id),
    ("compare", run(seed=0).id, run(seed=1).id),
)


def whole() -> dict[str, Any]:
    """A record that has every field."""
    one = run(seed=0)
    code = {"kind": "attention", "name": "mine", "path": "/nowhere/mine.py", "root": "/nowhere", "digest": "0"}
    evaluation = Evaluation(level=2, length=8, accuracy=one.accuracy, exact_match=one.accuracy, loss=0.5)
    point = DiagnosticsPoint(step=1, values={"entropy": (0.5,)}, sequences=4)
    full = one.model_copy(
        update={
            "evaluations": (evaluation,),
            "diagnostics": {"entropy.last": 0.5},
            "diagnostics_history": (point,),
            "environment": {"seconds": 1.5, "format_1_id": "0123456789ab", "code": [code], "device": "cpu"},
        }
    )
    data: dict[str, Any] = json.loads(full.model_dump_json())
    return data


def places(data: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where every field stands, at every depth; of a list, in its first item."""
    items = data.items() if isinstance(data, dict) else enumerate(data[:1]) if isinstance(data, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from places(value, (*at, key))


def replaced(data: Any, at: tuple[str | int, ...], *value: Any) -> str:
    """The data as JSON with another value in a place, or without the field."""
    new = copy.deepcopy(data)
    inner = new
    for step in at[:-1]:
        inner = inner[step]
    if value:
        inner[at[-1]] = value[0]
    else:
        del inner[at[-1]]
    return json.dumps(new, separators=(",", ":"))


PLACES = [at for at in places(whole()) if at[-1] not in ("mean", "interval_over")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A good run in results/."""
    made = Store(tmp_path / "results")
    made.open()
    made.append([run(seed=1)])
    return made


@pytest.mark.parametrize("at", PLACES, ids=lambda at: ".".join(map(str, at)))
def test_a_field_of_a_record_is_read_or_its_line_is_left_out_and_told(at: tuple[str | int, ...], store: Store) -> None:
    data, good = whole(), store.journal.path.read_bytes()
    lines = [replaced(data, at), *(replaced(data, at, value) for value in WRONG)]
    lines += [replaced(data, at, "?").replace('"?"', number) for number in ("1e400", "NaN", '"\\ud800"')]
    left_out = 0
    for line in lines:
        store.journal.path.write_bytes(good + line.encode() + b"\n")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            records = store.records()
        assert run(seed=1) in records
        assert len(records) == (1 if told else 2)
        texts = [str(one.message) for one in told if issubclass(one.category, StoreWarning)]
        assert all(len(text) < 600 and "records.jsonl:2: " in text for text in texts)
        left_out += len(told)
    assert left_out or set(at) & set(UNTYPED), "every value was accepted"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_goes_on_with_what_is_readable(words: tuple[str, ...], store: Store, command: Command) -> None:
    good = store.journal.path.read_bytes()
    for at, value in (
        (("steps",), "x"),
        (("spec", "task", "options"), {"pairs": NESTED}),
        (("environment", "code"), 3),
        (("environment", "device"), {"x": [1]}),
        (("loss",), 1e300),
        (("spec", "task", "options", "pairs"), "x"),
        (("new",), {"unknown": 1}),
    ):
        line = replaced({**whole(), "new": 0}, at, value)
        store.journal.path.write_bytes(b"\n" + line.encode() + b"\nhello\n" + good)
        result = command(*words)
        assert result.status in (0, 2)
        assert "records.jsonl:1: this line is left out: it is blank. The line stays as it is.\n" in result.error
        assert "records.jsonl:3: this line is left out: it is no JSON. The line stays as it is.\n" in result.error
        if result.status == 2:  # the run that is compared is left out, or a field of it does not exist
            assert result.error.count("attnlab: ") >= 3
    assert Record.from_line(good.decode()) == run(seed=1)


def test_a_report_of_a_sweep_that_has_just_begun_says_so(store: Store, command: Command) -> None:
    store.journal.path.write_bytes(b"")
    write_plan(store.journal.path.parent, [run(seed=1).spec])
    result = command("report", "results")
    assert "results/records.jsonl is empty: no run has finished yet." in result.error
    assert "attnlab ls results --store results\n" in result.error
    assert "0 runs." in result.out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_empty_journal_is_told(words: tuple[str, ...], store: Store, command: Command) -> None:
    store.journal.path.write_bytes(b"")
    result = command(*words)
    no_run = "attnlab: results/records.jsonl: no run can be read from it.\n" in result.error
    none = no_run if words[0] == "report" else "no results in results/" in result.error
    assert none or (words[0] == "ls" and ("There are no runs." in result.out or "done" in result.out))
