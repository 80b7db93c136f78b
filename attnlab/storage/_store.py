"""The store: everything a command leaves behind, in one folder.

store.json              the format of this folder
records.jsonl           the journal
records.index           what listings need of a large journal; it may be removed, and is made again
checkpoints/ID          where an unfinished run can go on, whatever it was trained beside
weights/ID              what a finished run learned
optimizer/ID            the state of its optimizer, twice the size of its weights: another run can continue it
probes/                 a store of further runs that show why a run failed
tags.json               words that a user gave to runs
trash/                  runs that were removed, with everything that the store had of them

Reading the journal alone imports no arrays: the functions that read weights import them.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from attnlab.errors import LostStoreError, StoreError, StoreWarning
from attnlab.files import remove_leftovers
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage._migration import format_1_id, migrate_files
from attnlab.storage.checkpoints import Checkpoint, checkpoints_in, described_runs, split_group
from attnlab.storage.files import unwritable, write_whole
from attnlab.storage.journal import LINE_BYTES, OLD_JOURNAL, Journal
from attnlab.storage.json_files import read_json
from attnlab.user_code import user_stacklevel

if TYPE_CHECKING:
    from attnlab.storage.arrays import Arrays

FOLDERS = ("checkpoints", "weights", "optimizer")
"""Folders that have a file for each run."""
PROBES = "probes"
"""The folder, a store itself, of further runs that show why those of a store failed."""
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
        self.format = _format(path)
        self._folder: os.stat_result | None = None
        """The folder at the time when the store was opened."""
        self.journal = Journal(path / "records.jsonl", migrate=self.format < FORMAT)

    def open(self) -> None:
        """Make the folder where it is missing, and check that it can be written.

        A store of format 1 is migrated, and the checkpoints of groups that earlier versions wrote are split. What
        dead processes left half-written is removed.

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
            self._folder = self.path.stat()
            remove_leftovers([self.path, *(self.path / kind for kind in FOLDERS), *self.path.glob("trash/*")])
            self._split_groups()
        except OSError as error:
            raise unwritable(error, self.path) from None

    def check_present(self) -> None:
        """Check that the folder is still the one that was opened, before it would be made anew.

        Raises:
            LostStoreError: It was removed, moved or replaced, or its journal was.
        """
        if self._folder is None:
            return
        try:
            if os.path.samestat(self.path.stat(), self._folder) and self.journal.path.exists():
                return
        except OSError:
            pass
        hint = "Move it back, then run the same command again: it goes on from what the store has."
        raise LostStoreError(
            "This store was removed or moved while runs were stored in it.", hint, where=str(self.path)
        )

    def adopt(self, specs: Iterable[RunSpec]) -> None:
        """Give the checkpoints of format 1 the ids that their runs have now.

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
                self.save(spec.id, arrays, {**about, "id": spec.id, "group": [spec.id]})
                self.drop(old)

    def append(self, records: Iterable[Record]) -> None:
        """Add finished runs to the journal.

        Args:
            records: Their records.

        Raises:
            StoreError: The journal cannot be written.
            LostStoreError: The store was removed since it was opened.
        """
        self.check_present()
        self.journal.append(records)

    def records(self) -> list[Record]:
        """Read all finished runs.

        Returns:
            Their records, in the order in which they were finished.

        Raises:
            StoreError: The journal cannot be read.

        Warns:
            StoreWarning: Lines of the journal other than a torn last one that are no records are left out.
        """
        return self.journal.read()

    def scan(self) -> list[Record]:
        """Read all finished runs as listings and reports need them; see :meth:`Journal.scan`.

        Returns:
            Their records, in the order in which they were finished; those of a large store are read in part.

        Raises:
            StoreError: The journal cannot be read.

        Warns:
            StoreWarning: As :meth:`records`.
        """
        return self.journal.scan()

    def finished(self) -> set[str]:
        """List the runs that are not run again.

        Returns:
            Their ids: of all that have a record and did not fail.

        Raises:
            StoreError: As :meth:`records`.
        """
        return {record.id for record in self.scan() if record.status != "failed"}

    def save(self, run: str, arrays: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Save the checkpoint of a run.

        Args:
            run: The id of the run.
            arrays: Weights and optimizer state, by name.
            about: What else the run needs to go on.

        Raises:
            StoreError: The file cannot be written.
            LostStoreError: The store was removed since it was opened.
        """
        from attnlab.storage import weights

        self.check_present()
        weights.write(self._checkpoint(run), arrays, about)

    def load(self, run: str) -> tuple[Arrays, dict[str, Any]] | None:
        """Load the checkpoint of a run.

        Args:
            run: The id of the run.

        Returns:
            Its arrays and description; None if the run has none.

        Raises:
            StoreError: The file is no checkpoint.
        """
        from attnlab.storage import weights

        path = self._checkpoint(run)
        if not path.exists():
            return None
        arrays, about = weights.read(path)
        try:
            (described,) = described_runs(about)
        except (TypeError, ValueError):
            hint = "Move it away to start that run anew."
            raise StoreError("It is no checkpoint of one run.", hint, where=str(path)) from None
        return arrays, described

    def checkpoints(self) -> dict[str, Checkpoint]:
        """List the checkpoints.

        Returns:
            Id of the run, or the name of a file that cannot be read -> what the checkpoint says of it.
        """
        return checkpoints_of(self.path)

    def save_weights(self, run: str, learned: Arrays) -> None:
        """Save the weights of a finished run.

        Args:
            run: Its id.
            learned: The arrays, by name.

        Raises:
            StoreError: The file cannot be written.
            LostStoreError: The store was removed since it was opened.
        """
        from attnlab.storage import weights

        self.check_present()
        weights.write(self.path / "weights" / f"{run}.safetensors", learned, {"id": run})

    def save_optimizer(self, run: str, state: Arrays) -> None:
        """Save the state of a finished run's optimizer, which has twice the size of its weights.

        Args:
            run: Its id.
            state: The arrays, by name.

        Raises:
            StoreError: The file cannot be written.
            LostStoreError: The store was removed since it was opened.
        """
        from attnlab.storage import weights

        self.check_present()
        weights.write(self.path / "optimizer" / f"{run}.safetensors", state, {"id": run})

    def drop(self, run: str) -> None:
        """Remove the checkpoint of a run, after it has been recorded.

        Args:
            run: The id of the run; nothing happens if it has none.
        """
        self._checkpoint(run).unlink(missing_ok=True)

    def drop_finished(self, runs: Iterable[str]) -> None:
        """Remove the checkpoints of runs in the journal: their process died between the record and its removal.

        Args:
            runs: Ids of the runs that have their final record.
        """
        finished = set(runs)
        for path in self._checkpoint_files():
            if path.stem in finished:
                path.unlink(missing_ok=True)

    def _checkpoint(self, run: str) -> Path:
        return self.path / "checkpoints" / f"{run}.safetensors"

    def _checkpoint_files(self) -> list[Path]:
        return _checkpoint_files(self.path)

    def _split_groups(self) -> None:
        """Split the checkpoints of groups, which earlier versions wrote; what cannot be read stays as it is."""
        paths = self._checkpoint_files()
        if not paths:
            return
        from attnlab.storage import weights

        for path in paths:
            try:
                runs = checkpoints_in(weights.read_about(path))
                if [one.run for one in runs] == [path.stem]:
                    continue
                split = list(split_group(*weights.read(path)))
            except (StoreError, KeyError, TypeError, ValueError, IndexError):
                continue
            own = self.checkpoints()
            for arrays, about in split:
                if not self._checkpoint(about["id"]).exists() or own[about["id"]].step < about["step"]:
                    self.save(about["id"], arrays, about)
            path.unlink(missing_ok=True)

    def _migrate(self) -> None:
        """Translate the files of a store of format 1; checkpoints follow when their runs are known."""
        records = self.journal.rewrite()
        migrate_files(self.path, records)


def checkpoints_of(folder: Path) -> dict[str, Checkpoint]:
    """List the checkpoints of a store, or of what was removed from one.

    Args:
        folder: The store.

    Returns:
        Id of the run, or the name of a file that cannot be read -> what the checkpoint says of it.
    """
    if not (paths := _checkpoint_files(folder)):
        return {}
    from attnlab.storage import weights

    result: dict[str, Checkpoint] = {}
    for path in paths:
        try:
            result |= {one.run: one for one in checkpoints_in(weights.read_about(path))}
        except (StoreError, TypeError):  # the run that goes on from it raises the error
            result[path.stem] = Checkpoint(path.stem, readable=False)
    return result


def _checkpoint_files(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("*.safetensors"))


def _format(folder: Path) -> int:
    """Read the format of a store; a folder without a store has the newest."""
    label = folder / "store.json"
    if not label.exists():
        return _format_of_lines(folder)
    hint = "Move it away: the folder is then read as its records are written."
    try:
        found = read_json(label)["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError("It does not say what format this store has.", hint, where=str(label)) from None
    if type(found) is not int or found < 1:
        raise StoreError(f"This store has format {found!r:.40}, which is none.", hint, where=str(label))
    if found > FORMAT:
        hint = "Update attnlab, or choose another folder with --store."
        raise StoreError(
            f"This store has format {str(found)[:20]}; this attnlab reads up to {FORMAT}.", hint, where=str(label)
        )
    return found


def _format_of_lines(folder: Path) -> int:
    """Tell the format of a folder that does not name it by the words of its first record; a new folder has none."""
    try:
        with (folder / "records.jsonl").open("rb") as file:
            line = file.readline(LINE_BYTES)
    except OSError:
        return FORMAT
    if not line:
        return FORMAT
    format_1 = b'"exact_match"' not in line and b'"answers"' in line
    found = 1 if format_1 else FORMAT
    text = f"{folder / 'store.json'}: missing; the records are read as those of format {found}."
    warnings.warn(text, StoreWarning, stacklevel=user_stacklevel())
    return found
