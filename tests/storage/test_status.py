"""Where a store stands: every planned run is done, missing, failed, diverged or stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attnlab.errors import StoreError
from attnlab.records import Record, Score
from attnlab.specs import RunSpec, TaskSpec
from attnlab.storage import Store
from attnlab.storage.status import (
    PlannedRun,
    find_stores,
    plan_digest,
    planned_ids,
    read_plan,
    store_status,
    write_plan,
)


def spec(seed: int, version: int = 1) -> RunSpec:
    return RunSpec(task=TaskSpec(name="copy", options={"symbols": 2}, complexity="symbols", version=version), seed=seed)


def record(wanted: RunSpec, status: str = "done") -> Record:
    score = Score(correct=1, total=2, chance=0.5)
    data = {"reason": "" if status == "done" else "for a reason", "steps": 1, "accuracy": score, "exact_match": score}
    return Record.model_validate({"id": wanted.id, "spec": wanted, "status": status, **data})


def kept(folder: Path, planned: list[RunSpec], records: list[Record]) -> Store:
    store = Store(folder)
    store.open()
    write_plan(folder, planned)
    store.append(records)
    return store


def test_every_planned_run_stands_somewhere(tmp_path: Path) -> None:
    planned = [spec(seed) for seed in range(5)]
    records = [record(planned[0]), record(planned[1], "failed"), record(planned[2], "diverged")]
    store = kept(tmp_path, planned, records)
    store.save(planned[3].id, {}, {"id": planned[3].id, "step": 3})
    status = store_status(tmp_path)
    assert status.records == tuple(records)
    assert (status.done, status.failed, status.diverged) == ((records[0],), (records[1],), (records[2],))
    assert [run.id for run in status.missing] == [planned[3].id, planned[4].id]
    assert status.missing[0] == PlannedRun(planned[3].id, planned[3].unversioned_id, planned[3].summary)
    assert status.checkpoints.keys() == {planned[3].id}
    assert not status.stale


def test_a_run_whose_parts_have_a_newer_version_is_stale_and_missing_anew(tmp_path: Path) -> None:
    kept(tmp_path, [spec(0, version=2), spec(1, version=2)], [record(spec(0)), record(spec(1)), record(spec(1, 2))])
    status = store_status(tmp_path)
    assert status.stale.keys() == {spec(0).id, spec(1).id}
    assert status.done == (record(spec(1, 2)),)
    assert [run.id for run in status.missing] == [spec(0, 2).id]


def test_runs_of_no_plan_are_done_and_not_stale(tmp_path: Path) -> None:
    kept(tmp_path, [spec(0)], [record(spec(7)), record(spec(8), "failed")])
    status = store_status(tmp_path)
    assert (status.done, status.failed, dict(status.stale)) == ((record(spec(7)),), (record(spec(8), "failed"),), {})


def test_the_same_plan_is_written_once_and_another_anew(tmp_path: Path) -> None:
    planned = [spec(seed) for seed in range(3)]
    for wanted, new in ((planned, True), (planned, False), (planned[:2], True), (planned[1::-1], True)):
        before = (tmp_path / "plan.jsonl").stat().st_ino if (tmp_path / "plan.jsonl").exists() else None
        write_plan(tmp_path, wanted)
        assert ((tmp_path / "plan.jsonl").stat().st_ino != before) == new
        assert [run.id for run in read_plan(tmp_path)] == planned_ids(tmp_path) == [run.id for run in wanted]
    assert plan_digest(tmp_path) == ("", 0)
    write_plan(tmp_path, planned, "ab")
    assert (plan_digest(tmp_path), planned_ids(tmp_path)) == (("ab", 3), [run.id for run in planned])


def test_the_ids_of_a_plan_are_read_however_its_lines_are_written(tmp_path: Path) -> None:
    write_plan(tmp_path, [spec(seed) for seed in range(3)])
    path = tmp_path / "plan.jsonl"
    first, *lines = path.read_text().splitlines()
    ids = planned_ids(tmp_path)
    odd = json.dumps({**json.loads(lines[1]), "summary": 'a "b" \\ \n'})
    old = json.dumps({"id": ids[2], "kin": "0" * 12, "words": "x"})
    for written in (
        [first, lines[0], odd, lines[2]],
        [first, *lines[:2], old],
        lines,
        [first, *lines[:2], lines[2][::-1]],
    ):
        path.write_text("\n".join(written) + "\n")
        if written[-1][0] == "}":
            with pytest.raises(StoreError):
                planned_ids(tmp_path)
        else:
            assert planned_ids(tmp_path) == [run.id for run in read_plan(tmp_path)] == ids
    path.write_text("\n".join([first, *lines]))  # without the last line break
    assert planned_ids(tmp_path) == ids


def test_a_store_that_was_never_swept_has_no_plan(tmp_path: Path) -> None:
    assert read_plan(tmp_path) == []
    assert store_status(tmp_path).records == ()


@pytest.mark.parametrize(
    "text", ["{", "[]\n", '{"id": "a"}\n', "3\n", '{"id": 1, "unversioned_id": "a", "summary": "a"}\n', "[" * 300]
)
def test_a_damaged_plan_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.jsonl").write_text(text)
    with pytest.raises(StoreError) as caught:
        read_plan(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/plan.jsonl\n  This is no plan of attnlab.\n  Move it away; the next sweep writes it anew."
    )


def test_stores_are_found_below_a_folder_and_in_it(tmp_path: Path) -> None:
    for name in ("b", "a", "deep/er"):
        Store(tmp_path / name).open()
    (tmp_path / "empty").mkdir()
    assert find_stores(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    Store(tmp_path).open()
    assert find_stores(tmp_path) == [tmp_path, tmp_path / "a", tmp_path / "b"]
    assert find_stores(tmp_path / "nowhere") == []


def test_a_plan_of_other_bytes_is_written_anew(tmp_path: Path) -> None:
    specs = [spec(seed=0)]
    (tmp_path / "plan.jsonl").write_bytes(b'{"runs": \xb9}\n')
    write_plan(tmp_path, specs)
    assert [planned.id for planned in read_plan(tmp_path)] == [specs[0].id]
