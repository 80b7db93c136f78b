from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab.errors import AttnlabError, InvalidValueError, StoreError, UnknownNameError
from attnlab.storage import Store
from attnlab.storage.find_run import find_record, find_records, find_started
from attnlab.storage.locks import sweep_lock
from attnlab.storage.tags import change_tags, read_tags
from attnlab.storage.trash import removals, remove_runs, restore_runs
from tests.rendering.fake_runs import run

KINDS = ("weights", "optimizer", "checkpoints")


def make_store(folder: Path, count: int = 3) -> list[str]:
    """A store of some runs with weights, optimizer states and checkpoints."""
    store = Store(folder)
    store.open()
    runs = [run(seed=seed) for seed in range(count)]
    store.append(runs)
    for one in runs:
        for kind in KINDS:
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / f"{one.id}.safetensors").write_text(one.id)
    return [one.id for one in runs]


def content(folder: Path) -> dict[str, bytes]:
    """What a store holds, without its locks."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_removed_run_is_gone_and_everything_of_it_comes_back(tmp_path: Path) -> None:
    first, second, third = make_store(tmp_path)
    change_tags(tmp_path, add={second: ["good"], third: ["x"]}, remove={})
    before = content(tmp_path)
    remove_runs(find_records([second[:5]], tmp_path))
    assert [record.id for record in Store(tmp_path).records()] == [first, third]
    assert not any((tmp_path / kind / f"{second}.safetensors").exists() for kind in KINDS)
    assert read_tags(tmp_path) == {third: ("x",)}
    (restored,) = restore_runs([tmp_path])
    assert [record.id for record in restored.records] == [second]
    after = content(tmp_path)
    lines = before.pop("records.jsonl"), after.pop("records.jsonl")
    assert sorted(lines[0].splitlines()) == sorted(lines[1].splitlines())
    assert before == after


def test_removals_are_undone_the_last_first_or_by_id(tmp_path: Path) -> None:
    first, second, third = make_store(tmp_path)
    for one in (first, second, third):
        remove_runs(find_records([one], tmp_path))
    assert [record.id for record in restore_runs([tmp_path])[0].records] == [third]
    assert [record.id for record in restore_runs([tmp_path], [first[:4]])[0].records] == [first]
    assert [one.records[0].id for one in removals(tmp_path)] == [second]
    with pytest.raises(UnknownNameError, match="No removed run begins with 'ffff'") as caught:
        restore_runs([tmp_path], ["ffff"])
    assert second in caught.value.hint
    restore_runs([tmp_path])
    with pytest.raises(StoreError, match="nothing in the trash"):
        restore_runs([tmp_path])


def test_a_wrong_id_removes_nothing(tmp_path: Path) -> None:
    first, *_ = make_store(tmp_path)
    before = content(tmp_path)
    with pytest.raises(UnknownNameError):
        remove_runs(find_records([first, "ffffffffffff"], tmp_path))
    assert content(tmp_path) == before


def test_nothing_is_removed_while_a_sweep_is_running_in_one_of_the_stores(tmp_path: Path) -> None:
    (one, *_), (other, *_) = make_store(tmp_path / "a"), make_store(tmp_path / "b", 4)[3:]
    before = content(tmp_path)
    runs = [*find_records([one], tmp_path / "a"), *find_records([other], tmp_path / "b")]
    with sweep_lock(tmp_path / "b", wait=False), pytest.raises(StoreError, match="Another sweep is running here"):
        remove_runs(runs)
    assert content(tmp_path) == before
    assert len(remove_runs(runs)) == 2


def test_a_disk_that_is_full_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, _ = make_store(tmp_path)
    before = content(tmp_path)
    real = Path.replace
    moved: list[Path] = []

    def full(path: Path, target: Any) -> Path:
        if path.name.endswith("safetensors"):
            moved.append(path)
            if len(moved) == 4:
                raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="No space left on device"):
        remove_runs(find_records([first, second], tmp_path))
    assert content(tmp_path) == before


def test_a_removal_that_a_crash_interrupted_is_put_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = make_store(tmp_path)
    before = content(tmp_path)
    with monkeypatch.context() as crash:  # the machine dies after the files were moved
        crash.setattr("attnlab.storage.journal.write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        crash.setattr("attnlab.storage.trash._restore", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            remove_runs(find_records([first], tmp_path))
    assert not (tmp_path / "weights" / f"{first}.safetensors").exists()
    restore_runs([tmp_path])
    assert content(tmp_path) == before


def test_a_run_that_was_run_again_is_not_put_back_over_the_new_one(tmp_path: Path) -> None:
    first, *_ = make_store(tmp_path)
    remove_runs(find_records([first], tmp_path))
    Store(tmp_path).append([run(seed=0, accuracy=0.25)])
    before = content(tmp_path)
    with pytest.raises(StoreError, match="was run again since it was removed"):
        restore_runs([tmp_path])
    assert content(tmp_path) == before


def test_a_run_of_several_stores_needs_the_name_of_one(tmp_path: Path) -> None:
    (first, *_), _ = make_store(tmp_path / "a"), make_store(tmp_path / "b")
    with pytest.raises(InvalidValueError, match="stands in several stores"):
        find_records([first], tmp_path)
    assert len(find_records([first, first], tmp_path / "b")) == 1


def save_checkpoint(folder: Path, one: str, step: int = 5) -> None:
    """The checkpoint of a run that has no record yet."""
    store = Store(folder)
    store.open()
    about = {"id": one, "step": step, "max_steps": 20, "summary": "recall", "group": [one]}
    store.save(one, {"weight/w": np.zeros(2, np.float32)}, about)


@pytest.mark.parametrize("records", [0, 2])
def test_a_run_that_has_only_a_checkpoint_is_removed_and_put_back(tmp_path: Path, records: int) -> None:
    make_store(tmp_path, records)
    for path in (tmp_path / "checkpoints").glob("*"):
        path.unlink()
    save_checkpoint(tmp_path, "feed0123beef")
    before = content(tmp_path)
    with pytest.raises(StoreError, match=r"no record yet, only a checkpoint at step 5 of 20\.") as caught:
        find_record("feed", tmp_path)
    assert f"attnlab rm feed0123beef --store {tmp_path}" in caught.value.hint
    (removed,) = remove_runs(find_started(["feed"], tmp_path))
    assert (removed.records, removed.ids) == ((), ["feed0123beef"])
    assert not Store(tmp_path).checkpoints()
    assert [one.ids for one in removals(tmp_path)] == [["feed0123beef"]]
    restore_runs([tmp_path], ["feed"])
    assert content(tmp_path) == before


def test_finished_and_unfinished_runs_are_removed_together(tmp_path: Path) -> None:
    first, *_ = make_store(tmp_path)
    save_checkpoint(tmp_path, "feed0123beef")
    (removed,) = remove_runs(find_started([first, "feed"], tmp_path))
    assert removed.ids == [first, "feed0123beef"]
    with pytest.raises(UnknownNameError):
        find_started(["feed"], tmp_path)
    assert restore_runs([tmp_path])[0].ids == [first, "feed0123beef"]
    assert "feed0123beef" in Store(tmp_path).checkpoints()


def test_a_beginning_that_a_finished_and_an_unfinished_run_share_is_refused(tmp_path: Path) -> None:
    first, *_ = make_store(tmp_path)
    save_checkpoint(tmp_path, f"{first[:6]}ffffff")
    with pytest.raises(InvalidValueError, match=f"2 runs begin with '{first[:6]}'"):
        find_started([first[:6]], tmp_path)


def test_a_checkpoint_that_cannot_be_read_is_removed_and_put_back(tmp_path: Path) -> None:
    make_store(tmp_path)
    (tmp_path / "checkpoints" / "feed0123beef.safetensors").write_text("torn")
    before = content(tmp_path)
    with pytest.raises(StoreError, match="only a checkpoint, which cannot be read"):
        find_record("feed", tmp_path)
    remove_runs(find_started(["feed"], tmp_path))
    restore_runs([tmp_path])
    assert content(tmp_path) == before


def test_a_removed_checkpoint_is_not_put_over_a_newer_one(tmp_path: Path) -> None:
    make_store(tmp_path)
    save_checkpoint(tmp_path, "feed0123beef")
    remove_runs(find_started(["feed"], tmp_path))
    save_checkpoint(tmp_path, "feed0123beef", step=9)
    before = content(tmp_path)
    with pytest.raises(StoreError, match="was started again since it was removed"):
        restore_runs([tmp_path])
    assert content(tmp_path) == before


def test_tags_are_added_and_removed(tmp_path: Path) -> None:
    first, second, _ = make_store(tmp_path)
    change_tags(tmp_path, add={first: ["b", "a"]}, remove={})
    assert read_tags(tmp_path) == {first: ("a", "b")}
    change_tags(tmp_path, add={second: ["a"]}, remove={first: ["a", "none"]})
    assert read_tags(tmp_path) == {first: ("b",), second: ("a",)}
    before = content(tmp_path)
    for word in ("two words", "-x", "a=b", ""):
        with pytest.raises(AttnlabError, match="is no tag"):
            change_tags(tmp_path, add={first: ["good", word]}, remove={})
    assert content(tmp_path) == before
    for damaged in ("[", "3", '{"a": "word"}', '{"a": [3]}', '{"a": ["two words"]}', '{"a": null}', "[" * 300):
        (tmp_path / "tags.json").write_text(damaged)
        with pytest.raises(StoreError, match="no tags of attnlab"):
            read_tags(tmp_path)


def test_nothing_is_moved_where_tags_cannot_be_written(tmp_path: Path) -> None:
    first, *_ = make_store(tmp_path)
    change_tags(tmp_path, add={first: ["mine"]}, remove={})
    (tmp_path / "tags.lock").unlink(missing_ok=True)
    (tmp_path / "tags.lock").mkdir()
    before = content(tmp_path)
    with pytest.raises(StoreError):
        remove_runs(find_records([first], tmp_path))
    assert content(tmp_path) == before
