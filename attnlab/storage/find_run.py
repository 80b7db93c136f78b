"""A finished run, found by its id or the start of it in a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attnlab.errors import InvalidValueError, StoreError, UnknownNameError
from attnlab.records import Record
from attnlab.storage._store import Store
from attnlab.storage.status import find_stores

LISTED = 5
"""Runs that a message names."""


def find_run(word: str, store: Path) -> tuple[Record, Path]:
    """The record of a run and the file of its weights."""
    stored = [(record, place) for place in find_stores(store) for record in Store(place).records()]
    if not stored:
        hint = "Try: attnlab train --task recall --attn expressive"
        raise StoreError(f"Nothing in {store}/ yet.", hint, where=f"run {word}")
    matching = [(record, place) for record, place in stored if record.id.startswith(word)]
    if not matching:
        hint = f"Runs there:\n{list_runs([record for record, _ in stored])}"
        raise UnknownNameError(f"There is no run '{word}' in {store}/.", hint, where="--run")
    if len({record.id for record, _ in matching}) > 1:
        text = f"{len(matching)} runs begin with '{word}'."
        raise InvalidValueError(text, f"Give more of the id:\n{list_runs([r for r, _ in matching])}", where="--run")
    record, place = matching[-1]
    path = weights_path(record, place)
    if not path.exists():
        saved = [one for one, where in stored if weights_path(one, where).exists()]
        hint = f"Runs with weights:\n{list_runs(saved)}" if saved else "No run here keeps weights: train one again."
        why = f": it {record.status}, {record.reason}" if record.status == "failed" and record.reason else ""
        raise StoreError(f"Run {record.id} keeps no weights{why}.", hint, where="--run")
    return record, path


def weights_path(record: Record, path: Path) -> Path:
    """The file of what a run learned."""
    return path / "weights" / f"{record.id}.safetensors"


def list_runs(records: Sequence[Record]) -> str:
    """Some runs, one in each line."""
    lines = [f"{record.id}  {record.spec.summary}" for record in records[-LISTED:]]
    more = [f"and {len(records) - LISTED} more: attnlab ls results"] if len(records) > LISTED else []
    return "\n".join([*lines, *more])
