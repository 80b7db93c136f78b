"""Reading quickly gives what reading whole gives, but for the curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.analysis.records import records
from attnlab.errors import StoreError
from attnlab.records import Record
from attnlab.storage import Store
from attnlab.storage.status import write_plan
from tests.rendering.fake_runs import run, seeds

TRICKY = {"seed": 3, "text": '},"status":', "history": '"history":[{', "model": {"train": {"a": 1}}, "task": ["]", "}"]}


def stored(folder: Path, records: list[Record]) -> Store:
    store = Store(folder)
    store.open()
    store.append(records)
    return store


def cut(record: Record) -> Record:
    return record.model_copy(update={"history": record.history[-1:]})


def test_it_is_what_the_store_reads(tmp_path: Path) -> None:
    held = seeds([0.1, 0.2], options=TRICKY) + seeds([0.3, 0.4], pairs=8, elsewhere={16: 0.5}, members={"copy": 0.1})
    held += [run("dape", status="failed", reason='he said: "history":[{"spec":'), run("none", history=())]
    store = stored(tmp_path, held)
    result = records(tmp_path)
    assert result == [cut(record) for record in store.records()]
    assert [record.spec.id for record in result] == [record.id for record in held]


def test_sections_are_shared(tmp_path: Path) -> None:
    stored(tmp_path, seeds([0.1, 0.2, 0.3]))
    first, *others = records(tmp_path)
    assert all(one.spec.task is first.spec.task and one.spec.train is first.spec.train for one in others)


def test_they_stand_in_the_order_of_the_plan(tmp_path: Path) -> None:
    held = seeds([0.1, 0.2, 0.3])
    stored(tmp_path, [held[2], run("other"), held[0], held[1]])
    write_plan(tmp_path, [record.spec for record in held])
    assert [record.id for record in records(tmp_path)] == [*(record.id for record in held), run("other").id]


def test_the_later_of_two_stands_and_a_torn_end_is_no_matter(tmp_path: Path) -> None:
    store = stored(tmp_path, [run(accuracy=0.1), run(accuracy=0.9)])
    with store.journal.path.open("ab") as file:
        file.write(b'{"id": "torn')
    (result,) = records(tmp_path)
    assert result.accuracy.mean == 0.9


@pytest.mark.parametrize(
    "broken", ["{", "{}", '{"spec":{"task":{},"model":{},"train":{},"seed":1},"status":"history":[]']
)
def test_a_broken_line_is_told_by_its_place(broken: str, tmp_path: Path) -> None:
    store = stored(tmp_path, [run()])
    with store.journal.path.open("a") as file:
        file.write(f"{broken}\n")
    with pytest.raises(StoreError) as caught:
        records(tmp_path)
    assert caught.value.where.endswith("records.jsonl:2")


def test_a_wrong_number_is_refused_as_the_store_refuses_it(tmp_path: Path) -> None:
    store = stored(tmp_path, [run()])
    text = store.journal.path.read_text().replace('"steps":1200,"early_stopped"', '"steps":"many","early_stopped"')
    store.journal.path.write_text(text)
    with pytest.raises(StoreError):
        records(tmp_path)


def test_an_empty_store(tmp_path: Path) -> None:
    assert records(tmp_path) == []
