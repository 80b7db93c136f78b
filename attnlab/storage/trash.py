"""The trash of a store: runs that were removed, with everything that the store had of them.

trash/0001/records.jsonl     the lines of the journal; none of runs that have a checkpoint only
trash/0001/tags.json         the tags
trash/0001/weights/ID, ...   weights, optimizer states and checkpoints

A removal is written into the trash and the files are moved before the journal is rewritten, and all of it is undone if
a step fails. A removal that was interrupted by a crash is put right by undoing it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from attnlab.errors import StoreError, UnknownNameError
from attnlab.records import Record
from attnlab.storage._store import Store, checkpoints_of
from attnlab.storage.checkpoints import Checkpoint
from attnlab.storage.files import unwritable, writable, write_whole
from attnlab.storage.journal import line_id
from attnlab.storage.locks import sweep_lock
from attnlab.storage.tags import FILE as TAGS
from attnlab.storage.tags import change_tags, read_tags

FOLDER = "trash"
KINDS = ("weights", "optimizer", "checkpoints")
"""Folders of a store that have a file for each run."""
BUSY = "Wait until it has ended, or stop it; then run this again."


@dataclass(frozen=True)
class Removal:
    """Runs of one store that were removed together."""

    store: Path
    path: Path
    """Its folder in the trash."""
    records: tuple[Record, ...]
    checkpoints: tuple[Checkpoint, ...] = ()
    """Runs without a record, which a checkpoint alone is left of."""

    @property
    def ids(self) -> list[str]:
        """The ids of all its runs."""
        return [*(record.id for record in self.records), *(one.run for one in self.checkpoints)]


def remove_runs(runs: Sequence[tuple[Record | Checkpoint, Path]]) -> list[Removal]:
    """Move runs into the trash of their stores: all of them, or none.

    Args:
        runs: The records of the runs, or the checkpoints of runs that have no record, each with its store.

    Returns:
        One removal for each store.

    Raises:
        StoreError: A sweep is running in one of the stores, or a store cannot be written; nothing was removed.
    """
    by_store: dict[Path, dict[str, Record | Checkpoint]] = {}
    for one, folder in runs:
        by_store.setdefault(folder, {})[one.id if isinstance(one, Record) else one.run] = one
    done: list[Removal] = []
    with ExitStack() as locks:
        for folder in by_store:
            locks.enter_context(sweep_lock(folder, wait=False, hint=BUSY))
            Store(folder).open()
        try:
            for folder, found in by_store.items():
                done.append(_remove(folder, tuple(found.values())))
        except OSError as error:
            _restore_all(done)
            raise unwritable(error, folder) from None
        except BaseException:
            _restore_all(done)
            raise
    return done


def removals(store: Path) -> list[Removal]:
    """List what is in the trash of a store.

    Args:
        store: The store.

    Returns:
        The removals, the oldest first.

    Raises:
        StoreError: A line in the trash is no record.
    """
    result = []
    for path in sorted((store / FOLDER).glob("*/records.jsonl")):
        try:
            records = tuple(Record.from_line(line) for line in path.read_text().splitlines())
        except ValueError:
            raise StoreError("This line is no record.", "Move the file away to go on.", where=str(path)) from None
        distinct = {record.id: record for record in records}
        unfinished = [one for run, one in checkpoints_of(path.parent).items() if run not in distinct]
        result.append(Removal(store, path.parent, tuple(distinct.values()), tuple(unfinished)))
    return result


def restore_runs(stores: Sequence[Path], words: Sequence[str] = ()) -> list[Removal]:
    """Put runs back that were removed.

    Args:
        stores: The stores whose trash is searched.
        words: Beginnings of the ids of the runs to put back; empty puts the last removal back.

    Returns:
        What was put back; a removal is put back as a whole.

    Raises:
        UnknownNameError: No removed run begins with a word.
        StoreError: The trash is empty, a run was run again since, or a store cannot be written.
    """
    found = sorted(
        (one for store in stores for one in removals(store)),
        key=lambda one: (one.path / "records.jsonl").stat().st_mtime_ns,
    )
    if not found:
        raise StoreError(
            "There is nothing in the trash.", "Removed runs are put there: attnlab rm ID.", where="rm --undo"
        )
    chosen = [found[-1]]
    if words:
        chosen = []
        for word in words:
            having = [one for one in found if any(run.startswith(word) for run in one.ids)]
            if not having:
                hint = "Removed runs: " + ", ".join(run for one in found for run in one.ids)
                raise UnknownNameError(f"No removed run begins with '{word}'.", hint, where="rm --undo")
            chosen += [one for one in having[-1:] if one not in chosen]
    with ExitStack() as locks:
        for folder in dict.fromkeys(one.store for one in chosen):
            locks.enter_context(sweep_lock(folder, wait=False, hint=BUSY))
        for one in chosen:
            with writable(one.store):
                _restore(one)
    return chosen


def _remove(store: Path, runs: tuple[Record | Checkpoint, ...]) -> Removal:
    """Move the runs of one store into its trash."""
    numbers = [int(path.name) for path in (store / FOLDER).glob("[0-9]*") if path.name.isdigit()]
    records = tuple(one for one in runs if isinstance(one, Record))
    unfinished = tuple(one for one in runs if isinstance(one, Checkpoint))
    removal = Removal(store, store / FOLDER / f"{max(numbers, default=0) + 1:04}", records, unfinished)
    ids = set(removal.ids)
    tags = {run: words for run, words in read_tags(store).items() if run in ids}

    def keep(lines: bytes) -> None:
        write_whole(removal.path / TAGS, json.dumps(tags, ensure_ascii=False).encode() + b"\n")
        write_whole(removal.path / "records.jsonl", lines)
        for kind in KINDS:
            for run in ids:
                _move(store, removal.path, kind, run)

    if tags:
        change_tags(store, add={}, remove={})  # before anything is moved: they can be written
    try:
        Store(store).journal.take(ids, keep)
        if tags:
            change_tags(store, add={}, remove=tags)
    except BaseException:
        _restore(removal)
        raise
    return removal


def _restore(removal: Removal) -> None:
    """Put the runs of one removal back; every step can be repeated."""
    lines = removal.path / "records.jsonl"
    if lines.exists():
        content = lines.read_bytes()
        runs = {line_id(line) for line in content.splitlines()}
        unfinished = {path.stem for path in (removal.path / "checkpoints").glob("*.safetensors")} - runs
        _refuse_started_again(removal.store, unfinished)
        Store(removal.store).journal.put_back(content)
        runs |= unfinished
        for kind in KINDS:
            for run in runs:
                _move(removal.path, removal.store, kind, run)
        if tags := read_tags(removal.path):
            change_tags(removal.store, add=tags, remove={})
    shutil.rmtree(removal.path, ignore_errors=True)


def _refuse_started_again(store: Path, unfinished: Iterable[str]) -> None:
    """Refuse to put a checkpoint over a newer one of the same run, or beside the record of its end."""
    finished = {record.id for record in Store(store).records()} if unfinished else set()
    for run in sorted(unfinished):
        path = store / "checkpoints" / f"{run}.safetensors"
        if run in finished or path.exists():
            hint = "Remove the new one first, or keep it and leave the old one in the trash."
            raise StoreError(f"Run {run} was started again since it was removed.", hint, where=str(store))


def _restore_all(removed: Sequence[Removal]) -> None:
    for one in removed:
        _restore(one)


def _move(origin: Path, target: Path, kind: str, run: str) -> None:
    """Move the file of a run from one folder to another, if there is one."""
    name = f"{run}.safetensors"
    if (origin / kind / name).exists():
        (target / kind).mkdir(parents=True, exist_ok=True)
        (origin / kind / name).replace(target / kind / name)
