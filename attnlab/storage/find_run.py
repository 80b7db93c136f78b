"""A finished run, found by its id or the start of it in a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attnlab.errors import BadValue, StoreError, UnknownName
from attnlab.records import Record
from attnlab.storage._store import Store
from attnlab.storage.status import stores

LISTED = 5
"""Runs that a message names."""


def found(word: str, store: Path) -> tuple[Record, Path]:
    """The record of a run and the file of its weights."""
    held = [(record, place) for place in stores(store) for record in Store(place).records()]
    if not held:
        hint = "Try: attnlab train --task recall --attn expressive"
        raise StoreError(f"Nothing in {store}/ yet.", hint, where=f"run {word}")
    matching = [(record, place) for record, place in held if record.id.startswith(word)]
    if not matching:
        hint = f"Runs there:\n{listed([record for record, _ in held])}"
        raise UnknownName(f"There is no run '{word}' in {store}/.", hint, where="--run")
    if len({record.id for record, _ in matching}) > 1:
        text = f"{len(matching)} runs begin with '{word}'."
        raise BadValue(text, f"Give more of the id:\n{listed([r for r, _ in matching])}", where="--run")
    record, place = matching[-1]
    path = weights_of(record, place)
    if not path.exists():
        kept = [one for one, where in held if weights_of(one, where).exists()]
        hint = f"Runs with weights:\n{listed(kept)}" if kept else "No run here keeps weights: train one again."
        why = f": it {record.status}, {record.reason}" if record.status == "failed" and record.reason else ""
        raise StoreError(f"Run {record.id} keeps no weights{why}.", hint, where="--run")
    return record, path


def weights_of(record: Record, place: Path) -> Path:
    """The file of what a run learned."""
    return place / "weights" / f"{record.id}.safetensors"


def listed(records: Sequence[Record]) -> str:
    """Some runs, one in each line."""
    lines = [f"{record.id}  {record.spec.words}" for record in records[-LISTED:]]
    more = [f"and {len(records) - LISTED} more: attnlab ls results"] if len(records) > LISTED else []
    return "\n".join([*lines, *more])
