from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attnlab.errors import LostStoreError, StoreError, StoreWarning
from attnlab.storage import FORMAT, Store
from attnlab.storage.status import find_stores
from tests.storage.test_journal import record

ONES = {"w": np.ones(3, dtype=np.float32)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "deep" / "results")
    found.open()
    return found


def test_looking_at_a_store_makes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert store.records() == []
    assert store.load("abc") is None
    assert list(tmp_path.iterdir()) == []


def test_opening_makes_the_folder_and_says_its_format(store: Store) -> None:
    assert json.loads((store.path / "store.json").read_text()) == {"format": FORMAT}
    assert store.records() == []


def test_opening_again_keeps_what_is_there(store: Store) -> None:
    store.append([record(0)])
    again = Store(store.path)
    again.open()
    assert again.records() == [record(0)]


def _gone(store: Store) -> None:
    shutil.rmtree(store.path)


def _replaced(store: Store) -> None:
    store.path.rename(store.path.with_name("moved"))
    Store(store.path).open()


def _emptied(store: Store) -> None:
    store.journal.path.unlink()


@pytest.mark.parametrize("lose", [_gone, _replaced, _emptied])
def test_a_store_that_was_removed_is_told_and_not_made_anew(store: Store, lose: Callable[[Store], None]) -> None:
    lose(store)
    before = sorted(store.path.parent.rglob("*"))
    writes: list[Callable[[], object]] = [
        lambda: store.append([record(0)]),
        lambda: store.save("abc", ONES, {}),
        lambda: store.save_weights("abc", ONES),
        lambda: store.save_optimizer("abc", ONES),
        store.check_present,
    ]
    for write in writes:
        with pytest.raises(LostStoreError) as caught:
            write()
        assert caught.value.status == 1
    assert str(caught.value) == (
        f"{store.path}\n  This store was removed or moved while runs were stored in it.\n"
        "  Move it back, then run the same command again: it goes on from what the store has."
    )
    assert sorted(store.path.parent.rglob("*")) == before


def test_a_store_of_a_newer_format_is_refused(store: Store) -> None:
    label = store.path / "store.json"
    label.write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(StoreError) as caught:
        Store(store.path)
    assert str(caught.value) == (
        f"{label}\n  This store has format {FORMAT + 1}; this attnlab reads up to {FORMAT}.\n"
        "  Update attnlab, or choose another folder with --store."
    )


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"3", b"\xff", b"{"])
def test_a_label_that_says_no_format_is_refused(store: Store, content: bytes) -> None:
    label = store.path / "store.json"
    label.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        Store(store.path)
    assert str(caught.value) == (
        f"{label}\n  It does not say what format this store has.\n"
        "  Move it away: the folder is then read as its records are written."
    )


@pytest.mark.parametrize("found", [True, -1, 0, 1.5, "2", None, [2]])
def test_a_format_that_is_no_number_of_one_is_refused(store: Store, found: object) -> None:
    (store.path / "store.json").write_text(json.dumps({"format": found}))
    with pytest.raises(StoreError, match=r"This store has format .*, which is none\."):
        Store(store.path)


def test_a_format_beyond_every_float_is_a_newer_one(store: Store) -> None:
    (store.path / "store.json").write_text(json.dumps({"format": 10**400}))
    with pytest.raises(StoreError, match=r"This store has format 10000000000000000000; this attnlab reads up to 2\."):
        Store(store.path)


def test_a_store_whose_label_is_gone_is_read_and_told(store: Store) -> None:
    store.append([record(0)])
    label = store.path / "store.json"
    label.unlink()
    assert find_stores(store.path.parent) == [store.path]
    with pytest.warns(StoreWarning) as warned:
        again = Store(store.path)
    assert [str(one.message) for one in warned] == [f"{label}: missing; the records are read as those of format 2."]
    assert again.records() == [record(0)]
    again.open()
    assert Store(store.path).records() == [record(0)]


def test_a_store_of_format_1_whose_label_is_gone_is_read_as_one(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).with_name("format1") / "tiny", tmp_path / "tiny")
    whole = Store(tmp_path / "tiny").records()
    (tmp_path / "tiny" / "store.json").unlink()
    with pytest.warns(StoreWarning, match=r"missing; the records are read as those of format 1\."):
        assert Store(tmp_path / "tiny").records() == whole


def test_a_new_folder_needs_no_label(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").touch()
    assert Store(tmp_path).records() == []


def test_a_file_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.write_text("")
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert str(caught.value) == f"{path}\n  This is a file, not a folder.\n  Choose another folder with --store."


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "results"
    with pytest.raises(StoreError) as caught:
        Store(path).open()
    assert str(caught.value) == (
        f"{path}\n  It cannot be written: Not a directory.\n  Choose another folder with --store."
    )


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").mkdir()
    with pytest.raises(StoreError, match=r"It cannot be written: Is a directory\."):
        Store(tmp_path).open()


def test_a_checkpoint_is_kept_until_its_runs_are_finished(store: Store) -> None:
    store.save("run", ONES, {"id": "run", "step": 3})
    saved = store.load("run")
    assert saved is not None
    np.testing.assert_array_equal(saved[0]["w"], ONES["w"])
    assert saved[1] == {"id": "run", "step": 3}
    store.save_weights("run", ONES)
    assert store.load("run") is not None
    store.drop("run")
    assert store.load("run") is None
    assert [path.name for path in (store.path / "weights").iterdir()] == ["run.safetensors"]


def test_a_run_without_a_checkpoint_is_finished_all_the_same(store: Store) -> None:
    store.save_weights("run", ONES)
    store.drop("run")
    assert (store.path / "weights" / "run.safetensors").is_file()
