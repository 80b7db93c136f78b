"""The store: everything a command leaves behind, in one folder.

store.json              the format of this folder
records.jsonl           the journal
checkpoints/ID          where an unfinished run can go on
weights/ID              what a finished run learned

Reading the journal alone imports no arrays: the functions that read weights import them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from attnlab.errors import StoreError
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage._migration import format_1_id, migrate_files, migrated_about
from attnlab.storage.files import write_whole
from attnlab.storage.journal import OLD_JOURNAL, Journal

if TYPE_CHECKING:
    from attnlab.storage.arrays import Arrays

FORMAT = 2
"""Version of the layout of the folder."""


@final
class Store:
    """A folder of results.

    A store of format 1 is read as it is, and migrated when it is opened to be written.

    Args:
        path: The folder; it is made when something is first written.

    Raises:
        StoreError: The folder has a newer format, or is no folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise StoreError("This is a file, not a folder.", "Choose another folder with --store.", where=str(path))
        self.format = _format(path / "store.json")
        self.journal = Journal(path / "records.jsonl", migrate=self.format < FORMAT)

    def open(self) -> None:
        """Make the folder where it is missing, and check that it can be written; a store of format 1 is migrated.

        Raises:
            StoreError: It cannot be written, or a line of a store of format 1 is no record.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.journal.path.open("ab").close()
            if self.format < FORMAT:
                self._migrate()
            label = self.path / "store.json"
            if not label.exists() or self.format < FORMAT:
                write_whole(label, json.dumps({"format": FORMAT}).encode() + b"\n")
                self.format = FORMAT
        except OSError as error:
            hint = "Choose another folder with --store."
            raise StoreError(f"It cannot be written: {error.strerror}.", hint, where=str(self.path)) from None

    def adopt(self, specs: Iterable[RunSpec]) -> None:
        """Give the checkpoints of format 1 the ids that their runs have now; those of groups begin anew.

        Args:
            specs: Runs that are about to go on.

        Raises:
            StoreError: A checkpoint cannot be read or written.
        """
        names = {path.stem for path in (self.path / "checkpoints").glob("*.safetensors")}
        if not names or not (self.path / OLD_JOURNAL).exists():
            return
        for spec in specs:
            if (old := format_1_id(spec)) in names and (loaded := self.load(old)):
                arrays, about = loaded
                self.save(spec.id, arrays, migrated_about(about, {old: spec.id}))
                self.drop(old)

    def append(self, records: Iterable[Record]) -> None:
        """Add finished runs to the journal.

        Args:
            records: Their records.

        Raises:
            StoreError: The journal cannot be written.
        """
        self.journal.append(records)

    def records(self) -> list[Record]:
        """Read all finished runs.

        Returns:
            Their records, in the order in which they were finished.

        Raises:
            StoreError: A line of the journal other than a torn last one is no record.
        """
        return self.journal.read()

    def save(self, name: str, arrays: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Save a checkpoint.

        Args:
            name: The id of its run, or the name of its group.
            arrays: Weights and optimizer state, by name.
            about: What else its runs need to go on.

        Raises:
            StoreError: The file cannot be written.
        """
        from attnlab.storage import weights

        weights.write(self._checkpoint(name), arrays, about)

    def load(self, name: str) -> tuple[Arrays, dict[str, Any]] | None:
        """Load a checkpoint.

        Args:
            name: The id of its run, or the name of its group.

        Returns:
            Its arrays and description; None if there is none of that name.

        Raises:
            StoreError: The file is no checkpoint.
        """
        from attnlab.storage import weights

        path = self._checkpoint(name)
        return weights.read(path) if path.exists() else None

    def checkpoints(self) -> dict[str, tuple[str, ...]]:
        """List the checkpoints.

        Returns:
            Name -> the ids of the runs that can go on from it.
        """
        paths = sorted((self.path / "checkpoints").glob("*.safetensors"))
        if not paths:
            return {}
        from attnlab.storage import weights

        result = {}
        for path in paths:
            try:
                about = migrated_about(weights.read_about(path), {})
                result[path.stem] = tuple(run["id"] for run in about["runs"])
            except (StoreError, KeyError, TypeError):  # the run that goes on from it raises the error
                result[path.stem] = (path.stem,)
        return result

    def save_weights(self, run: str, learned: Arrays) -> None:
        """Save the weights of a finished run.

        Args:
            run: Its id.
            learned: The arrays, by name.

        Raises:
            StoreError: The file cannot be written.
        """
        from attnlab.storage import weights

        weights.write(self.path / "weights" / f"{run}.safetensors", learned, {"id": run})

    def drop(self, name: str) -> None:
        """Remove a checkpoint, after its runs have been recorded.

        Args:
            name: The id of its run, or the name of its group; nothing happens if there is none of that name.
        """
        self._checkpoint(name).unlink(missing_ok=True)

    def _checkpoint(self, name: str) -> Path:
        return self.path / "checkpoints" / f"{name}.safetensors"

    def _migrate(self) -> None:
        """Translate the files of a store of format 1; checkpoints follow when their runs are known."""
        records = self.journal.rewrite()
        migrate_files(self.path, records)


def _format(label: Path) -> int:
    """Read the format of a store; a folder without a store has the newest."""
    if not label.exists():
        return FORMAT
    try:
        found = json.loads(label.read_text())["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError("It does not say what format this store has.", where=str(label)) from None
    if not isinstance(found, int) or found > FORMAT:
        hint = "Update attnlab, or choose another folder with --store."
        raise StoreError(f"This store has format {found}; this attnlab reads up to {FORMAT}.", hint, where=str(label))
    return found
