"""Reading quickly gives the same records as the store, except for the histories."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.analysis.records import records
from attnlab.errors import StoreWarning
from attnlab.records import Record
from attnlab.storage import Store
from attnlab.storage.status import write_plan
from tests.rendering.fake_runs import run, seeds

TRICKY = {"seed": 3, "text": '},"status":', "history": '"history":[{', "model": {"train": {"a": 1}}, "task": ["]", "}"]}


def make_store(folder: Path, records: list[Record]) -> Store:
    store = Store(folder)
    store.open()
    store.append(records)
    return store


def shortened(record: Record) -> Record:
    return record.model_copy(update={"history": record.history[-1:]})


def test_the_records_are_those_of_the_store(tmp_path: Path) -> None:
    written = seeds([0.1, 0.2], options=TRICKY) + seeds(
        [0.3, 0.4], pairs=8, other_levels={16: 0.5}, subtasks={"copy": 0.1}
    )
    written += [run("dape", status="failed", reason='it raised: "history":[{"spec":'), run("none", history=())]
    store = make_store(tmp_path, written)
    result = records(tmp_path)
    assert result == [shortened(record) for record in store.records()]
    assert records(tmp_path, history=True) == store.records()
    assert [record.spec.id for record in result] == [record.id for record in written]


def test_sections_are_shared(tmp_path: Path) -> None:
    make_store(tmp_path, seeds([0.1, 0.2, 0.3]))
    first, *others = records(tmp_path)
    assert all(one.spec.task is first.spec.task and one.spec.train is first.spec.train for one in others)


def test_records_are_in_the_order_of_the_plan(tmp_path: Path) -> None:
    written = seeds([0.1, 0.2, 0.3])
    make_store(tmp_path, [written[2], run("other"), written[0], written[1]])
    write_plan(tmp_path, [record.spec for record in written])
    assert [record.id for record in records(tmp_path)] == [*(record.id for record in written), run("other").id]


def test_the_later_of_two_records_is_taken_and_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    store = make_store(tmp_path, [run(accuracy=0.1), run(accuracy=0.9)])
    with store.journal.path.open("ab") as file:
        file.write(b'{"id": "torn')
    (result,) = records(tmp_path)
    assert result.accuracy.mean == 0.9


@pytest.mark.parametrize(
    "broken", ["{", "{}", '{"spec":{"task":{},"model":{},"train":{},"seed":1},"status":"history":[]']
)
def test_a_broken_line_is_named_by_its_number(broken: str, tmp_path: Path) -> None:
    store = make_store(tmp_path, [run()])
    with store.journal.path.open("a") as file:
        file.write(f"{broken}\n")
    with pytest.warns(StoreWarning, match=r"records\.jsonl:2: this line is left out"):
        (kept,) = records(tmp_path)
    assert kept.steps == 1200


def test_a_value_of_the_wrong_type_is_left_out_and_told(tmp_path: Path) -> None:
    store = make_store(tmp_path, [run()])
    text = store.journal.path.read_text().replace('"steps":1200,"early_stopped"', '"steps":"many","early_stopped"')
    store.journal.path.write_text(text)
    with pytest.warns(StoreWarning, match=r"records\.jsonl:1: this line is left out: steps"):
        assert records(tmp_path) == []


def test_an_empty_store(tmp_path: Path) -> None:
    assert records(tmp_path) == []
