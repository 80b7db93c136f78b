"""The store: everything a command leaves behind, in one folder.

store.json              the format of this folder
records.jsonl           the journal
checkpoints/ID          where an unfinished run can go on
weights/ID              what a finished run learned

Who only reads the journal needs no arrays: what reads weights is imported by those who do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from attnlab.errors import StoreError
from attnlab.records import Record
from attnlab.storage.files import write_whole
from attnlab.storage.journal import Journal

if TYPE_CHECKING:
    from attnlab.storage.weights import Arrays

FORMAT = 1
"""Version of the layout of the folder."""


@final
class Store:
    """A folder of results.

    Args:
        path: The folder; it is made when something is first written.

    Raises:
        StoreError: the folder is of a newer format, or is no folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path / "records.jsonl")
        if path.exists() and not path.is_dir():
            raise StoreError("This is a file, not a folder.", "Choose another folder with --store.", where=str(path))
        label = path / "store.json"
        if label.exists():
            _check(label)

    def open(self) -> None:
        """Make the folder, and see that it can be written.

        Raises:
            StoreError: it cannot.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            label = self.path / "store.json"
            if not label.exists():
                write_whole(label, json.dumps({"format": FORMAT}).encode() + b"\n")
            self.journal.path.open("ab").close()
        except OSError as error:
            hint = "Choose another folder with --store."
            raise StoreError(f"It cannot be written: {error.strerror}.", hint, where=str(self.path)) from None

    def append(self, records: Iterable[Record]) -> None:
        """Add finished runs to the journal."""
        self.journal.append(records)

    def records(self) -> list[Record]:
        """All finished runs."""
        return self.journal.read()

    def save(self, name: str, arrays: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Keep a checkpoint."""
        from attnlab.storage import weights

        weights.write(self._checkpoint(name), arrays, about)

    def load(self, name: str) -> tuple[Arrays, dict[str, Any]] | None:
        """The checkpoint of that name, if there is one."""
        from attnlab.storage import weights

        path = self._checkpoint(name)
        return weights.read(path) if path.exists() else None

    def checkpoints(self) -> dict[str, tuple[str, ...]]:
        """The checkpoints, by name, each with the ids of the runs that can go on from it."""
        paths = sorted((self.path / "checkpoints").glob("*.safetensors"))
        if not paths:
            return {}
        from attnlab.storage import weights

        result = {}
        for path in paths:
            try:
                result[path.stem] = tuple(lane["id"] for lane in weights.about(path)["lanes"])
            except (StoreError, KeyError, TypeError):  # whoever goes on from it is told what is wrong with it
                result[path.stem] = (path.stem,)
        return result

    def save_weights(self, run: str, learned: Arrays) -> None:
        """Keep the weights of a finished run, by its id."""
        from attnlab.storage import weights

        weights.write(self.path / "weights" / f"{run}.safetensors", learned, {"id": run})

    def drop(self, name: str) -> None:
        """Remove a checkpoint: its runs are in the journal."""
        self._checkpoint(name).unlink(missing_ok=True)

    def _checkpoint(self, name: str) -> Path:
        return self.path / "checkpoints" / f"{name}.safetensors"


def _check(label: Path) -> None:
    try:
        result = json.loads(label.read_text())["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError("It does not say what format this store has.", where=str(label)) from None
    if not isinstance(result, int) or result > FORMAT:
        hint = "Update attnlab, or choose another folder with --store."
        raise StoreError(f"This store has format {result}; this attnlab reads up to {FORMAT}.", hint, where=str(label))
