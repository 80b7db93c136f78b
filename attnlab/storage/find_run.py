"""A finished run, found by its id or the start of it in a folder of results."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path

from attnlab.errors import InvalidValueError, StoreError, UnknownNameError
from attnlab.records import OLD_ID, Record, distinct
from attnlab.run_labels import RunLabels
from attnlab.storage._store import Store
from attnlab.storage.checkpoints import Checkpoint
from attnlab.storage.status import find_stores

LISTED = 5
"""Runs that a message lists at most."""


def find_record(word: str, folder: Path) -> tuple[Record, Path]:
    """Find the record of a run.

    Args:
        word: The id, or as much of it as no other run begins with; an id of attnlab 0.1 is found too.
        folder: A store, or a folder of stores.

    Returns:
        The record, and the store that holds it.

    Raises:
        StoreError: There are no records at all, or the run has only a checkpoint yet.
        UnknownNameError: No run begins so; the message names the closest ids and lists some that exist.
        InvalidValueError: Several runs begin so; the message lists them.
    """
    return _found(word, folder, _stored(folder))[-1]


def find_records(words: Sequence[str], folder: Path) -> list[tuple[Record, Path]]:
    """Find the records of several runs, each in the only store that holds it.

    Args:
        words: Their ids, or the beginnings of these.
        folder: A store, or a folder of stores.

    Returns:
        The records with their stores, in the order of the words; no run twice.

    Raises:
        StoreError: There are no records at all, or a run has only a checkpoint yet.
        UnknownNameError: No run begins with one of the words.
        InvalidValueError: Several runs begin with one of the words, or several stores hold the run.
    """
    stored = _stored(folder)
    result: dict[str, tuple[Record, Path]] = {}
    for word in words:
        found = _found(word, folder, stored)
        _refuse_several(word, found[0][0].id, [store for _, store in found])
        result[found[-1][0].id] = found[-1]
    return list(result.values())


def find_started(words: Sequence[str], folder: Path) -> list[tuple[Record | Checkpoint, Path]]:
    """Find several runs, of which some may have only a checkpoint yet, each in the only store that holds it.

    Args:
        words: Their ids, or the beginnings of these.
        folder: A store, or a folder of stores.

    Returns:
        The record of each run, or the checkpoint of one that has no record, with its store; no run twice.

    Raises:
        StoreError: There are no runs at all.
        UnknownNameError: No run begins with one of the words.
        InvalidValueError: Several runs begin with one of the words, or several stores hold the run.
    """
    stored, started = _stored(folder), _started(folder)
    result: dict[str, tuple[Record | Checkpoint, Path]] = {}
    for word in words:
        unfinished = [one for one in started if one[0].run.startswith(word)]
        ended = any(name.startswith(word) for record, _ in stored for name in _ids(record))
        found: Sequence[tuple[Record | Checkpoint, Path]] = unfinished
        if ended or not unfinished:
            found = [*_found(word, folder, stored), *unfinished]
        runs = {one.id if isinstance(one, Record) else one.run: one for one, _ in found}
        if len(runs) > 1:
            hint = "Give more of the id:\n" + "\n".join(runs)
            raise InvalidValueError(f"{len(runs)} runs begin with '{word}'.", hint, where=f"run {word}")
        (run,) = runs
        _refuse_several(word, run, [store for _, store in found])
        result[run] = found[-1]
    return list(result.values())


def _refuse_several(word: str, run: str, stores: Sequence[Path]) -> None:
    """Refuse a run that stands in several stores."""
    distinct = dict.fromkeys(stores)
    if len(distinct) > 1:
        problem = f"Run {run} stands in several stores: {', '.join(map(str, distinct))}."
        raise InvalidValueError(problem, "Name one of them with --store.", where=f"run {word}")


def _started(folder: Path) -> list[tuple[Checkpoint, Path]]:
    """The checkpoints of runs that have no record, with their stores."""
    result = []
    for path in find_stores(folder):
        store = Store(path)
        if checkpoints := store.checkpoints():
            known = {name for record in store.records() for name in _ids(record)}
            result += [(one, path) for run, one in checkpoints.items() if run not in known]
    return result


def _refuse_unfinished(word: str, folder: Path) -> None:
    """Refuse a run that has only a checkpoint yet, and tell how it goes on."""
    for one, store in _started(folder):
        if one.run.startswith(word):
            problem, hint = f"Run {one.run} has only a checkpoint, which cannot be read.", ""
            if one.readable:
                problem = f"Run {one.run} has no record yet, only a checkpoint at {one.progress}."
                hint = "The same sweep goes on with it, or the same train with --resume. "
            hint += f"To remove it: attnlab rm {one.run}{in_store(store)}"
            raise StoreError(problem, hint, where=f"run {word}")


def _stored(folder: Path) -> list[tuple[Record, Path]]:
    return [(record, store) for store in find_stores(folder) for record in Store(store).records()]


def _found(word: str, folder: Path, stored: Sequence[tuple[Record, Path]]) -> list[tuple[Record, Path]]:
    """The run that begins with a word, once for each store that holds it."""
    if not any(name.startswith(word) for record, _ in stored for name in _ids(record)):
        _refuse_unfinished(word, folder)
    if not stored:
        hint = "Try: attnlab train --task recall --attn expressive"
        raise StoreError(f"There are no results in {folder}/ yet.", hint, where=f"run {word}")
    matching = [one for one in stored if any(name.startswith(word) for name in _ids(one[0]))]
    if not matching:
        hint = f"Runs there:\n{list_runs([record for record, _ in stored], folder)}"
        close = difflib.get_close_matches(word.lower(), [record.id for record, _ in stored], n=3, cutoff=0.5)
        guess = f"; did you mean {' or '.join(close)}?" if close else "."
        raise UnknownNameError(f"There is no run '{word}' in {folder}/{guess}", hint, where=f"run {word}")
    distinct = {record.id: record for record, _ in matching}
    if len(distinct) > 1:
        problem = f"{len(distinct)} runs begin with '{word}'."
        hint = f"Give more of the id:\n{list_runs(list(distinct.values()), folder)}"
        raise InvalidValueError(problem, hint, where=f"run {word}")
    return matching


def in_store(store: Path) -> str:
    """Write the option that names a store.

    Args:
        store: The store.

    Returns:
        The option with a space before it; nothing for the default store.
    """
    return "" if store == Path("results") else f" --store {shlex.quote(str(store))}"


def find_run(word: str, folder: Path) -> tuple[Record, Path]:
    """Find the record of a run and the file of its weights.

    Args:
        word: The id, or as much of it as no other run begins with.
        folder: A store, or a folder of stores.

    Returns:
        The record, and the file.

    Raises:
        UnknownNameError: No run begins so.
        InvalidValueError: Several runs begin so.
        StoreError: There are no records at all, or the run has no weights; the message lists some runs that have.
    """
    record, store = find_record(word, folder)
    path = weights_path(record, store)
    if not path.exists():
        kept = [one for one, place in _stored(folder) if weights_path(one, place).exists()]
        hint = f"Runs with weights:\n{list_runs(kept, folder)}" if kept else "No run here has weights: train one again."
        why = f": it {record.status}, {record.reason}" if record.status == "failed" and record.reason else ""
        raise StoreError(f"Run {record.id} has no weights{why}.", hint, where=f"run {word}")
    return record, path


def weights_path(record: Record, store: Path) -> Path:
    """Name the file of a run's weights.

    Args:
        record: The run.
        store: The store that holds it.

    Returns:
        The file, which need not exist; in a store of format 1 it has the old id.
    """
    paths = [store / "weights" / f"{name}.safetensors" for name in _ids(record)]
    return next((path for path in paths if path.exists()), paths[0])


def list_runs(records: Sequence[Record], folder: Path) -> str:
    """List some runs, one in each line.

    Args:
        records: The runs.
        folder: Where they are stored: a store, or a folder of stores.

    Returns:
        Ids and labels of the last five, and how many more there are; a run of several stores is listed once.
    """
    records = distinct(records)
    shown = records[-LISTED:]
    labels = RunLabels(record.spec for record in shown)
    lines = [f"{record.id}  {labels.of(record.spec)}" for record in shown]
    more = [f"and {len(records) - LISTED} more: attnlab ls results{in_store(folder)}"] if len(records) > LISTED else []
    return "\n".join([*lines, *more])


def _ids(record: Record) -> list[str]:
    """The id of a run, and the one it had in format 1."""
    return [record.id, *([str(record.environment[OLD_ID])] if OLD_ID in record.environment else [])]
