"""Where the runs of a store come from, as it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.errors import StoreError
from attnlab.storage.provenance import NAME, Provenance, read_provenance, write_provenance


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    origin = Provenance("attnlab sweep 'my file.yaml'", "my file.yaml", "name: é\n# why\n")
    write_provenance(tmp_path, origin)
    assert read_provenance(tmp_path) == origin


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"command": 3}', b"\xff"])
def test_a_store_without_it_has_none(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / NAME).write_bytes(content)
    assert read_provenance(tmp_path) == Provenance()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="It cannot be written"):
        write_provenance(tmp_path / "taken", Provenance())
