"""Files of a store: a failed write is the error of the store, and links are never followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.errors import StoreError
from attnlab.storage.files import write_whole


def test_a_file_that_cannot_be_written_is_the_error_of_a_store(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"old")
    with pytest.raises(StoreError) as caught:
        write_whole(tmp_path / "taken" / "c", b"new")
    assert str(caught.value) == (
        f"{tmp_path}/taken/c\n  It cannot be written: File exists.\n  Choose another folder with --store."
    )
    assert (tmp_path / "taken").read_bytes() == b"old"


def test_a_link_in_a_store_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"not of this store")
    (tmp_path / "experiment.json").symlink_to(tmp_path / "elsewhere")
    write_whole(tmp_path / "experiment.json", b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"not of this store"
    assert (tmp_path / "experiment.json").read_bytes() == b"new"
    assert not (tmp_path / "experiment.json").is_symlink()
